"""The paper's five claims on the runs of two studies, with intervals over seeds, into README.md. `make claims`."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from options import no_options
from publish import between_markers

from xright.analysis.numbers.claims import claims
from xright.analysis.numbers.statistics import Mean, comparisons
from xright.analysis.numbers.verdicts import Claim, claim_verdicts
from xright.analysis.read.runs import Runs, read_runs
from xright.analysis.text.seed_tables import with_interval
from xright.analysis.text.tables import Grid, markdown

HERE = Path(__file__).parent
BY_LAM = "by λ"  # in the place of a claim: what the means over λ of claim 3 consist of
LEFT, RIGHT = "MAXRIGHT", ("ALRIGHT", "Mix")
STUDIES = {  # its runs, and the runs whose times count
    "embedded": (Path("runs/embedded"), Path("runs/step_times_embedded")),
    "real rows": (Path("runs/real_rows"), Path("runs/step_times_real_rows")),
}


def main() -> None:
    """claims.csv from the runs, if they are here; README.md from claims.csv."""
    if all(folder.is_dir() for folders in STUDIES.values() for folder in folders):
        rows = [
            {"study": study, **row} for study, (runs, timed) in STUDIES.items()
            for row in statements(read_runs([runs]), read_runs([timed]))
        ]  # fmt: skip
        pd.DataFrame(rows).to_csv(HERE / "claims.csv", index=False, float_format="%.6g", lineterminator="\n")
    between_markers(HERE / "README.md", page(pd.read_csv(HERE / "claims.csv")))


def statements(runs: Runs, timed: Runs) -> Iterator[dict[str, Any]]:
    """A row for each statement of the paper's claims, and for each λ of the comparisons of claim 3."""
    for one in claims(runs, timed):
        if one.heading:
            about = {"claim": one.heading, "statement": one.quantity, **one.found._asdict()}
            yield about | {"bound": one.bound, "above": one.above}
    found = comparisons(runs.table)
    known = found[(found["left"] == LEFT) & found["right"].isin(RIGHT) & (found["weighting"] != "")]
    for right, row in product(RIGHT, known.itertuples()):
        if row.right == right:
            text = f"ideal distance of {LEFT} minus {right}'s, both at {row.weighting}"
            about = {"claim": BY_LAM, "statement": text, "mean": row.mean, "half": row.high - row.mean, "n": row.n}
            yield about | {"bound": 0, "above": False}


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
    lines = [
        [claim, *(verdicts[study].get(claim, "not tried") for study in studies)] for claim in rows["claim"].unique()
    ]
    told = [markdown(Grid(["claim", *studies], lines, 1 + len(studies)))]
    for study, statements in studies.items():
        cells = [
            [one.heading, one.quantity, _asked(one), with_interval(one.found), str(one.found.n), one.verdict]
            for one in statements
        ]
        heads = ["claim", "quantity", "asked", "mean ± 95 %", "seeds", "verdict"]
        told += [f"### {study}\n", markdown(Grid(heads, cells, 6))]
        inside = [
            [r.statement, with_interval(Mean(r.mean, r.half, r.n))]
            for r in by_lam[by_lam["study"] == study].itertuples()
        ]
        told += [markdown(Grid(["claim 3, λ by λ", "mean ± 95 %"], inside, 1))]
    return "\n".join(told)


def _asked(one: Claim) -> str:
    return ("> " if one.above else "< ") + f"{one.bound:g}"


if __name__ == "__main__":
    no_options(__doc__)
    main()
