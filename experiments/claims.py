"""The paper's claims on the runs of several studies, with intervals over seeds, into README.md. `make claims`.

Those on losses and times are of `xright.analysis.numbers.claims`; here are those on what models answer, for studies
with benchmarks, and on SmolLM2's times, which `rule_costs` has measured in turn.
"""

import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.append(str(Path(__file__).parent / "paper"))
from objective_space import OBJECTIVES
from options import no_options
from publish import between_markers, read_rows, untimed, write_rows

from xright.analysis.numbers.claims import COSTS, MUCH, NOTHING, claims
from xright.analysis.numbers.statistics import Mean, comparisons
from xright.analysis.numbers.verdicts import Claim, claim_verdicts, judged, minus
from xright.analysis.read.runs import CELL, Runs, read_runs
from xright.analysis.text.flat_table import from_rows
from xright.analysis.text.seed_tables import with_interval
from xright.analysis.text.tables import Grid, markdown

HERE = Path(__file__).parent
BY_LAM = "by λ"  # in the place of a claim: what the means over λ of claim 3 consist of
LEFT, RIGHT = "MAXRIGHT", ("ALRIGHT", "Mix")
ABOUT_ANSWERS, ABOUT_WINS = "joint models answer better", "Mix and MAXRIGHT win, Sequential and ORPO do not"
ABOUT_SAFE = "joint models refuse more prompts that only look harmful"
ORDER = (  # how the claims begin, in the paper's order
    *("Sequential forgets", "λ controls", "ALRIGHT covers", "MAXRIGHT is closest", COSTS),
    *(ABOUT_ANSWERS, ABOUT_SAFE, "joint runs come near", ABOUT_WINS, "a large k"),
)
MORE = {  # key of a benchmark: as the paper has it, do joint models have more of it than Sequential's? and whose it is
    **dict.fromkeys(("instructions.exact_match", "mmlu.acc", "hellaswag.acc_norm"), (True, ABOUT_ANSWERS)),
    **dict.fromkeys(("harmful.compliance", "jailbreak.compliance", "sorry.compliance"), (False, ABOUT_ANSWERS)),
    **dict.fromkeys(("lookalike.compliance", "xstest.safe/full_compliance"), (False, ABOUT_SAFE)),
}
CONTESTS = ("over_chosen.win_rate", "winrate.win_rate")
TIMED = "SmolLM2, safety"  # with its settings
TIMES = (HERE / "rule_costs" / "results.csv", "SmolLM2-135M, LoRA")
JOINT, LAM = ("mix", "alright", "maxright"), 0.5
REAL = HERE / "real_model"
SMOLLM2 = {  # what its studies are called there
    "SmolLM2, safety": "smollm2_safety",
    "SmolLM2, DPO first": "smollm2_dpo_first",
    "SmolLM2, SFT first": "smollm2_sft_first",
    "SmolLM2, minimal conflict": "smollm2_ultrafeedback",
}
SCORES = {  # study: file, and the name that it has there
    "embedded": (HERE / "embedded_benchmarks" / "results.csv", None),
    **{study: (REAL / "scores.csv", name) for study, name in SMOLLM2.items()},
}
RUNS = {  # its runs, as flat tables
    "embedded": HERE / "paper" / "csv" / "dpo_first.csv",
    "real rows": HERE / "real_rows" / "runs.csv",
    **{study: REAL / f"{name}.csv" for study, name in SMOLLM2.items()},
}
QUIET = {  # the runs whose times count; the others' machine had other work
    "embedded": Path("runs/step_times_embedded"),
    "real rows": Path("runs/step_times_real_rows"),
}


def main() -> None:
    """claims.csv from what is published of each study, and from its times, if they are here; README.md from that."""
    old = pd.read_csv(HERE / "claims.csv")
    rows = pd.concat([rows_of(study, old[old["study"] == study]) for study in RUNS])
    write_rows(rows[old.columns], HERE / "claims.csv")
    between_markers(HERE / "README.md", page(pd.read_csv(HERE / "claims.csv")))


def rows_of(study: str, old: pd.DataFrame) -> pd.DataFrame:
    """A study's rows; the old ones where it has no runs, and those on costs where their times are not here."""
    more = [*on_answers(study), *(on_costs() if study == TIMED else ())]
    runs, timed = at_hand(study)
    found = [*statements(runs, timed or untimed(runs)), *more] if runs else more
    if runs:
        old = old[(old["claim"] == COSTS) & (study in QUIET and not timed)]
    old = old[~old["statement"].isin([row["statement"] for row in found])]
    return pd.concat([pd.DataFrame(found), old]).assign(study=study)


def at_hand(study: str) -> tuple[Runs | None, Runs | None]:
    """A study's runs, and those whose times count; None where there are none."""
    file, folder = RUNS[study], QUIET.get(study)
    runs = from_rows(read_rows(file), OBJECTIVES).of_every_seed() if file.exists() else None
    return runs, read_runs([folder]) if folder and folder.is_dir() else None


def statements(runs: Runs, timed: Runs) -> Iterator[dict[str, Any]]:
    """A row for each statement of the paper's claims, and for each λ of the comparisons of claim 3."""
    yield from map(_row, (one for one in claims(runs, timed) if one.heading))
    found = comparisons(runs.table)
    known = found[(found["left"] == LEFT) & found["right"].isin(RIGHT) & (found["weighting"] != "")]
    for right, row in product(RIGHT, known.itertuples()):
        if row.right == right:
            text = f"ideal distance of {LEFT} minus {right}'s, both at {row.weighting}"
            about = {"claim": BY_LAM, "statement": text, "mean": row.mean, "half": row.high - row.mean, "n": row.n}
            yield about | {"bound": 0, "above": False}


def _row(one: Claim) -> dict[str, Any]:
    about = {"claim": one.heading, "statement": one.quantity, **one.found._asdict()}
    return about | {"bound": one.bound, "above": one.above}


def on_answers(study: str) -> Iterator[dict[str, Any]]:
    """A row for each statement on benchmarks and win rates that a study has published, at λ = LAM."""
    file, name = SCORES.get(study, (None, None))
    if file is None or (rows := read_rows(file)).empty:
        return
    rows = rows.assign(**dict.fromkeys(set(CELL) - {"seed"}, ""))
    rows = rows[rows["study"] == name] if name else rows
    rows = rows[rows["lam"].isna() | (rows["lam"] == LAM)]
    seeds = rows.groupby(["label", "key"])["seed"].transform("nunique")
    rows = rows[seeds == rows.groupby("key")["seed"].transform("nunique")]  # means over the same methods
    yield from map(_row, _claims_on_answers(rows))


def _claims_on_answers(rows: pd.DataFrame) -> Iterator[Claim]:
    by = {str(strategy): own for strategy, own in rows.groupby("strategy")}
    if "sequential" not in by:
        return
    joint = rows[rows["strategy"].isin(JOINT)]
    for key, (more, claim) in MORE.items():
        quantity = f"{key} of the joint models minus that of Sequential's, at λ={LAM:g} and equal shares"
        sides = (own[own["key"] == key] for own in (joint, by["sequential"]))
        yield from judged(claim, "", quantity, minus(*sides, "value"), above=more)
    for key, (left, right) in product(CONTESTS, (("mix", "sequential"), ("maxright", "sequential"), ("mix", "orpo"))):
        if left in by and right in by:
            quantity = f"{key} of {left} minus that of {right}"
            sides = (by[name][by[name]["key"] == key] for name in (left, right))
            yield from judged(ABOUT_WINS, "", quantity, minus(*sides, "value"), above=True)


def on_costs() -> Iterator[dict[str, Any]]:
    """A row for each statement on SmolLM2's times: CPU seconds of a round's steps, rounds in the place of seeds."""
    file, study = TIMES
    rows = pd.read_csv(file)
    wide = rows[rows["study"] == study].pivot_table("cpu", "round", "contestant")
    wide.index = pd.MultiIndex.from_tuples([("", "", number) for number in wide.index], names=CELL)
    for method in JOINT:
        much = method == "mix"
        quantity = f"time per step of {method} λ={LAM:g} over the mean of one of DPO and one of SFT, minus 1; by round"
        excess = wide[method] / wide[["dpo", "sft"]].mean(axis=1) - 1
        bound = MUCH if much else NOTHING
        yield from map(_row, judged(COSTS, "", quantity, excess, bound=bound, above=much))


def page(rows: pd.DataFrame) -> str:
    """Markdown: the verdicts, then the statements behind them."""
    by_lam, rows = rows[rows["claim"] == BY_LAM], rows[rows["claim"] != BY_LAM]
    studies = {
        str(study): [
            Claim(r.claim, "", r.statement, Mean(r.mean, r.half, r.n), r.bound, r.above) for r in part.itertuples()
        ]
        for study, part in rows.groupby("study", sort=False)
    }
    verdicts = {study: claim_verdicts(statements) for study, statements in studies.items()}
    in_order = sorted(rows["claim"].unique(), key=lambda claim: [not claim.startswith(words) for words in ORDER])
    lines = [[claim, *(verdicts[study].get(claim, "not tried") for study in studies)] for claim in in_order]
    told = [markdown(Grid(["claim", *studies], lines, 1 + len(studies)))]
    for study, statements in studies.items():
        cells = [
            [one.heading, one.quantity, _asked(one), with_interval(one.found), str(one.found.n), one.verdict]
            for one in sorted(statements, key=lambda one: in_order.index(one.heading))
        ]
        heads = ["claim", "quantity", "asked", "mean ± 95 %", "seeds", "verdict"]
        told += [f"### {study}\n", markdown(Grid(heads, cells, 6))]
        inside = [
            [r.statement, with_interval(Mean(r.mean, r.half, r.n))]
            for r in by_lam[by_lam["study"] == study].itertuples()
        ]
        if inside:
            told.append(markdown(Grid(["claim 3, λ by λ", "mean ± 95 %"], inside, 1)))
    return "\n".join(told)


def _asked(one: Claim) -> str:
    return ("> " if one.above else "< ") + f"{one.bound:g}"


if __name__ == "__main__":
    no_options(__doc__)
    main()
