"""The league: every rule on the embedded world, tuned alike, then on ten worlds that nobody tuned on. `make league`.

Each rule gets as many configurations (TRIALS), tried on the worlds of TUNED at λ = .5; the one with the smallest ideal
distance, averaged over them, is what is reported, on the worlds of SEEDS: at equal steps, and at equal time, for which
a rule trains as many epochs as fit into the time of Mix's, by what experiments/rule_costs has measured. What is
finished is published into tuning.csv and results.csv and not run again, on whatever machine, so the command may be
stopped and given again. A rule of yours:
`python experiments/league/run.py --rule mine`, with conf/strategy/mine.yaml, in which four learning rates are tried, or
what is said after --trials, such as "strategy.c=1 optim.lr=4e-4".
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))
from page import publish
from publish import having, join_rows, read_rows
from worlds import RATES, SEEDS, TUNED, ends, started, world

from xright.analysis.read.runs import read_runs
from xright.metrics import hypervolume

HERE = Path(__file__).parent
LAMS = "lam=0.25,0.5,0.75"
TIGHTER = (2, 1, 0.5)  # times the ε that was tuned, in the place of λ
EPOCHS = 6
TUNING, RESULTS = HERE / "tuning.csv", HERE / "results.csv"


def rates(*settings: str) -> list[str]:
    """Four configurations: two learning rates of each of two settings, or four of one."""
    few = RATES if len(settings) < 2 else RATES[1:3]
    return [f"{setting} optim.lr={rate}".strip() for setting in settings or ("",) for rate in few]


TRIALS: Mapping[str, list[str]] = {
    "mix": rates(),
    "alright": rates(),
    "maxright": rates("strategy.k=1", "strategy.k=10"),
    "stch": rates("strategy.mu=0.1", "strategy.mu=1"),
    "group_dro": rates("strategy.eta=0.01", "strategy.eta=0.1"),
    "constrained": rates("strategy.epsilon=0.1", "strategy.epsilon=0.3"),
    "exp3": rates("strategy.eta=0.3", "strategy.eta=0.1"),
    "dwa": rates(),
    "famo": rates("strategy.lr=0.025", "strategy.lr=0.1"),
    "mgda": rates(),
    "upgrad": rates(),
    "pcgrad": rates(),
    "nash_mtl": rates(),
    "cagrad": rates("strategy.c=0.5", "strategy.c=0.2"),
    "raco": rates("strategy.c=0.4", "strategy.c=0.8"),
    "moco": rates("strategy.gamma=0.1", "strategy.gamma=0.01"),
    "modo": rates("strategy.gamma=0.001", "strategy.gamma=0.01"),
    "pcd": rates("strategy.primary=dpo", "strategy.primary=sft"),
    "scheduled_mix": rates("strategy.end={dpo:0.75,sft:0.25}", "strategy.end={dpo:0.25,sft:0.75}"),  # from λ to there
    "blocks": rates("strategy.steps={dpo:10,sft:10}", "strategy.steps={dpo:50,sft:50}"),
}
AS_LONG = {"blocks": "alright", "scheduled_mix": "mix"}  # a step of whose is the same work


def sweep(name: str, rule: str, seed: int, *settings: str) -> None:
    """The rule's runs in one world, each with the stages of that world."""
    optima = ", ".join(f"{key}: {value!r}" for key, value in ends(seed).optima.items())
    started(f"strategy={rule}", f"name={name}", *world(seed), f"optima={{{optima}}}", *settings)


def tune(rule: str, trials: Sequence[str]) -> str:
    """The configuration with the smallest mean ideal distance over the worlds of TUNED."""
    found = {}
    for place, settings in enumerate(trials):
        found[settings] = np.mean([tried(rule, settings, seed, f"league_tuning_{rule}_{place}") for seed in TUNED])
    return min(found, key=lambda settings: found[settings])


def tried(rule: str, settings: str, seed: int, name: str) -> float:
    """The ideal distance of one configuration in one world at λ = .5: published, or run and published."""
    known = having(read_rows(TUNING), rule=rule, settings=settings, seed=seed)
    if len(known):
        return float(known["ideal_distance"].iloc[0])
    sweep(name, rule, seed, *settings.split(), "lam=0.5")
    runs = read_runs([Path("runs") / name]).table.query(f"seed == {seed}")
    distance = float(runs["ideal_distance"].iloc[0])
    row = {"rule": rule, "settings": settings, "seed": seed, "ideal_distance": distance}
    join_rows(pd.DataFrame([row]), TUNING, ["rule", "settings", "seed"])
    return distance


def fitting(rule: str, settings: str) -> int | None:
    """Epochs in the time of Mix's EPOCHS; None where nobody has measured what a step of the rule takes."""
    costs = pd.read_csv(HERE.parent / "rule_costs" / "results.csv").query("study == 'embedded world'")
    means = costs.groupby("contestant")["cpu"].mean()
    looked = f"{rule} k=1" if "strategy.k=1 " in f"{settings} " else AS_LONG.get(rule, rule)
    if looked not in means:
        print(f"{looked} is not in experiments/rule_costs/results.csv: it is compared at equal steps only.")
        return None
    return max(1, round(EPOCHS * means["mix"] / means[looked]))


def trade_offs(settings: str) -> list[str]:
    """The three runs of a world: as tuned, at each λ; where a rule has an ε or blocks, these in its place."""
    given = dict(setting.split("=") for setting in settings.split())
    if epsilon := given.get("strategy.epsilon"):
        given["strategy.epsilon"] = ",".join(f"{factor * float(epsilon):g}" for factor in TIGHTER)
        return [f"{key}={value}" for key, value in given.items()]
    if steps := given.get("strategy.steps"):
        n = int(re.findall(r"\d+", steps)[0])
        shares = ((n // 2, 2 * n - n // 2), (n, n), (2 * n - n // 2, n // 2))  # of both blocks together: λ
        given["strategy.steps"] = ",".join(f"{{dpo:{dpo},sft:{sft}}}" for dpo, sft in shares)
        return [f"{key}={value}" for key, value in given.items()]
    return [*settings.split(), LAMS]


def play(rule: str, settings: str, seed: int) -> None:
    """A rule's two budgets in one world: a row each of results.csv."""
    fits = fitting(rule, settings)
    for budget, epochs in [("steps", EPOCHS), *([("time", fits)] if fits else [])]:
        if len(having(read_rows(RESULTS), rule=rule, settings=settings, seed=seed, budget=budget)):
            continue
        name = f"league_{rule}_{epochs}"
        sweep(name, rule, seed, *trade_offs(settings), f"epochs={epochs}")
        runs = read_runs([Path("runs") / name]).table.query(f"seed == {seed}")
        base = ends(seed).gaps
        gaps = runs[[f"gap_{key}" for key in base]].to_numpy()
        row = {
            "rule": rule, "method": runs["method"].iloc[0], "settings": settings, "seed": seed, "budget": budget,
            "epochs": epochs, "ideal_distance": runs["ideal_distance"].mean(),
            "hypervolume": hypervolume(gaps, [*base.values()]) / np.prod([*base.values()]),
        }  # fmt: skip
        join_rows(pd.DataFrame([row]), RESULTS, ["budget", "rule", "settings", "seed"])


def show(chosen: Mapping[str, str]) -> None:
    """The page of what is there; rows of settings that are no longer a rule's choice are left out."""
    rows = read_rows(RESULTS)
    publish(rows[rows["settings"] == rows["rule"].map(chosen).fillna(rows["settings"])])


def main() -> None:
    """Tune, run, publish world by world."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rule", help="a rule of yours; default: all of the league")
    parser.add_argument("--trials", nargs="+", help="its configurations, four as all have")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="worlds to report on (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="commands at once, one thread each (default: %(default)s)")
    asked = parser.parse_args()
    trials = {asked.rule: asked.trials or TRIALS.get(asked.rule, rates())} if asked.rule else TRIALS
    with ThreadPoolExecutor(asked.jobs) as pool:
        chosen = dict(zip(trials, pool.map(tune, trials, trials.values()), strict=True))
        for seed in SEEDS[: asked.seeds]:  # world by world, so that what is finished can be compared
            list(pool.map(play, chosen, chosen.values(), [seed] * len(chosen)))
            show(chosen)


if __name__ == "__main__":
    main()
