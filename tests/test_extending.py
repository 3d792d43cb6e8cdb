"""Adding things is as short as CONTRIBUTING.md promises: files in a package and a conf folder of one's own, no more.

A rule, an objective and a start: one file and one yaml each. A stream, a logger, an optimizer, a callback: yaml only.
"""

import csv
import json
import os
import textwrap

import pytest

from tests.command import CommandLine
from xright.analysis.figures.curves import weights
from xright.analysis.numbers.claims import claims
from xright.analysis.numbers.runtime import runtime_increases
from xright.analysis.read.runs import read_runs
from xright.analysis.report import write_page
from xright.analysis.style import FAINT, LOOKS, look

CODE = {
    "coin.py": """
        from xright.strategies.weights import Weighted

        class Coin(Weighted):
            '''Trains its objectives in turn.'''

            def weights(self, step):
                return {self.objectives[step % len(self.objectives)]: 1.0}
        """,
    "exponential.py": """
        from xright.objectives import Objective
        from xright.objectives.pairs import log_ratios

        class Exponential(Objective):
            '''exp(-β h), mean over pairs.'''

            unit, label, responses, needs_reference, lower_bound = "odds per pair", "Exponential", 2, True, 0.0

            def __init__(self, beta, stream):
                self.beta, self.stream = beta, stream

            def size(self, batch):
                return batch.n_rows

            def __call__(self, policy, batch):
                return (-self.beta * log_ratios(policy, batch).margins_B).exp().sum(), {}
        """,
    "shrunk.py": """
        import torch
        from xright.starts import Start

        class Shrunk(Start):
            '''The base with all parameters smaller.'''

            name = "shrunk"

            def __init__(self, factor):
                self.factor = factor

            @torch.no_grad()
            def policy(self, stages, seed):
                policy = stages.policy(seed)
                for parameter in policy.parameters():
                    parameter.mul_(self.factor)
                return policy
        """,
}
YAML = {
    "strategy/coin.yaml": "_target_: mine.coin.Coin\nweights: ${weights}\n",
    "objective/exponential.yaml": "_target_: mine.exponential.Exponential\nbeta: 0.4\nstream: preference\n",
    "start/shrunk.yaml": "_target_: mine.shrunk.Shrunk\nfactor: 0.5\n",
    "logger/two.yaml": """
        defaults: [wandb]
        csv: {_target_: lightning.pytorch.loggers.CSVLogger, name: lightning_csv, version: ''}
        """,
    "callbacks/timed.yaml": """
        defaults: [default]
        timer: {_target_: lightning.pytorch.callbacks.Timer, duration: '00:01:00:00'}
        """,
    "optim/sgd.yaml": """
        _target_: xright.optim.Optim
        lr: 0.05
        optimizer: {_target_: torch.optim.SGD, _partial_: true, momentum: 0.5}
        """,
    "experiment/third.yaml": """
        # @package _global_
        defaults: [{/objective@objectives.terse: sft}, {/objective@objectives.exponential: exponential}]
        objectives: {terse: {stream: terse}}
        data:
          source: {terse_rows: 48, eval_terse_rows: 12}
          streams: {terse: {kind: completions, template: '${data.streams.sft.template}', batch_size: 24}}
        """,
}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    place = tmp_path_factory.mktemp("mine")
    for files, root in ((CODE, place / "mine"), (YAML, place / "conf")):
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(textwrap.dedent(text).lstrip())
    return place


@pytest.fixture(scope="module")
def command(here):
    path = os.pathsep.join([str(here), *filter(None, [os.environ.get("PYTHONPATH")])])
    with CommandLine(PYTHONPATH=path, XRIGHT_CACHE=str(here / "cache")) as command_line:

        def run(*overrides):
            done = command_line.run(here, f"hydra.searchpath=[file://{here}/conf]", "debug=fast", *overrides)
            assert done.returncode == 0, done.stderr
            return here / done.stdout.splitlines()[-1]

        yield run


def rows(file):
    with file.open(newline="") as text:
        return list(csv.DictReader(text))


@pytest.fixture(scope="module")
def extended(command):
    return command("experiment=third", "strategy=coin", "start=shrunk", "logger=two", "callbacks=timed", "optim=sgd")


NAMES = ["dpo", "sft", "terse", "exponential"]


def test_every_file_follows_the_table(extended):
    result = json.loads((extended / "result.json").read_text())
    assert list(result["objectives"]) == NAMES
    assert result["objectives"]["exponential"]["unit"] == "odds per pair"
    assert [result["objectives"][name]["steps"] for name in NAMES] == [3, 3, 3, 3]  # 12 steps in turn
    gaps = [each["f"] - each["optimum"] for each in result["objectives"].values()]
    assert result["ideal_distance"] == pytest.approx(sum(gap**2 for gap in gaps) ** 0.5, rel=1e-12)
    assert result["method"]["family"] == "joint"
    assert result["method"]["name"] == "Coin"
    assert result["method"]["weights"] == dict.fromkeys(NAMES, 0.25)
    assert result["method"]["start"] == "shrunk"
    steps = rows(extended / "steps.csv")
    assert [row["pick"] for row in steps] == NAMES * 3
    assert all(float(row[f"weight_{row['pick']}"]) == 1 and float(row[f"loss_{row['pick']}"]) > 0 for row in steps)
    assert all(float(row[f"f_{name}"]) > 0 for row in rows(extended / "trajectory.csv") for name in NAMES)


def test_both_loggers_have_all_of_it(extended):
    kept = [json.loads(line) for line in (extended / "wandb" / "history.jsonl").read_text().splitlines()]
    logged = {key for _, metrics in kept for key in metrics}
    assert {f"{kind}/{name}" for kind in ("val", "gap", "train", "weight") for name in NAMES} <= logged
    theirs = rows(extended / "lightning_csv" / "metrics.csv")
    assert {f"val/{name}" for name in NAMES} | {"ideal_distance"} <= set(theirs[0])


def test_an_objective_under_its_own_name(command):
    run = command(
        "+objective@objectives.exponential=exponential", "strategy=only", "strategy.objective=exponential", "logger=csv"
    )
    result = json.loads((run / "result.json").read_text())
    assert (result["label"], result["method"]["family"]) == ("Exponential only", "single")
    assert result["f_exponential"] == result["objectives"]["exponential"]["f"] > 0
    assert list(result["picks"].values()) == [0, 0, 12]


def test_no_callback_that_may_be_null_is_needed(command):
    nothing = [f"callbacks.{name}=null" for name in ("steps", "device", "samples")]
    run = command("strategy=mix", "logger=csv", *nothing)
    assert sorted(file.name for file in run.iterdir() if file.is_file()) == [
        "config.yaml", "result.json", "trajectory.csv",
    ]  # fmt: skip
    assert json.loads((run / "result.json").read_text())["steps"] == 12


def test_a_rule_is_reported_like_any_other(command, here, tmp_path):
    command("strategy=coin,mix", "logger=csv", "name=study", "-m")
    command("strategy=sequential", "strategy.epochs=[1,1]", "logger=csv", "name=study")
    runs = read_runs([here / "runs" / "study"])
    page = write_page(runs, tmp_path).read_text()
    assert runs.table.set_index("label")["family"].to_dict() == {
        "Sequential DPO→SFT (1,1)": "sequential", "Coin λ=0.5": "joint", "Mix λ=0.5": "joint",
    }  # fmt: skip
    assert look("Coin")[0] not in {FAINT, *(colour for colour, _ in LOOKS.values())}
    picked = weights(runs).merge(runs.table[["folder", "method"]], on="folder")  # the figure of picks
    assert "Coin" in set(picked["method"])
    assert "Coin λ=0.5" in set(runtime_increases(runs.table)["label"])
    (forgets,) = [claim for claim in claims(runs) if claim.text.startswith("Sequential DPO→SFT ends with a larger DPO")]
    assert "of 2 cases" in forgets.evidence  # against each of the two joint runs
    assert "Coin λ=0.5" in page


def test_a_sweep_of_what_is_elsewhere(command, here):
    command("strategy=coin,mix", "start=shrunk", "logger=csv", "name=sweep", "-m")
    assert len(list((here / "runs" / "sweep").glob("strategy-*/result.json"))) == 2
