"""experiments/conflict: predictions by hand, on quadratics to the last digit, and in a run that they leave alone."""

import os

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tests.beside import EXPERIMENTS, importable
from tests.command import CommandLine
from xright.strategies import Mix, UPGrad

FOLDER = EXPERIMENTS / "conflict"
HALVES = {"first": 0.5, "second": 0.5}
FAST = [
    "debug=fast", "trainer=cpu", "reference=base", "optima=null", "logger=csv", "strategy=upgrad",
    "strategy.metric=adam", "callbacks.samples=null", "callbacks.device=null", "model.init.hidden_size=16",
    "model.init.num_hidden_layers=1", "model.init.num_attention_heads=2", "model.init.intermediate_size=32",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def modules():
    """The experiment's modules can be imported, for as long as these tests run."""
    with importable("conflict"):
        yield


@pytest.fixture
def toy():
    import toy

    return toy


def test_a_step_by_hand():
    """Adam, β = (0, .5), ε = 0, lr 1, twice: d = (2, 4), then (2, −4), where √v̂ is (2, 4) before and after.

    g_1 = (2, −4) is d: euclid −20, adam −(4/2 + 16/4) = −6, and θ moves by (−1, 1). g_2 = (2, 2): euclid 4, adam 0.
    """
    from products import Step

    weight = nn.Parameter(torch.zeros(2))
    adam = torch.optim.Adam([weight], betas=(0.0, 0.5), eps=0.0, lr=1.0)
    weight.grad = torch.tensor([2.0, 4.0])
    adam.step()
    step = Step([weight], adam, {"first": [torch.tensor([2.0, -4.0])], "second": [torch.tensor([2.0, 2.0])]})
    weight.grad = torch.tensor([2.0, -4.0])
    step.descend()
    adam.step()
    found = step.found()
    assert [found["first"][key] for key in ("euclid", "adam", "no momentum", "moved")] == [-20, -6, -6, -6]
    assert [found["second"][key] for key in ("euclid", "adam", "no momentum", "moved")] == [4, 0, 0, 0]
    assert found["first"]["aligned euclid"] == pytest.approx(1)
    assert found["second"]["conflict euclid"] == pytest.approx(-4 / (20 * 8) ** 0.5)
    assert found["second"]["conflict adam"] == 0
    assert found["first"]["fresh"] == pytest.approx(1)


def test_momentum_alone_parts_the_movement_from_this_steps_own():
    """Gradients 1, then −1: with β₁ = .5, m̂ = (.25 − .5)/.75 = −1/3, so that θ moves by a third of lr."""
    from products import Step

    weight = nn.Parameter(torch.zeros(1))
    adam = torch.optim.Adam([weight], betas=(0.5, 0.5), eps=0.0, lr=1.0)
    weight.grad = torch.ones(1)
    adam.step()
    step = Step([weight], adam, {"one": [-torch.ones(1)], "other": [torch.ones(1)]})
    weight.grad = -torch.ones(1)
    step.descend()
    adam.step()
    assert step.found()["one"] == pytest.approx(step.found()["one"] | {"no momentum": -1.0, "moved": -1 / 3})


def test_on_a_quadratic_first_and_second_order_are_all(toy):
    """Under SGD, where the movement is −lr d: so the Euclidean product is its first order, too."""
    steps = toy.train(Mix(HALVES), seed=0, optimizer=torch.optim.SGD, steps=20, lr=0.1)
    assert steps["change"].abs().min() > 1e-4
    assert steps["euclid"].tolist() == pytest.approx(steps["moved"].tolist(), abs=1e-14)
    assert steps["change"].tolist() == pytest.approx((steps["moved"] + steps["second order"]).tolist(), abs=1e-14)


def test_adamw_without_momentum_moves_along_its_own_metric(toy):
    steps = toy.train(UPGrad(HALVES), seed=0, steps=20, lr=0.02, betas=(0.0, 0.95), weight_decay=0.0)
    assert steps["no momentum"].tolist() == pytest.approx(steps["moved"].tolist(), rel=1e-6)
    assert steps["fresh"].tolist() == pytest.approx([1.0] * len(steps))
    assert not np.allclose(steps["euclid"], steps["moved"], rtol=0.1)
    assert (steps["aligned euclid"] >= -1e-9).all()  # the rule's promise, in its own metric
    own = toy.train(UPGrad(HALVES, metric="adam"), seed=0, steps=20, lr=0.02, betas=(0.0, 0.95))
    assert (own["aligned adam"] >= -1e-9).all()


def test_qualities_and_promises_by_hand():
    """Two steps of two objectives: in the first both rise, of which one was promised not to."""
    import summaries

    about = {"setting": "s", "momentum": "yes", "rule": "upgrad", "metric": "adam", "seed": 0, "fresh": 0.5}
    rows = [
        {"step": 1, "objective": "a", "change": 1.0, "moved": 2.0, "aligned adam": 0.1, "conflict adam": -0.1},
        {"step": 1, "objective": "b", "change": 3.0, "moved": 1.0, "aligned adam": -0.1, "conflict adam": -0.1},
        {"step": 2, "objective": "a", "change": -2.0, "moved": -4.0, "aligned adam": 0.1, "conflict adam": 0.1},
        {"step": 2, "objective": "b", "change": -3.0, "moved": 2.0, "aligned adam": 0.1, "conflict adam": 0.1},
    ]
    steps = pd.DataFrame(rows).assign(**about)
    for key in ("aligned euclid", "aligned no momentum", "conflict euclid", "conflict no momentum"):
        steps[key] = 1.0
    steps["held-out change"] = steps["change"]
    for key in ("euclid", "adam", "no momentum"):
        steps[key] = steps["moved"]
    (found,) = summaries.promises(steps).to_dict("records")
    assert {key: found[key] for key in ("promised", "broken", "foreseen")} == {
        "promised": 0.75, "broken": 0.5, "foreseen": 0.5,
    }  # fmt: skip
    assert found["rise"] == pytest.approx(1 / 2.25)
    assert (found["conflict, adam"], found["signs differ"]) == (0.5, 0.5)
    quality = summaries.quality(steps).query("prediction == 'moved'").set_index("objective")
    assert quality.loc["a", ["factor, change", "R², change", "sign, change"]].tolist() == [0.5, 1, 1]
    # b: (3 − 6) / 5, and 1 − (3.6² + 1.8²) / 18
    assert quality.loc["b", ["factor, change", "R², change", "sign, change"]].tolist() == pytest.approx(
        [-0.6, 0.1, 0.5]
    )


def test_in_a_run_it_only_looks(tmp_path):
    """The real command line: the same trajectory to the bit, and changes as the movement foretells them."""
    path = os.pathsep.join([str(FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])])
    measured = ("+callbacks.conflict._target_=products.Conflict", "+callbacks.conflict.every=2")
    with CommandLine(PYTHONPATH=path, XRIGHT_CACHE=str(tmp_path / "cache")) as command_line:
        for name, options in (("plain", ()), ("measured", measured)):
            done = command_line.run(tmp_path, *FAST, f"name={name}", *options)
            assert done.returncode == 0, done.stderr
    plain, looked = (pd.read_csv(*tmp_path.glob(f"runs/{name}/*/trajectory.csv")) for name in ("plain", "measured"))
    for column in ("step", "f_dpo", "f_sft"):
        assert plain[column].tolist() == looked[column].tolist()
    steps = pd.read_csv(*tmp_path.glob("runs/measured/*/conflict.csv"))
    assert steps["step"].tolist() == [step for step in range(1, 12, 2) for _ in ("dpo", "sft")]
    assert steps["objective"].tolist()[:2] == ["dpo", "sft"]
    assert (steps["aligned adam"] >= -1e-4).all()  # the rule's promise
    assert steps["moved"].abs().max() > 1e-3
    assert steps["moved"].tolist() == pytest.approx(steps["change"].tolist(), rel=0.2, abs=2e-4)
