import re

from matplotlib.artist import Artist

from xright.analysis.figures.drawing import draw
from xright.analysis.style import new_figure


class Counted(Artist):
    """Counts how often the figure it is on is drawn."""

    drawn = 0

    def draw(self, renderer):
        self.drawn += 1


def test_three_formats_take_three_drawings_with_one_layout(tmp_path):
    """A layout is worked out for the first; saving a figure that has a layout engine would draw it twice each time."""
    figure = new_figure(5, 3)
    figure.subplots().set_ylabel("a label that needs room\nand more of it")
    counted = figure.add_artist(Counted())
    before = figure.axes[0].get_position().x0
    drawing = draw(figure, tmp_path, "one", "what it shows")
    assert counted.drawn == 3
    assert figure.axes[0].get_position().x0 != before  # constrained, not the default place
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "one.pdf").read_bytes().startswith(b"%PDF")
    assert re.match(r'<svg role="img" aria-label="what it shows" style="min-width: 3.30in;', drawing.svg)
