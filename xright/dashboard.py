"""Write a W&B workspace for a project's runs; without a key of W&B's, say what it would hold.

A section per heading of `keys.py`, a panel per key with its unit in the title, all over optimizer steps; before them
the objective space, after them the completions. What the objectives are is read from the project's newest finished run;
before there is one, a panel holds the keys of all of them. W&B's own package for workspaces writes it, as a new saved
view: views that exist, yours or a former one of ours, are left alone. The last line printed is its address.

Examples
  python -m xright.dashboard my-project            of the account that the key belongs to
  python -m xright.dashboard my-team/my-project
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Any

import wandb

from xright.errors import UserError
from xright.machine.command import exits, help_of
from xright.machine.told import told
from xright.tracking.keys import SECTIONS, STEP, TABLES, TRAJECTORY, of_objectives, pattern
from xright.tracking.loggers import configured

VIEW = "xright: objectives, gaps, completions"
NEWEST = 20  # runs of a project, among which a finished one is looked for
SCATTER = "wandb/scatter/v0"  # one of W&B's chart presets


@dataclass(frozen=True)
class Panel:
    """kind: line (a key over steps), chart (columns of a logged table), scatter and bar (of summaries), or table."""

    kind: str
    title: str
    keys: tuple[str, ...]


Plan = Mapping[str, Sequence[Panel]]  # section: its panels


def plan(objectives: Mapping[str, str]) -> Plan:
    """Return what the dashboard holds, in order; objectives: {name: unit}, where they are known."""
    space = []
    for x, y in combinations(objectives, 2):
        space += [
            Panel("chart", f"The way: f_{y} over f_{x}", (f"{TRAJECTORY}_table", f"f_{x}", f"f_{y}")),
            Panel("scatter", f"Final f_{y} over f_{x}", (f"f_{x}", f"f_{y}")),
        ]
    space.append(Panel("bar", "Final ideal distance (nats)", ("ideal_distance",)))
    lines = {
        section: [
            Panel("line", f"{key} ({unit})", (key,)) for key, unit in of_objectives(keys, objectives or {}).items()
        ]
        for section, keys in SECTIONS.items()
    }
    tables = [Panel("table", key, (key, *columns)) for key, columns in TABLES.items() if "completion" in columns]
    return {"Objective space": space, **lines, "Completions": tables}


def describe(sections: Plan) -> str:
    """Return a line per section and per panel."""
    lines = []
    for section, panels in sections.items():
        lines.append(section)
        lines += [f"  {panel.kind:8} {panel.title:46} {', '.join(panel.keys)}" for panel in panels]
    return "\n".join(lines)


def workspace(entity: str, project: str, sections: Plan) -> Any:
    """Return the plan as W&B's `Workspace`, not saved yet. UserError where W&B's package for it is not installed."""
    try:
        import wandb_workspaces.workspaces as ws
    except ImportError as error:
        raise UserError(
            "wandb-workspaces, with which a dashboard is written, is not installed; pip install 'xright[dashboard]'."
        ) from error
    drawn = [
        ws.Section(name=section, panels=[_draw(panel) for panel in panels], is_open=place < 2)
        for place, (section, panels) in enumerate(sections.items())
    ]
    settings = ws.WorkspaceSettings(x_axis=STEP)
    return ws.Workspace(entity=entity, project=project, name=VIEW, sections=drawn, settings=settings)


def objectives_of(entity: str, project: str) -> dict[str, str]:
    """{name: unit} of the objectives of the newest finished run, surrogates left out; {} where there is none."""
    for run in islice(wandb.Api().runs(f"{entity}/{project}", order="-created_at"), NEWEST):
        if found := run.summary_metrics.get("objectives"):
            return {name: one["unit"] for name, one in found.items() if not one["surrogate"]}
    return {}


def save(project: str) -> str:
    """Write the view; its address. project: `project`, or `entity/project`."""
    *owner, name = project.split("/")
    entity = owner[0] if owner else str(wandb.Api().default_entity)
    view = workspace(entity, name, plan(objectives_of(entity, name)))
    view.save()
    return view.url


@exits
def main(arguments: Sequence[str] | None = None) -> None:
    """Write it, or print it where no key is known."""
    project = parser().parse_args(arguments).project
    if len(project.split("/")) > 2 or not all(project.split("/")):
        raise UserError(f"PROJECT={project!r} must be a W&B project, as `project` or `entity/project`.")
    if not configured():
        print(f"No key for W&B is configured (wandb login). With one, {project} would get the view {VIEW!r}:\n")
        print(describe(plan({})))
        return
    with told(f"W&B took no dashboard for {project}", "check the name, the key, the network"):
        print(save(project))


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command line."""
    made = argparse.ArgumentParser(prog="python -m xright.dashboard", **help_of(__doc__))
    made.add_argument("project", metavar="PROJECT", help="of W&B: project, or entity/project")
    return made


def _draw(panel: Panel) -> Any:
    import wandb_workspaces.reports.v2 as wr

    first, *rest = panel.keys
    if panel.kind == "line" and set("*<") & set(first):
        return wr.LinePlot(title=panel.title, x=STEP, metric_regex=pattern(first))
    if panel.kind == "line":
        return wr.LinePlot(title=panel.title, x=STEP, y=[first])
    if panel.kind == "chart":
        chart = wr.CustomChart.from_table(first, dict(zip("xy", rest, strict=True)), {"title": panel.title})
        chart.chart_name = SCATTER
        return chart
    if panel.kind == "scatter":
        return wr.ScatterPlot(title=panel.title, x=wr.SummaryMetric(first), y=wr.SummaryMetric(rest[0]))
    if panel.kind == "bar":
        return wr.BarPlot(title=panel.title, metrics=[wr.SummaryMetric(first)])
    return wr.WeavePanelSummaryTable(table_name=first)


if __name__ == "__main__":
    sys.exit(main())
