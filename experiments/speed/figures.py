"""How steps grow with sequence length and with the vocabulary: theirs, ours, and the limit; one figure per axis."""

from pathlib import Path

from bars import OBJECTIVES, Measured
from matplotlib.figure import Figure

from xright.analysis.style import FAINT, INK, look, new_figure, plain_ticks, styled

LINES = {  # contestant: label, colour, marker
    "naive": ("naive", *look("sequential")),
    "TRL compact": ("TRL, head compaction forced", *look("mix")),
    "ours": ("xright", *look("alright")),
    "bare": ("limit: bare loop, real tokens only", INK, "."),
}
AXES = {"length": "longest sequence of a batch (tokens)", "vocabulary": "vocabulary (tokens)"}


def draw_all(measured: Measured, folder: Path) -> None:
    """`length.png` and `vocabulary.png`."""
    for axis in AXES:
        growth((measured, axis)).savefig(folder / f"{axis}.png", dpi=150)


@styled
def growth(shown: tuple[Measured, str]) -> Figure:
    """Median seconds per step along an axis, with the range over rounds."""
    measured, axis = shown
    figure, points = new_figure(8, 3.2), points_of(measured, axis)
    for panel, objective in zip(figure.subplots(1, 2, sharey=True), OBJECTIVES, strict=True):
        for name, (label, colour, marker) in LINES.items():
            seconds = [measured.seconds[f"{axis} {point}"][f"{objective}/{name}"] for point in points]
            middle = [one.median() for one in seconds]
            panel.plot(points, middle, color=colour, marker=marker, label=label, ls="--" if name == "bare" else "-")
            panel.vlines(points, [one.min() for one in seconds], [one.max() for one in seconds], color=FAINT)
        panel.set(title=objective.upper(), xlabel=AXES[axis], xscale="log", yscale="log")
        panel.set_xticks(points, [f"{point:,}" for point in points], minor=False)
        panel.minorticks_off()
        plain_ticks(panel.yaxis)
    figure.axes[0].set_ylabel("seconds per step")
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def points_of(measured: Measured, axis: str) -> list[int]:
    """Where on the axis was measured."""
    return sorted(int(race.split()[1]) for race in measured.seconds if race.startswith(f"{axis} "))
