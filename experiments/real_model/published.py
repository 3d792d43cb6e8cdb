"""The csv files of the study: what finished cells have come to, and what made them.

cells.csv has a row per cell: when, where and with which versions it was made, and how long it took. <study>.csv has its
runs as one flat table (`analysis/text/flat_table.py`); scores.csv and counts.csv have what their models did in
benchmarks (as in `evaluated.py`), completions.csv their answers to the first prompts. A cell replaces its
own rows and no others.
"""

import json
import subprocess
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path

import pandas as pd
from cells import Cell
from evaluated import LAMS, counts, scores
from publish import having, join_rows, read_rows

from xright.analysis.read.files import find_runs
from xright.analysis.read.runs import read_runs
from xright.analysis.text.flat_table import NAME, to_rows
from xright.machine.locks import held

HERE, RUNS = Path(__file__).parent, Path("runs")
CELLS = HERE / "cells.csv"
NAMED = ["study", "cell", "seed"]
OF_RUN = ("k", "step_ms", "tokens_per_second")
MEASURED = ("device", "train_seconds", "eval_seconds")
PUBLISHED = ("csv", "png", "md")
VERSIONS = ("xright", "torch", "transformers", "peft", "lightning")
EXAMPLES = {"winrate_rewards": "held-out prompt", "sorry_verdicts": "CatQA", "xstest_verdicts": "XSTest"}
COUNT = 3  # of each kind
KEYS = {
    "sorry.compliance": "sorry.compliance", "xstest.safe/full_compliance": "xstest.safe/full_compliance",
    "xstest.compliance": "xstest.compliance", "hellaswag.acc_norm": "hellaswag.acc_norm", "mmlu.acc": "mmlu.acc",
    "winrate.win_rate": "winrate.win_rate", "winrate.win_rate/similar_length": "winrate.win_rate/similar_length",
}  # fmt: skip


def is_there(cell: Cell, asked: bool = False) -> bool:
    """Whether the cell is published; asked: and what its model answers, too."""
    own = having(read_rows(CELLS), study=cell.table, cell=cell.key, seed=cell.seed)
    return len(own) > 0 and (not asked or bool(own["asked"].iloc[0]))


def folder(cell: Cell) -> Path:
    """The folder of the cell's finished run."""
    (run,) = (one for one in find_runs(RUNS / cell.table / cell.name) if (one / "result.json").exists())
    return run


def publish(cell: Cell, asked: bool) -> None:
    """Put a cell's run into its study's files, then the cell into cells.csv. asked: and what its model answers."""
    with held(RUNS / "publishing.lock", "publishes a cell"):
        _publish(cell, asked, folder(cell))


def _publish(cell: Cell, asked: bool, run: Path) -> None:
    found = read_runs([run])
    known = [key for key in found.table if key in OF_RUN or key.startswith("picks.")]  # k: where MAXRIGHT is among them
    runs = to_rows(found, *known)
    join_rows(runs, HERE / f"{cell.table}.csv", NAME)
    if asked:
        join_rows(scores([run], KEYS, LAMS).assign(study=cell.table), HERE / "scores.csv", ["study", *NAME])
        found = [counts([run], detail, LAMS).assign(detail=detail) for detail in ("verdicts", "categories")]
        join_rows(pd.concat(found).assign(study=cell.table), HERE / "counts.csv", ["study", *NAME])
        join_rows(examples(cell), HERE / "completions.csv", ["study", "seed", "method"])
    file = run / "result.json"
    result = json.loads(file.read_text(encoding="utf-8"))
    finished = datetime.fromtimestamp(file.stat().st_mtime, timezone.utc)
    made = {
        "study": cell.table, "cell": cell.key, "seed": cell.seed, "label": result["label"],
        "asked": asked, "commit": commit(), "finished": f"{finished:%Y-%m-%d}",
        **{name: result[name] for name in MEASURED}, **{name: result["versions"][name] for name in VERSIONS},
    }  # fmt: skip
    known = having(read_rows(CELLS), study=cell.table, cell=cell.key, seed=cell.seed)
    if len(known) and known["train_seconds"].iloc[0] == float(f"{result['train_seconds']:.6g}"):  # the same run
        made |= {"asked": asked or bool(known["asked"].iloc[0]), "commit": known["commit"].iloc[0]}
    join_rows(pd.DataFrame([made]), CELLS, NAMED)


def examples(cell: Cell) -> pd.DataFrame:
    """A cell's answers to the first COUNT prompts of each kind, and the answers that are to be beaten."""
    label, rows = json.loads((folder(cell) / "result.json").read_text(encoding="utf-8"))["label"], []
    for name, kind in EXAMPLES.items():
        if (file := folder(cell) / "evaluation" / f"{name}.jsonl").is_file():
            with file.open(encoding="utf-8") as lines:  # not splitlines(): an answer may hold U+2028
                first = [json.loads(line) for line in islice(lines, COUNT)]
            for found in first:
                given = {label: found["answer"]}
                given |= {"(the answer to be beaten)": found["reference"]} if "reference" in found else {}
                rows += [[kind, found["prompt"], who, answer] for who, answer in given.items()]
    table = pd.DataFrame(rows, columns=["kind", "prompt", "method", "answer"])
    return table.assign(study=cell.table, seed=cell.seed)


def commit(place: Path = HERE) -> str:
    """The commit of the checkout around a folder, with "-dirty" where its code differs from it; "unknown" without one.

    What a study itself publishes (tables, pictures and pages of experiments/) is no code.
    """
    found = _git("rev-parse", "--short", "HEAD", place=place)
    if found.returncode:
        return "unknown"
    published = [f":(top,glob,exclude)experiments/**/*.{suffix}" for suffix in PUBLISHED]
    differs = _git("diff", "--quiet", "HEAD", "--", ":(top)", *published, place=place).returncode
    return found.stdout.strip() + ("-dirty" if differs else "")


def _git(*words: str, place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *words], cwd=place, capture_output=True, text=True)
