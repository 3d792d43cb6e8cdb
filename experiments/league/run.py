"""The league: every rule on the embedded world, tuned alike, then on ten worlds that nobody tuned on. `make league`.

Each rule gets as many configurations (TRIALS), tried on the worlds of TUNED at λ = .5; the one with the smallest ideal
distance, averaged over them, is what is reported, on the worlds of SEEDS. Finished runs are not run again, and what is
finished is published, so the command may be stopped and given again. A rule of yours:
`python experiments/league/run.py --rule mine --trials "strategy.c=1 optim.lr=1e-3" …`, with conf/strategy/mine.yaml.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))
from publish import between_markers, write_rows

from xright.analysis.numbers.statistics import mean_interval
from xright.analysis.read.runs import Runs, read_runs
from xright.analysis.text.seed_tables import with_interval
from xright.analysis.text.tables import Grid, markdown

HERE = Path(__file__).parent
TUNED, SEEDS = (100, 101), range(10)  # with seed s, world s too
LAMS = "lam=0.25,0.5,0.75"
RECIPE = "2e-4"  # AdamW's learning rate in the embedded recipe: with it reference and optima are made, for all alike
RATES = ("1e-4", RECIPE, "4e-4", "8e-4")


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
}


@cache
def goals(seed: int) -> str:
    """The optima of a world under the recipe: gaps are measured from the same f* whatever a rule's learning rate."""
    world = [f"seed={seed}", f"data.source.seed={seed}"]
    command = ["strategy=merge", "start=base", "name=league_optima", "logger=csv", *world]
    subprocess.run([sys.executable, "-m", "xright.run", *command], check=True)
    (run,) = [
        one for one in Path("runs/league_optima").glob("*/result.json") if f"seed-{seed}_" in f"{one.parent.name}_"
    ]
    objectives = json.loads(run.read_text())["objectives"]
    numbers = ", ".join(f"{name}: {one['optimum']!r}" for name, one in objectives.items())
    return f"optima={{{numbers}}}"


def sweep(name: str, rule: str, seeds: Sequence[int], settings: str, *more: str) -> None:
    """The rule's runs on these worlds, each with the stages of its own world."""
    for seed in seeds:
        options = [f"strategy={rule}", *settings.split(), f"name={name}", "logger=csv", f"seed={seed}"]
        same = [f"data.source.seed={seed}", goals(seed), f"reference_training.lr={RECIPE}"]
        subprocess.run([sys.executable, "-m", "xright.run", *options, *same, *more, "-m"], check=True)


def tune(rule: str, trials: Sequence[str]) -> str:
    """The configuration with the smallest mean ideal distance over the worlds of TUNED."""
    found = {}
    for place, settings in enumerate(trials):
        name = f"league_tuning/{rule}_{place}"
        sweep(name, rule, TUNED, settings, "lam=0.5")
        found[settings] = read_runs([Path("runs") / name]).table["ideal_distance"].mean()
    return min(found, key=lambda settings: found[settings])


def final(runs: Runs) -> pd.DataFrame:
    """One row per rule and seed: the mean over λ of its ideal distance, and its training seconds."""
    return (
        runs.table.groupby(["strategy", "method", "seed"], sort=False)
        .agg(distance=("ideal_distance", "mean"), seconds=("train_seconds", "mean"), runs=("lam", "size"))
        .reset_index()
    )


def standings(table: pd.DataFrame, chosen: Mapping[str, str]) -> Grid:
    """Rules by their mean distance; each seed's difference to Mix; and the mean rank over seeds that all have run."""
    wide = table.pivot_table(index="seed", columns="strategy", values="distance")
    if "mix" not in wide:
        raise SystemExit("every rule is compared with mix, and runs/league holds none of it; give --rule mix first.")
    ranks = wide.dropna().rank(axis=1)
    names, lines = dict(zip(table["strategy"], table["method"], strict=True)), []
    for rule in wide.mean().sort_values().index:
        over = mean_interval((wide[rule] - wide["mix"]).dropna())
        verdict = "tie" if over.low <= 0 <= over.high else "nearer" if over.high < 0 else "farther"
        seconds = table.loc[table["strategy"] == rule, "seconds"].mean()
        lines.append([
            names[rule], chosen.get(rule, ""), with_interval(mean_interval(wide[rule].dropna())),
            "" if rule == "mix" else f"{with_interval(over)} ({verdict})",
            with_interval(mean_interval(ranks[rule])) if len(ranks) else "–", f"{seconds:.1f}",
            str(wide[rule].notna().sum()),
        ])  # fmt: skip
    return Grid(["rule", "tuned", "ideal distance", "minus Mix's", "rank", "training s", "worlds"], lines, 2)


def main() -> None:
    """Tune, run, publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rule", help="a rule of yours; default: all of the league")
    parser.add_argument("--trials", nargs="+", help="its configurations, four as all have")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="worlds to report on (default: %(default)s)")
    asked = parser.parse_args()
    trials = {asked.rule: asked.trials or [""]} if asked.rule else TRIALS
    chosen = {rule: tune(rule, own) for rule, own in trials.items()}
    for seed in SEEDS[: asked.seeds]:  # world by world, so that what is finished can be compared
        for rule, settings in chosen.items():
            sweep("league", rule, [seed], settings, LAMS)
        table = final(read_runs([Path("runs/league")]))
        write_rows(table, HERE / "results.csv")
        between_markers(HERE / "README.md", markdown(standings(table, chosen)))


if __name__ == "__main__":
    main()
