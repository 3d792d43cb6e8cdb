"""Appendix D.1: what the finished models answer to the same prompts."""

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import pandas as pd

from xright.analysis.read.runs import read_runs
from xright.analysis.text.answers import answers
from xright.analysis.text.tables import Grid

LAM = 0.5
KINDS = {"lookalike": "look-alike", "harmful_prefixed": "harmful, prefixed"}  # as a reader calls them


def completions(folders: Sequence[Path]) -> pd.DataFrame:
    """One row per prompt and method: the last answers of the lowest seed's runs at λ = LAM, Sequential evenly split."""
    runs = read_runs(folders)
    table = runs.table
    even = table["phases"].map(lambda phases: len({phase["epochs"] for phase in phases}) == 1)
    usual = (table["lam"] == LAM) & (table["variant"] == table["method"])
    chosen = runs.only((usual | (table["first"].ne("") & even)) & (table["seed"] == table["seed"].min()))
    return pd.DataFrame(
        [
            {"kind": KINDS.get(asked.kind, asked.kind), "prompt": asked.prompt, "method": label, "answer": answer}
            for asked in answers(chosen)
            for answer, methods in asked.finals
            for label, _ in methods
        ]
    )


def side_by_side(rows: pd.DataFrame) -> Grid:
    """A row per prompt and different answer, with the methods that give it."""
    rows, lines = rows.fillna({"answer": ""}), []
    for (kind, prompt), asked in rows.groupby(["kind", "prompt"], sort=False):
        for answer, same in asked.groupby("answer", sort=False):
            methods = "all" if len(same) == len(asked) else ", ".join(same["method"])
            lines.append([kind, shown(prompt), shown(answer) or "(nothing)", methods])
    return Grid(["kind", "prompt", "answer", "given by"], lines, 4)


def shown(text: str) -> str:
    """As text of a Markdown table: no tags, no emphasis, one line."""
    return re.sub(r"([\\`*_\[\]])", r"\\\1", escape(" ".join(text.split()), quote=False))
