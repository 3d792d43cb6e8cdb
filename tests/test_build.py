import pytest
import torch
from omegaconf import OmegaConf

from xright.config.build import build
from xright.errors import UserError
from xright.optim import Optim

ADAM = {"_target_": "torch.optim.Adam", "_partial_": True, "betas": [0.9, 0.98]}


def test_builds_with_plain_containers_and_arguments():
    node = OmegaConf.create({"_target_": "xright.optim.Optim", "final": 0.5, "clip": None, "optimizer": ADAM})
    optim = build(node, lr=0.1)
    assert isinstance(optim, Optim)
    assert (optim.lr, optim.clip, optim.final) == (0.1, None, 0.5)
    (group,) = optim.build([torch.nn.Parameter(torch.zeros(1))]).param_groups
    assert (group["lr"], group["betas"]) == (0.1, (0.9, 0.98))
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


TEXTS = ["${oc.env:XRIGHT_SECRET}", "What does ${ mean", "a\\${b}", "???", "{{ 7*7 }}", "\\", "${", "$${a:b}"]


def test_a_value_that_looks_like_a_configuration_is_itself(monkeypatch):
    """Of a plain node, and as an argument: nothing in it is resolved."""
    monkeypatch.setenv("XRIGHT_SECRET", "known")
    for text in TEXTS:
        assert build({"_target_": "builtins.dict", "a": text, "b": [{"c": text}]}) == {"a": text, "b": [{"c": text}]}
        assert build(OmegaConf.create({"_target_": "builtins.dict"}), a=text) == {"a": text}


def test_a_node_of_a_configuration_is_resolved_once(monkeypatch):
    monkeypatch.setenv("XRIGHT_SECRET", "known")
    monkeypatch.setenv("XRIGHT_TWICE", "${oc.env:XRIGHT_SECRET}")
    text = {"_target_": "builtins.dict", "a": "${oc.env:XRIGHT_TWICE}", "b": "\\${a}", "c": "${d}"}
    assert build(OmegaConf.create({"node": text, "d": 3}).node) == {
        "a": "${oc.env:XRIGHT_SECRET}", "b": "${a}", "c": 3,
    }  # fmt: skip


def test_positional_partial_and_unbuilt_arguments():
    inner = {"_target_": "builtins.dict", "a": 1}
    assert build({"_target_": "builtins.tuple", "_args_": [[inner]]}) == ({"a": 1},)
    assert build({"_target_": "builtins.dict", "_recursive_": False, "b": inner}) == {"b": inner}
    assert build({"_target_": "builtins.dict", "_partial_": True, "b": inner})(c=2) == {"b": {"a": 1}, "c": 2}


def test_what_cannot_be_resolved_is_told():
    with pytest.raises(UserError, match=r"builtins\.dict cannot be built from the configuration: Interpolation key"):
        build(OmegaConf.create({"_target_": "builtins.dict", "a": "${nothing}"}))
