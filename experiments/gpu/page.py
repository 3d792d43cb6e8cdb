"""One page of what the checks said, in Markdown, and its figure. Alone, `page.py FOLDER` puts the page of a folder that
`accept.py` has filled between the markers of the README beside this file."""

import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from finding import ERROR, FAILS, HOLDS, SKIPPED
from matplotlib.figure import Figure

HERE = Path(__file__).parent
NAME = "accept"
TITLES = {
    "device": "Device", "steps": "What a step takes", "throughput": "Tokens and FLOPs", "resume": "Resume",
    "growth": "Growth with length",
}  # fmt: skip


def write(folder: Path) -> str:
    """`accept.md` and `growth.png` beside a folder's `accept.json`; returns the page."""
    found = json.loads((folder / f"{NAME}.json").read_text(encoding="utf-8"))
    tables: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in found["lines"]:
        tables[one["table"]].append(one["values"])
    if tables["growth"]:
        growth(tables["growth"]).savefig(folder / "growth.png", dpi=110)
    page = "\n".join([*heading(found), *verdicts(found["findings"]), *shown(tables)]) + "\n"
    (folder / f"{NAME}.md").write_text(page, encoding="utf-8")
    return page


def heading(found: Mapping[str, Any]) -> Iterator[str]:
    """The answer, how it was found, and on what."""
    about, counts = found["about"], found["counts"]
    yield f"## {'Accepted' if found['accepted'] else 'Not accepted'}\n"
    yield ", ".join(f"{counts[verdict]} {verdict}" for verdict in (HOLDS, FAILS, SKIPPED, ERROR)) + ".\n"
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    yield f"Measured on {about['device']}, {versions}; {about['seconds']:.0f} seconds, {about['date']}.\n"
    if about["quick"]:
        yield "Sizes are those of `--quick`: they show that the program runs, and nothing about speed.\n"


def verdicts(findings: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each finding, those that do not hold in bold."""
    yield row("check", "what", "measured", "tolerance", "verdict")
    yield "| --- | --- | ---: | ---: | --- |"
    for one in findings:
        told = one["verdict"] if one["verdict"] in (HOLDS, SKIPPED) else f"**{one['verdict']}**"
        bound = f"{one['relation']} {number(one['bound'])} {one['unit']}".strip() if one["relation"] else "–"
        verdict = told + (f": {one['why']}" if one["why"] else "")
        yield row(one["check"], one["what"], number(one["measured"]), bound, verdict)


def shown(tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    """The tables, each under its title."""
    for name, title in TITLES.items():
        if lines := tables.get(name):
            yield f"\n### {title}\n"
            if name == "growth":
                yield "![time and memory of a DPO step against the longest row](growth.png)\n"
            yield row(*lines[0])
            yield "| --- |" + " ---: |" * (len(lines[0]) - 1)
            for values in lines:
                yield row(*map(number, values.values()))


def row(*cells: object) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(" ".join(str(cell).replace("|", "\\|").split()) for cell in cells) + " |"


def number(value: Any) -> str:
    """Three digits, or the word that it is.

    >>> number(0.00012345), number(12345.6), number(None), number("DPO")
    ('0.000123', '12,346', '–', 'DPO')
    """
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"


def growth(lines: Sequence[Mapping[str, Any]]) -> Figure:
    """Milliseconds and gigabytes of a step against the longest row."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for panel, unit in zip(figure.subplots(1, 2), ("ms", "above the model, GB"), strict=True):
        for name, look in (("xright", "o-"), ("padded", "s--")):
            known = [(one["longest, tokens"], value) for one in lines if (value := one[f"{name}, {unit}"]) is not None]
            if known:
                panel.loglog(*zip(*known, strict=True), look, label=name)
        panel.set(xlabel="longest row (tokens)", ylabel=unit)
        if panel.lines:
            panel.legend(frameon=False)
    return figure


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    from publish import between_markers

    folder = Path(sys.argv[1])
    between_markers(HERE / "README.md", write(folder))
    for file in (f"{NAME}.json", "growth.png"):
        shutil.copy(folder / file, HERE / file)
