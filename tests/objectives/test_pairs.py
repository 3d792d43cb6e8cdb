"""Every loss of a pair, by hand; and what holds for all of them, found by their yaml files."""

import math
from pathlib import Path

import pytest
import torch
import yaml

from xright.config.build import build
from xright.data.prompts import Row
from xright.errors import UserError
from xright.forward.collate import LAYOUTS, collate
from xright.forward.logprobs import response_logps
from xright.forward.packing import choose_layout
from xright.objectives import (
    BCO,
    CPO,
    DPO,
    EXO,
    IPO,
    NCA,
    RPO,
    SPPO,
    APODown,
    APOZero,
    DiscoPOP,
    DPONorm,
    Hinge,
    RobustDPO,
    SimPO,
)
from xright.objectives.discopop import discopop_loss
from xright.objectives.pairs import OnPairs, Pairs

LOG2, LOG3, LOG5 = math.log(2), math.log(3), math.log(5)
# log π: chosen p(1|0)·p(2|1) = 1/16, rejected p(0|0) = 1/2. With π_ref 1/8 and 1/4 the log-ratios are r_w = −log 2 and
# r_l = log 2, their margin h = −2 log 2. At β = 1: σ(r_w) = σ(−r_l) = 1/3, σ(h) = 1/5.
ROW = Row(0, [0], ([1, 2], [0]), (math.log(1 / 8), math.log(1 / 4)))
NLL = 2 * LOG2  # of the chosen answer, per token
BY_HAND = [
    (Hinge(beta=1.0), 1 + 2 * LOG2),
    (Hinge(beta=0.5), 1 + LOG2),
    (RobustDPO(beta=1.0, label_smoothing=0.25), (0.75 * LOG5 - 0.25 * math.log(5 / 4)) / 0.5),
    (RobustDPO(beta=1.0, label_smoothing=0.0), LOG5),
    (NCA(beta=1.0), LOG3 + (math.log(3 / 2) + LOG3) / 2),
    (EXO(beta=1.0, label_smoothing=0.25), 1 / 5 * math.log(4 / 15) + 4 / 5 * math.log(16 / 5)),
    (APOZero(beta=1.0), 1 - 1 / 3 + 2 / 3),
    (APODown(beta=1.0), 1 - 1 / 5 + 1 / 3),
    (SPPO(beta=1.0), 2 * (LOG2 + 1 / 2) ** 2),
    (SPPO(beta=0.25), 2 * (LOG2 + 2) ** 2),
    (BCO(beta=1.0), 2 * LOG3),
    (DiscoPOP(beta=1.0, tau=0.5), 16 / 17 * LOG5 + 1 / 17 * 4),  # h/τ = −4 log 2: m = 1/17; exp(−h) = 4
    (DPONorm(beta=2.0), math.log(9)),  # 2 (−½ log 2 − log 2) = −3 log 2
    (RPO(beta=1.0, alpha=0.5), LOG5 + 0.5 * NLL),
    (SimPO(beta=2.0, gamma_beta_ratio=LOG2), math.log(17)),  # 2 (−4/2 log 2 + log 2 − log 2) = −4 log 2
    (CPO(beta=1.0, alpha=0.5), math.log(9) + 0.5 * NLL),  # −4 log 2 + log 2 = −3 log 2
]
CONF = Path(__file__).resolve().parents[2] / "conf" / "objective"
NODES = {file.stem: yaml.safe_load(file.read_text()) for file in CONF.glob("*.yaml") if "_embedded" not in file.stem}
BUILT = {name: build({key: value for key, value in node.items() if key != "defaults"}) for name, node in NODES.items()}
ON_PAIRS = {name: objective for name, objective in BUILT.items() if isinstance(objective, OnPairs)}
every = pytest.mark.parametrize("objective", ON_PAIRS.values(), ids=ON_PAIRS)


@pytest.mark.parametrize(("objective", "expected"), BY_HAND, ids=[str(objective) for objective, _ in BY_HAND])
def test_by_hand(objective, expected, policy):
    batch = collate([ROW, ROW], pad_id=0)
    loss, _ = objective(policy, batch)
    assert loss.item() == pytest.approx(2 * expected, rel=1e-6)
    assert objective.size(batch) == 2


def test_each_is_among_those_by_hand():
    assert {type(objective) for objective in ON_PAIRS.values()} == {DPO, IPO, *(type(known) for known, _ in BY_HAND)}


@pytest.mark.parametrize(
    ("objective", "chosen", "rejected"),
    [
        (Hinge(beta=0.5), -LOG2 / 2, LOG2 / 2),  # β r
        (DPONorm(beta=2.0), -LOG2, 2 * LOG2),  # β r/|y|
        (SimPO(beta=2.0), -4 * LOG2, -2 * LOG2),  # β p/|y|
        (CPO(beta=0.5), -2 * LOG2, -LOG2 / 2),  # β p
    ],
    ids=str,
)
def test_rewards_are_those_that_the_loss_compares(objective, chosen, rejected, policy):
    _, metrics = objective(policy, collate([ROW], pad_id=0))
    assert {name: value.item() for name, value in metrics.items()} == pytest.approx({
        "rewards/chosen": chosen, "rewards/rejected": rejected, "rewards/margins": chosen - rejected,
        "rewards/accuracies": float(chosen > rejected), "logps/chosen": -4 * LOG2, "logps/rejected": -LOG2,
    })  # fmt: skip


def with_reference(model, rows):
    """Rows whose reference is the model itself."""
    with torch.no_grad():
        logps_RB = response_logps(model, collate(rows, pad_id=0))[0].view(2, -1)
    return [Row(r.id, r.prompt, r.responses, tuple(p)) for r, p in zip(rows, logps_RB.T.tolist(), strict=True)]


@every
def test_value_where_policy_is_reference(objective, tiny_model, make_rows):
    model = tiny_model()
    loss, _ = objective(model, collate(with_reference(model, make_rows(5, responses=2)), pad_id=0))
    if objective.value_at_reference is not None:
        assert loss.item() / 5 == pytest.approx(objective.value_at_reference, rel=1e-5)
    assert (objective.value_at_reference is None) == (type(objective) in (SimPO, CPO, RPO))  # they know p, not only r


@every
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_cut_into_micro_batches_does_not_matter(objective, layout, tiny_model, make_rows):
    """Each loss is a sum over pairs: whole, and cut into 1 + 3 and 2 + 2; so are the metrics, and the gradient."""
    rows, found = make_rows(4, responses=2), []
    for cut in ([4], [1, 3], [2, 2]):
        model, total, sums, start = tiny_model(), 0.0, {}, 0
        laid_out = choose_layout(model, layout)
        for size in cut:
            loss, metrics = objective(model, collate(rows[start : start + size], 0, laid_out))
            loss.backward()
            total += loss.item()
            sums = {name: sums.get(name, 0.0) + value.item() for name, value in metrics.items()}
            start += size
        found.append((total, sums, torch.cat([p.grad.flatten() for p in model.parameters()])))
    whole, sums, gradient = found[0]
    for other, its_sums, its_gradient in found[1:]:
        assert other == pytest.approx(whole, rel=1e-6)
        assert its_sums == pytest.approx(sums, rel=1e-5)
        assert (its_gradient - gradient).norm() <= 1e-5 * gradient.norm()


@every
def test_the_lower_bound_holds(objective):
    """On a grid of log-ratios, from pairs of answers of one and three tokens; robust DPO has none, and goes below 0."""
    steps = torch.linspace(-400, 400, 161, dtype=torch.float64)
    grid_RB = torch.cartesian_prod(steps, steps).T
    pairs = pairs_of(grid_RB)
    least = objective.losses(objective.rewards(pairs), pairs).min().item()
    if isinstance(objective, RobustDPO):
        assert least < 0 > objective.lower_bound == -math.inf
        assert RobustDPO(label_smoothing=0.0).lower_bound == 0.0
    else:
        assert least >= objective.lower_bound - 1e-9
        assert objective.lower_bound >= 0


def test_nca_reaches_its_bound():
    pairs = pairs_of(torch.tensor([[10 * LOG2], [-4000.0]], dtype=torch.float64))  # σ(.1 · 10 log 2) = 2/3
    least = NCA(beta=0.1).losses(NCA(beta=0.1).rewards(pairs), pairs)
    assert least.item() == pytest.approx(NCA.lower_bound, rel=1e-12)


def pairs_of(grid_RB):
    lengths_RB = torch.tensor([[1.0], [3.0]], dtype=torch.float64).expand_as(grid_RB)
    return Pairs(-grid_RB.abs(), grid_RB, lengths_RB)


@every
def test_losses_and_gradients_are_finite_far_out(objective):
    far_RB = torch.tensor([[1e4, -1e4, 1e4, -1e4], [1e4, 1e4, -1e4, -1e4]], dtype=torch.float64, requires_grad=True)
    pairs = pairs_of(far_RB)
    losses_B = objective.losses(objective.rewards(pairs), pairs)
    losses_B.sum().backward()
    assert losses_B.isfinite().all()
    assert far_RB.grad.isfinite().all()


def test_discopop_turns_from_logistic_to_exponential():
    margins = torch.tensor([-5.0, 5.0], dtype=torch.float64)
    logistic, exponential = math.log1p(math.exp(5)), math.exp(-5)
    assert discopop_loss(margins, tau=0.05).tolist() == pytest.approx([logistic, exponential], rel=1e-9)


@every
def test_no_reference_is_never_a_silent_zero(objective, policy):
    batch = collate([Row(0, [0], ([1], [2]))], pad_id=0)
    if objective.needs_reference:
        with pytest.raises(RuntimeError, match="no reference log-probs"):
            objective(policy, batch)
    else:
        assert objective(policy, batch)[0].isfinite()


BAD = {
    "beta": [0, -0.1, math.inf, math.nan, "0.1", None],
    "RobustDPO.label_smoothing": [-0.1, 0.5, math.nan, True],
    "EXO.label_smoothing": [0, 0.5, -0.1, None],
    "DiscoPOP.tau": [0, 1, -0.05, math.nan],
    "RPO.alpha": [0, -1, math.inf],
    "CPO.alpha": [-1, math.nan, "1"],
    "SimPO.gamma_beta_ratio": [-0.1, math.inf, None],
}


@every
def test_bad_values_get_one_sentence(objective):
    kind = type(objective)
    for key in ("beta", *(key for key in BAD if key.startswith(f"{kind.__name__}."))):
        name = key.split(".")[-1]
        for value in BAD[key]:
            with pytest.raises(UserError, match=f"^{name}=.* must be [^.].*\\.$"):
                kind(**{name: value})
