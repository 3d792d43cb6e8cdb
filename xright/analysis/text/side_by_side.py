"""What different subjects answer to one prompt (appendix D.1 of arXiv 2410.15483), from the files of their answers.

`<subject>/evaluation/<task>_answers.jsonl`: a first line about how the answers were made, then one line
{"id", "prompt", "answer", "tokens"} per prompt, appended as they came; a last line may be cut short. Where a judge has
seen them, `<task>_verdicts.jsonl` has {"prompt", "verdict"} and more in each line.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from xright.analysis.read.benchmarks import Benchmarks
from xright.analysis.read.files import loads
from xright.analysis.style import cut
from xright.errors import UserError

log = logging.getLogger(__name__)

PROMPTS = 3  # per task


@dataclass(frozen=True)
class SideBySide:
    """One prompt and [(answer, [(subject, colour, verdict or ""), …])]: equal answers stand together."""

    task: str
    prompt: str
    answers: list[tuple[str, list[tuple[str, str, str]]]]


def side_by_side(benchmarks: Benchmarks) -> tuple[list[SideBySide], list[str]]:
    """Of each task, PROMPTS prompts spread over those that every subject with answers to this task has answered; and a
    sentence for each file that cannot be read and is left out."""
    damaged: list[str] = []

    def column(file: Path, name: str) -> dict[str, str]:
        try:
            return read_column(file, name)
        except UserError as error:
            damaged.append(f"Left out: {error}")
            log.warning("left out: %s", error)
            return {}

    answers: dict[str, dict[str, dict[str, str]]] = {}
    verdicts: dict[tuple[str, str], dict[str, str]] = {}
    for name, place in benchmarks.subjects["path"].items():
        for file in sorted((Path(place) / "evaluation").glob("*_answers.jsonl")):
            task = file.stem.removesuffix("_answers")
            if given := column(file, "answer"):
                answers.setdefault(task, {})[str(name)] = given
            judged = file.with_name(f"{task}_verdicts.jsonl")
            verdicts[task, str(name)] = column(judged, "verdict") if judged.exists() else {}
    colours, found = benchmarks.subjects["colour"], []
    for task, by_subject in sorted(answers.items()):
        first, *others = by_subject.values()
        shared = [prompt for prompt in first if all(prompt in other for other in others)]
        for prompt in shared[:: max(1, -(-len(shared) // PROMPTS))]:
            together: dict[str, list[tuple[str, str, str]]] = {}
            for name, answered in by_subject.items():
                verdict = verdicts[task, name].get(prompt, "").replace("_", " ")
                together.setdefault(cut(answered[prompt]), []).append((name, colours[name], verdict))
            found.append(SideBySide(task, cut(prompt), list(together.items())))
    return found, damaged


def read_column(file: Path, column: str) -> dict[str, str]:
    """{prompt: what stands in the column}, in the order of the file; lines without either are not looked at."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}); remove it and evaluate again.") from error
    found = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = loads(line) if line.strip() else {}
        except (ValueError, RecursionError) as error:
            if number == len(lines):  # no newline after it: it was being written
                break
            raise UserError(f"{file} is damaged in line {number} ({error}); remove it and evaluate again.") from error
        if isinstance(row, dict) and isinstance(row.get("prompt"), str) and isinstance(row.get(column), str):
            found[row["prompt"]] = row[column]
    return found
