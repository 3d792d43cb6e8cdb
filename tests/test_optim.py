import math
from functools import partial

import pytest
import torch

from xright.config.build import build
from xright.errors import UserError
from xright.optim import Optim


def test_constant_is_constant():
    assert [Optim(lr=5e-5).lr_at(step, 100) for step in (0, 50, 99)] == [5e-5] * 3


def test_cosine_falls_to_its_floor():
    optim = Optim(lr=2.0, schedule="cosine", final=0.5)
    # 2·(0.5 + 0.5·(1 + cos(π t/4))/2) at t = 0, 2, 4: 2, 1.5, 1
    assert [optim.lr_at(step, 4) for step in (0, 2, 4)] == pytest.approx([2.0, 1.5, 1.0])


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_warm_up_is_linear_and_never_zero(schedule):
    optim, without = Optim(1.0, schedule=schedule, warmup=0.25), Optim(1.0, schedule=schedule)
    factors = [optim.lr_at(step, 16) / without.lr_at(step, 16) for step in range(6)]  # 0.25·16 = 4 steps
    assert factors == pytest.approx([1 / 4, 1 / 2, 3 / 4, 1, 1, 1])


@pytest.fixture
def parameter():
    return torch.nn.Parameter(torch.zeros(2))


def test_builds_the_papers_adamw_unless_told(parameter):
    optimizer = Optim(lr=0.1).build([parameter])
    (group,) = optimizer.param_groups
    assert type(optimizer) is torch.optim.AdamW
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.1, (0.9, 0.95), 0.0)
    assert group["params"] == [parameter]


def test_builds_the_optimizer_that_it_is_given(parameter):
    optimizer = Optim(0.1, partial(torch.optim.AdamW, betas=(0.8, 0.9), weight_decay=0.3)).build([parameter])
    (group,) = optimizer.param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.1, (0.8, 0.9), 0.3)
    optimizer = Optim(0.1, partial(torch.optim.SGD, momentum=0.9)).build([parameter])
    assert type(optimizer) is torch.optim.SGD
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]) == (0.1, 0.9)


@pytest.mark.parametrize("option", ["paper", "embedded"])
def test_the_yamls_are_the_papers_optimizer(compose, parameter, option):
    """arXiv 2410.15483, section 5: AdamW, betas (0.9, 0.95), no weight decay."""
    optim = build(compose(f"optim={option}").optim)
    optimizer = optim.build([parameter])
    (group,) = optimizer.param_groups
    assert type(optimizer) is torch.optim.AdamW
    assert (group["lr"], tuple(group["betas"]), group["weight_decay"]) == (optim.lr, (0.9, 0.95), 0.0)


@pytest.mark.parametrize(
    ("optimizer", "says"),
    [
        (partial(torch.optim.AdamW, betas=(1.5, 0.9)), "cannot be made: Invalid beta parameter at index 0: 1.5"),
        (partial(torch.optim.SGD, betas=(0.9, 0.95)), "cannot be made: .*unexpected keyword argument 'betas'"),
        (lambda parameters, lr: lr, "must be an optimizer of torch's kind, with _partial_: true, not 1.0"),
        ("adamw", "cannot be made: 'str' object is not callable"),
    ],
)
def test_what_is_no_optimizer(optimizer, says):
    with pytest.raises(UserError, match=rf"optim\.optimizer {says}"):
        Optim(1.0, optimizer)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("lr", 0), ("lr", -1), ("lr", math.nan), ("clip", 0), ("clip", -1.0), ("schedule", "linear"),
        ("warmup", 1.0), ("warmup", -0.1), ("final", 1.1), ("final", -0.1),
    ],
)  # fmt: skip
def test_values_outside_their_domain(setting, value):
    with pytest.raises(UserError, match=rf"optim\.{setting}={value!r} must be"):
        Optim(**{"lr": 1.0} | {setting: value})


def test_clip_may_be_off():
    assert Optim(lr=1.0, clip=None).clip is None


def sgd(l2_sp, **more):
    return Optim(0.1, partial(torch.optim.SGD, **more), clip=None, l2_sp=l2_sp)


def stepped(optimizer, parameter, *gradients):
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    return parameter.tolist()


def test_l2_sp_is_the_gradient_of_its_penalty_under_sgd(parameter):
    with torch.no_grad():
        parameter.copy_(torch.tensor([1.0, -2.0]))
    found = stepped(sgd(l2_sp=0.5).build([parameter]), parameter, [1.0, 0.0], [1.0, 0.0])
    # first step: θ = 1 − .1 = .9, then .9 − .1·.5·(.9 − 1) = .905; second: .805, then .805 + .05·.195
    assert found == pytest.approx([0.81475, -2.0])


def test_l2_sp_goes_on_from_a_checkpoint_and_begins_anew_with_a_phase(parameter):
    adam = Optim(0.1, clip=None, l2_sp=2.0)
    straight = stepped(adam.build([parameter]), parameter, [1.0, 1.0], [-1.0, 2.0], [0.5, 1.0])
    with torch.no_grad():
        parameter.zero_()
    first = adam.build([parameter])
    stepped(first, parameter, [1.0, 1.0], [-1.0, 2.0])
    resumed = adam.build([parameter])
    resumed.load_state_dict(first.state_dict())
    assert stepped(resumed, parameter, [0.5, 1.0]) == straight  # though the parameter is not where it began
    resumed.state.clear()
    began = parameter.detach().clone()
    stepped(resumed, parameter, [1.0, 1.0])
    assert torch.equal(resumed.state[parameter]["start"], began)


def test_l2_sp_leaves_a_parameter_alone_that_has_no_gradient(parameter):
    other = torch.nn.Parameter(torch.ones(1))
    optimizer = Optim(0.1, l2_sp=1.0).build([parameter, other])
    stepped(optimizer, parameter, [1.0, 1.0])
    other.grad = torch.ones(1)
    assert stepped(optimizer, parameter, [1.0, 1.0])
    assert other.item() < 1
    assert {*optimizer.state[other]} == {"step", "exp_avg", "exp_avg_sq", "start"}


@pytest.mark.parametrize("value", [-1.0, 11.0, "x"])
def test_l2_sp_that_is_none_is_refused(value):
    with pytest.raises(UserError, match=r"optim\.l2_sp=.* must be a number in \[0, 10\]"):
        Optim(0.1, l2_sp=value)
