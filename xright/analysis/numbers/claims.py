"""What can be said about the runs of one study: no sentence's outcome is written in advance.

The paper's claims (arXiv 2410.15483) that follow from losses and times:

1. Sequential training forgets its first objective.      5. Joint training costs about nothing, Mix costs much.
2. λ controls ALRIGHT's trade-off.                       6. Joint training comes near the ideal point sooner.
3. ALRIGHT's ends cover the front as Mix's do.           7. MAXRIGHT with a large k oscillates.
4. MAXRIGHT ends closest to the ideal point.

Each is put to the test by statements about quantities (`verdicts`), and so are a few more. Their cases are pairs of
runs with equal seeds and, where they matter, weights; a statement without a case is not made. Gaps, distances and rises
are in nats; costs are fractions of a step's time.
"""

from collections.abc import Iterator
from itertools import permutations

import pandas as pd

from xright.analysis.numbers.oscillation import rise
from xright.analysis.numbers.verdicts import Claim, judged, minus, over
from xright.analysis.read.runs import CELL, Runs
from xright.errors import UserError

CONTROLLED, CLOSEST, WIDEST = "ALRIGHT", "MAXRIGHT", "Mix"  # what claims 2 and 3, and 4 and 7, are about; 3's measure
NOTHING, MUCH = 0.1, 0.25  # as a fraction: less is "about nothing", more is "much"
SUM = 0.15  # of the sum of single steps: how close a step on all objectives comes to it
USUAL_K = 10
REFUSES = "behaviour.refuses_harmful"
COSTS = "joint training costs about nothing, Mix costs much"  # a claim's heading


def claims(runs: Runs, timed: Runs | None = None) -> list[Claim]:
    """Every statement for which there are runs, in the order of the paper's claims.

    timed: the runs whose times count, where those of `runs` were not taken on a quiet machine; none of them where no
    times shall be judged.
    Raises UserError where the runs have several settings: one study at a time.
    """
    if (settings := runs.table["setting"].unique()).size > 1:
        raise UserError(f"The runs differ in their setting ({'; '.join(settings)}); the claims are about one study.")
    usual, at = _usual(runs), "λ" if runs.table["lam"].notna().any() else "weights"
    found = (_forgets(usual, at), _controls(usual), _covers(usual), _closest(usual, at))
    late = (_costs(_usual(timed or runs), at), _sooner(usual), _oscillates(runs))
    return [claim for some in (*found, *late) for claim in some]


def _forgets(runs: Runs, at: str) -> Iterator[Claim]:
    joint, sequential = (runs.table[runs.table["family"] == family] for family in ("joint", "sequential"))
    means = f"(means over splits and {at})"
    for order, own in sequential.groupby("front", sort=False):
        first = own["first"].iloc[0]
        if first in runs.axes:
            gap = f"{runs.axes[first].label} gap"
            text = f"{order} ends with a larger {gap} than the joint runs of the same seed"
            quantity = f"{gap} of {order} minus that of the joint methods {means}"
            yield from judged("Sequential forgets", text, quantity, minus(own, joint, f"gap_{first}"), above=True)
        text = f"{order} refuses fewer harmful prompts than the joint runs of the same seed"
        quantity = f"share of harmful prompts that {order} refuses minus that of the joint methods {means}"
        yield from judged("", text, quantity, minus(own, joint, REFUSES))


def _controls(runs: Runs) -> Iterator[Claim]:
    """Over all weights of an objective, and where there are more than three, over those well inside."""
    joint = runs.table[runs.table["family"] == "joint"]
    for method, own in joint.groupby("method", sort=False):
        heading = f"λ controls {method}" if method == CONTROLLED else ""
        for name, objective in runs.axes.items():
            own = own.assign(weight=[weights.get(name) for weights in own["weights"]]).round({"weight": 9})
            shown = own.dropna(subset="lam").groupby("weight")["weighting"].first()
            wide = own.pivot_table(f"f_{name}", CELL, "weight")
            for inside in (wide, wide.iloc[:, 1:-1]) if wide.shape[1] > 3 else (wide,):
                falls = inside.dropna().diff(axis=1).stack().droplevel("weight")  # they add up to the whole way
                low, high = (shown.get(w, f"{name}={w:g}") for w in inside.columns[[0, -1]]) if len(wide) else ("", "")
                text = f"With {method}, a larger weight on {objective.label} gives a lower f_{objective.label}"
                quantity = f"f_{objective.label} of {method} at {high} minus that at {low}"
                yield from judged(heading, f"{text}, from {low} to {high}", quantity, falls, total=True)


def _covers(runs: Runs) -> Iterator[Claim]:
    """How far apart the ends at the outermost λ are, and whether Sequential's are all beside its last objective."""
    heading, table = f"{CONTROLLED} covers the front as {WIDEST} does, Sequential does not", runs.table
    ours, theirs = (table[(table["method"] == name) & table["lam"].notna()] for name in (CONTROLLED, WIDEST))
    common = sorted({*ours["lam"]} & {*theirs["lam"]})
    if len(common) > 1:
        lams, names = (common[0], common[-1]), [ours.loc[ours["lam"] == lam, "weighting"].iloc[0] for lam in common]
        wide = [_apart(own, lams, runs) for own in (ours, theirs)]
        text = f"{CONTROLLED}'s ends are spread as widely as {WIDEST}'s (by less than {MUCH:.0%} more narrowly)"
        quantity = f"distance between the ends of {CONTROLLED} at {names[0]} and {names[-1]} over {WIDEST}'s, minus 1"
        yield from judged(heading, text, quantity, wide[0] / wide[1] - 1, bound=-MUCH, above=True)
    if len(runs.axes) != 2:
        return
    for order, own in table[table["family"] == "sequential"].groupby("front", sort=False):
        if (first := own["first"].iloc[0]) in runs.axes:
            (last,) = runs.axes.keys() - {first}
            excess = own.assign(excess=own[f"gap_{first}"] - own[f"gap_{last}"]).groupby(CELL)["excess"].min()
            gaps = [f"{runs.axes[name].label} gap" for name in (first, last)]
            text = f"Whatever the split, {order} ends with a larger {gaps[0]} than {gaps[1]}"
            quantity = f"{gaps[0]} of {order} minus its {gaps[1]}, at the split where that is least"
            yield from judged(heading, text, quantity, excess, above=True)


def _apart(own: pd.DataFrame, lams: tuple[float, float], runs: Runs) -> pd.Series:
    """How far apart in objective space one method's runs of two λ end, by cell."""
    columns = [f"f_{name}" for name in runs.axes]
    low, high = (own[own["lam"] == lam].groupby(CELL)[columns].mean() for lam in lams)
    return (high - low).pow(2).sum(axis=1, skipna=False).pow(0.5).dropna()


def _closest(runs: Runs, at: str) -> Iterator[Claim]:
    far, table = "ideal_distance", runs.table
    sequential = table[table["family"] == "sequential"]
    joint = {str(name): own for name, own in table[table["family"] == "joint"].groupby("method", sort=False)}
    merged = {str(name): own for name, own in table[table["family"] == "merge"].groupby("method", sort=False)}
    for left, own in joint.items():
        for right, other in merged.items() if left != CLOSEST else (joint | merged).items():
            if left != right:
                heading = f"{CLOSEST} is closest to the ideal point" if left == CLOSEST else ""
                text = f"{left} ends closer to the ideal point than {right} at the same seed and {at}"
                quantity = f"ideal distance of {left} (mean over {at}) minus {right}'s at the same {at}"
                yield from judged(heading, text, quantity, minus(own, other, far, "weighting"))
        if left == CLOSEST:  # against the best order and split, chosen afterwards: the hardest comparison
            best = sequential.groupby(CELL, as_index=False)[far].min()
            text = f"{left} ends closer to the ideal point than the best Sequential run of the same seed"
            quantity = f"ideal distance of {left} (mean over {at}) minus the best Sequential run's"
            yield from judged(f"{left} is closest to the ideal point", text, quantity, minus(own, best, far))
    text = "The joint runs end closer to the ideal point than the Sequential runs of the same seed"
    quantity = f"ideal distance of the joint methods minus that of Sequential (means over splits and {at})"
    yield from judged("", text, quantity, minus(table[table["family"] == "joint"], sequential, far))


def _costs(runs: Runs, at: str) -> Iterator[Claim]:
    if runs.table.empty:
        return
    table = runs.table.assign(even=runs.table.apply(_is_even, axis=1))
    even = table[table["even"] & (table["family"] == "sequential")].groupby(CELL, as_index=False)["step_ms"].mean()
    joint = table[table["family"] == "joint"]
    updates = joint[[f"picks.{name}" for name in runs.objectives]].sum(axis=1) / joint["steps"]
    at_once = (updates > 1.5).groupby(joint["method"]).all()  # updates all objectives in a step
    for method, own in joint[joint["even"]].groupby("method", sort=False):
        much = at_once[method]
        asked = f"much more (over {MUCH:.0%})" if much else f"about nothing more (less than {NOTHING:.0%})"
        text = f"A step of {method} costs {asked} than one of Sequential with equal shares"
        quantity = f"time per step of {own['label'].iloc[0]} over that of Sequential with equal shares, minus 1"
        yield from judged(COSTS, text, quantity, over(own, even), bound=MUCH if much else NOTHING, above=bool(much))
    methods = {str(name): own for name, own in joint.groupby("method", sort=False)}
    for left, right in permutations(methods, 2):
        if not at_once[right] and right != CLOSEST and (at_once[left] or left == CLOSEST):
            text = f"An optimizer step of {left} takes longer than one of {right} at the same {at}"
            quantity = f"time per step of {left} over that of {right} at the same {at}, minus 1"
            yield from judged("", text, quantity, over(methods[left], methods[right], "weighting"), above=True)
        if not at_once[right] and right != CLOSEST and at_once[left]:
            text = (
                f"A step of {left} takes as long as a step of {right} on each objective together, to within {SUM:.0%}"
            )
            quantity = f"time per step of {left} over the sum of {right}'s, less or more than 1"
            yield from judged("", text, quantity, _off_the_sum(runs, methods[left], methods[right]), bound=SUM)


def _sooner(runs: Runs) -> Iterator[Claim]:
    """When a joint run with equal shares first is as near to the ideal point as the Sequential one with equal shares
    ends, by a straight line between evaluations: as a fraction of the latter's steps, 1 where it never is."""
    even = runs.table[runs.table.apply(_is_even, axis=1)] if len(runs.table) else runs.table
    ends = even[even["family"] == "sequential"].rename(columns={"ideal_distance": "end"}).dropna(subset="end")
    ends, joint = ends[[*CELL, "front", "end", "steps"]], even[even["family"] == "joint"][["folder", "method", *CELL]]
    seen = runs.trajectory[["folder", "step", "ideal_distance"]].dropna()
    ways = joint.merge(ends, on=CELL).merge(seen, on="folder").sort_values("step", kind="stable")
    before = ways.groupby(["folder", "front"])[["step", "ideal_distance"]].shift()
    left = (ways["end"] - ways["ideal_distance"]) / (before["ideal_distance"] - ways["ideal_distance"])
    back = (ways["step"] - before["step"]) * left.where(before["ideal_distance"] > ways["end"], 0.0)
    there = ways["ideal_distance"] <= ways["end"]
    ways["share"] = ((ways["step"] - back.fillna(0.0)) / ways["steps"]).where(there, 1.0).clip(upper=1.0)
    for (method, order), own in ways.groupby(["method", "front"], sort=False):
        text = f"{method} is as near to the ideal point as {order} ends in less than {1 - MUCH:.0%} of its steps"
        quantity = f"share of the steps of {order} that {method} takes to be as near, both with equal shares"
        cases = own.groupby(CELL)["share"].min()
        yield from judged("joint runs come near the ideal point sooner", text, quantity, cases, bound=1 - MUCH)


def _oscillates(runs: Runs) -> Iterator[Claim]:
    if "k" not in runs.table:
        return
    table = runs.table[runs.table["method"] == CLOSEST].merge(rise(runs.trajectory, runs.axes), on="folder")
    for k in sorted(k for k in table["k"].unique() if k > USUAL_K):
        text = f"{CLOSEST} with k={k:g} loses more on its way than with k=1 at the same seed"
        quantity = f"rise (what is lost from one evaluation to the next) of {CLOSEST} k={k:g} minus that of k=1"
        rises = minus(table[table["k"] == k], table[table["k"] == 1], "rise", "weighting")
        yield from judged("a large k oscillates", text, quantity, rises, above=True)


def _usual(runs: Runs) -> Runs:
    """Leave out variants of a method that was also run as usual."""
    usual = (runs.table["variant"] == runs.table["method"]) | (runs.table["family"] == "sequential")
    return runs.only(usual | ~runs.table["method"].isin(runs.table.loc[usual, "method"]))


def _is_even(run: pd.Series) -> bool:
    """Tell whether every objective gets as much: of the epochs, or of the weights."""
    epochs = [phase["epochs"] for phase in run["phases"]]
    shares = epochs if run["family"] == "sequential" else list(run["weights"].values())
    return len(shares) > 1 and max(shares) - min(shares) < 1e-9


def _off_the_sum(runs: Runs, left: pd.DataFrame, right: pd.DataFrame) -> pd.Series:
    """|median time of a step of `left` over the sum of the medians of `right`'s, one per objective, − 1|, per cell."""
    steps = runs.steps.merge(runs.table[["folder", *CELL]], on="folder")
    whole, single = (steps[steps["folder"].isin(side["folder"])] for side in (left, right))
    single = single.groupby([*CELL, "pick"])["seconds"].median().unstack("pick").reindex(columns=[*runs.axes])
    return (whole.groupby(CELL)["seconds"].median() / single.sum(axis=1, skipna=False) - 1).abs()
