import pytest
from omegaconf import OmegaConf

from xright.build import build
from xright.errors import UserError
from xright.optim import Optim


def test_builds_with_plain_containers_and_arguments():
    node = OmegaConf.create({"_target_": "xright.optim.Optim", "betas": [0.9, 0.98], "clip": None})
    optim = build(node, lr=0.1)
    assert isinstance(optim, Optim)
    assert (optim.lr, optim.clip, optim.betas) == (0.1, None, (0.9, 0.98))
    node = OmegaConf.create({"_target_": "builtins.dict", "a": {"b": [1]}})
    assert type(build(node)["a"]) is dict
    assert type(build(node)["a"]["b"]) is list


def test_the_constructors_own_sentence():
    with pytest.raises(UserError) as caught:
        build(OmegaConf.create({"_target_": "xright.optim.Optim", "lr": 0}))
    assert str(caught.value) == "optim.lr=0 must be a number > 0."


@pytest.mark.parametrize(
    ("node", "says"),
    [
        ({"_target_": "xright.optim.Optim", "lr": 1.0, "momentum": 0.9}, "unexpected keyword argument 'momentum'"),
        ({"_target_": "xright.optim.Optim"}, "missing 1 required positional argument: 'lr'"),
        ({"_target_": "xright.optim.Optimum", "lr": 1.0}, "xright.optim.Optimum"),
    ],
)
def test_other_refusals_name_the_target_and_the_reason(node, says):
    with pytest.raises(UserError) as caught:
        build(OmegaConf.create(node))
    assert says in str(caught.value)
    assert node["_target_"] in str(caught.value)
    assert "\n" not in str(caught.value)
