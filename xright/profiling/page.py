"""The profile as people read it: a table, a picture, a page that stands alone."""

import base64
import io
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from xright import __version__
from xright.analysis.figures.chart import Axis, Chart, Mark, Panel, Row, segments
from xright.analysis.figures.printed import printed
from xright.analysis.style import number
from xright.analysis.text.tables import Grid
from xright.machine import files
from xright.profiling.changes import DRAWS
from xright.profiling.profile import Profile

PAGE = Path(__file__).with_name("page.html.j2")


def grid(found: Profile) -> Grid:
    """A model a line: losses, gaps, KL, cosines."""
    data = found.as_data()["models"]
    names = [*found.losses]
    cosines = [*(found.angles[0] if found.angles else ())]
    pairs = [key for key in cosines if " · " in key]
    headings = ["model", *(f"f_{name}" for name in names), *(f"{name} gap" for name in names), "KL from base"]
    rows = []
    for one in data:
        cells = [number(one[kind][name]) for kind in ("losses", "gaps") for name in names]
        angles = [f"{number(one['cosines'][key])} ({_halves(one['cosines'], key)})" for key in pairs]
        rows.append([one["model"], *cells, number(one["kl_from_base"]), *angles])
    return Grid([*headings, *(f"cosine {key}" for key in pairs)], rows, 1)


def _halves(cosines: dict[str, float], pair: str) -> str:
    return ", ".join(number(cosines[name]) for name in pair.split(" · "))


def figure(found: Profile) -> Figure:
    """A panel per objective: its loss model by model; whiskers are of the change to the model before."""
    panels = []
    for name, own in found.losses.items():
        values = [one.mean() for one in own]
        marks = [Mark(x=values, y=range(len(values)), dash="-", marker="o")]
        for change in (one for one in found.changes if one.objective == name):
            at = found.models.index(change.stage)
            low, high = (values[at - 1] + end for end in (change.change.low, change.change.high))
            marks.append(Mark(x=segments([low], [high]), y=[at] * 3, dash="-", width=3, alpha=0.4))
        panels.append(
            Panel(marks=marks, title=f"f_{name}", x=Axis(title=found.units[name]), y=Axis(names=found.models))
        )
    return printed(Chart(rows=[Row(panels=panels, height=1 + 0.5 * len(found.models), shared="y")], width=10))


def write(found: Profile, out: Path) -> Path:
    """Write profile.json and profile.html into `out`; returns the page."""
    out.mkdir(parents=True, exist_ok=True)
    files.write_json(out / "profile.json", found.as_data())
    held = io.BytesIO()
    figure(found).savefig(held, format="png", dpi=120)
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(PAGE.read_text(encoding="utf-8"))
    shown = page.render(
        sentences=[change.sentence for change in found.changes], grid=grid(found), draws=DRAWS, version=__version__,
        prompts=", ".join(f"{len(own[0].sums_C)} prompts ({name})" for name, own in found.losses.items()),
        picture=base64.b64encode(held.getvalue()).decode(), alternative="the loss of each model on each objective",
    )  # fmt: skip
    files.write(out / "profile.html", shown)
    return out / "profile.html"
