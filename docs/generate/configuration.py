"""The configuration reference: one page per group of conf/, made from its yaml files."""

import html
import re
from collections.abc import Iterator
from pathlib import Path

import settings

# Where the keys of a group's files go in the whole configuration, where that is not the group's own name.
PLACES = {"objective": "objectives.<name>", "task": "task.<name>", "judge": "task.<name>.judge",
          "prompts": "task.<name>.prompts"}  # fmt: skip
# What a group decides; a group without a sentence here has none on its page.
GROUPS = {
    "callbacks": "What watches a run. `callbacks.<name>=null` leaves one out.",
    "data": "Where rows come from, how they are written out for the model, and how many make a step.",
    "debug": "Whole configurations for trying things out.",
    "debug/stand_in": "What stands in for a model and data under `debug=tiny`; chosen by the experiment.",
    "experiment": "Whole settings; the launch command stands in each file's first line.",
    "experiment/paper": "What the experiments of the paper share; they start from these.",
    "hydra/help": "What `--help` prints.",
    "hydra/job_logging": "Where messages go.",
    "hydra/launcher": "Who runs the cells of a sweep; Hydra's own `basic` runs them one after another.",
    "judge": "Who decides whether an answer refuses, for `python -m xright.evaluate`.",
    "logger": "Where metrics go besides the CSV files, which every run writes.",
    "model": "What is trained.",
    "objective": "What can be put in the place of an objective: `objective@objectives.dpo=ipo`.",
    "optim": "The optimizer, one for all objectives.",
    "prompts": "Where the prompts of a task come from.",
    "published": "The paper's own f\\* and fronts in the place of computed ones; added with a plus: `+published=…`.",
    "strategy": "Which objectives each step updates.",
    "task": "The benchmarks of `python -m xright.evaluate`.",
    "trainer": "On what machine, with how many processes, in what precision: Lightning's Trainer.",
}
COMMANDS = {"config": "python -m xright.run", "evaluate": "python -m xright.evaluate"}

SPECIAL = re.compile(r"[\\*_\[\]|`]")  # what Markdown would read


def pages(conf: Path) -> dict[str, str]:
    """{page below configuration/: Markdown}, the overview first."""
    found: dict[str, list[Path]] = {}
    for file in sorted(conf.rglob("*.yaml")):
        found.setdefault(file.parent.relative_to(conf).as_posix(), []).append(file)
    top = found.pop(".")
    groups = {f"{group.replace('/', '_')}.md": _group(group, files) for group, files in found.items()}
    return {"index.md": _overview(top, list(found)), **groups}


def _overview(files: list[Path], groups: list[str]) -> str:
    links = "\n".join(f"| [`{group}=`]({group.replace('/', '_')}.md) | {GROUPS.get(group, '')} |" for group in groups)
    intro = (
        "# Configuration\n\nMade from `conf/` when this site was built: every key, its default and its comment. On the "
        "command line a group's option is chosen as `group=option`, a value is set as `key.subkey=value`; "
        "`--cfg job` prints what a command would run with.\n\n"
        f"| group | decides |\n|---|---|\n{links}\n\n"
    )
    first = sorted(files, key=lambda file: (file.stem != "config", file.stem))
    return intro + "\n".join(_file(file, f"conf/{file.name}", "", COMMANDS.get(file.stem)) for file in first)


def _group(group: str, files: list[Path]) -> str:
    place = PLACES.get(group, group.replace("/", "."))
    options = "\n".join(_file(file, f"{group}={file.stem}", f"{place}.") for file in files)
    return f"# `{group}=`\n\n{GROUPS.get(group, '')}\n\n{options}"


def _file(file: Path, title: str, place: str, command: str | None = None) -> str:
    found = settings.read(file.read_text(encoding="utf-8"))
    if found.package:
        place = "" if found.package == "_global_" else f"{found.package}."
    parts = [f"## `{title}`", f"For `{command}`." if command else "", _escaped(found.about).replace("\n", "<br>\n")]
    if found.defaults:
        parts += ["It starts from these, and changes what stands below:", f"```yaml\n{found.defaults}\n```"]
    if rows := [_row(place, setting) for setting in found.settings]:
        parts.append("\n".join(["| key | default | |", "|---|---|---|", *rows]))
    parts += [part for setting in found.settings for part in _long(place, setting)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _row(place: str, setting: settings.Setting) -> str:
    default = "(below)" if "\n" in setting.default else _code(setting.default)
    if setting.key.split(".")[-1] == "_target_" and setting.default.startswith("xright."):
        default = f"[{default}][{setting.default}]"  # to its place in the API pages
    return f"| {_code(place + setting.key)} | {default} | {_escaped(setting.comment)} |"


def _long(place: str, setting: settings.Setting) -> Iterator[str]:
    """A text over several lines, under the table."""
    if "\n" in setting.default:
        yield f"`{place}{setting.key}`:"
        yield f"```text\n{setting.default.rstrip()}\n```"


def _code(text: str) -> str:
    """Code in a table's cell, none of it markup, that may break after a dot, a slash or an underscore."""
    plain = SPECIAL.sub(_entity, html.escape(text, quote=False))
    breaking = re.sub(r"(\.|/|&#95;)", r"\1<wbr>", plain)
    return f"<code>{breaking}</code>" if text else ""


def _escaped(text: str) -> str:
    """Words of a comment, none of them markup; what it sets in backticks stays code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else SPECIAL.sub(_entity, html.escape(p)) for p in parts)


def _entity(match: re.Match[str]) -> str:
    return f"&#{ord(match[0])};"
