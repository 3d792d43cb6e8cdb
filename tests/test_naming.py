"""Two runs that differ never share a name, and a name is one that a file system takes."""

import itertools

import pytest

from xright.config.naming import LONGEST, cell_name, run_path

CFG = {"strategy": {"weights": {"dpo": 0.5, "sft": 0.5}}, "start": {}, "lam": 0.5, "seed": 0}


def name(*overrides, **cfg):
    return cell_name(CFG | cfg, "alright", overrides)


DIFFERENT = [
    ["model.path=a/b"], ["model.path=a-b"], ["model.path=/a/b"], ["model.path=a//b"], ["model.path=a:b"],
    ["model.path=ab-"], ["model.path=ab"], ["x=1"], ["x='1'"], ["x=[1]"], ["x=[[1]]"], ["x=''"], ["~x"],
    ["x=1", "y=2"], ["x=1_y-2"], ["x=[1,2]"], ["x=[[1,2]]"], ["x={a:1}"], ["x={a-1:null}"],
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), itertools.combinations(DIFFERENT, 2), ids=str)
def test_different_overrides_have_different_names(one, other):
    assert name(*one) != name(*other)


def test_lambdas_that_differ_late_have_different_names():
    assert name(lam=0.1234567) != name(lam=0.1234568)
    assert name(lam=0.1234567) == "strategy-alright_lam-0.1234567_seed-0"
    assert name(lam=0.25) == "strategy-alright_lam-0.25_seed-0"


def test_lam_is_in_the_name_where_weights_are_asked_for():
    assert name() == "strategy-alright_lam-0.5_seed-0"
    assert name(strategy={}, start={"weights": {}}) == "strategy-alright_lam-0.5_seed-0"  # of the start
    assert name("lam=0.5", strategy={"objective": "dpo"}) == "strategy-alright_seed-0"
    assert name("lam=0.5", strategy={"first": "dpo", "objectives": ["dpo", "sft"]}) == "strategy-alright_seed-0"


def test_other_weights_than_two_are_in_the_name_as_they_were_given():
    three = [name(f"weights={{dpo:{dpo},sft:1,safety:1}}", lam=None) for dpo in (1, 2)]
    assert three[0] != three[1]
    assert all(found.startswith("strategy-alright_seed-0_weights-") for found in three)
    assert name(lam=None) == "strategy-alright_seed-0"


@pytest.mark.parametrize("letter", ["a", "ä", "語", "\N{DESERET SMALL LETTER LONG I}"])  # 1 to 4 bytes
def test_a_name_is_counted_in_bytes_and_cut_between_letters(letter):
    for length in (10, 100, 300):
        told, other = (name(f"data.x='{letter * length}{end}'") for end in "ab")
        assert told != other
        assert len(told.encode()) <= LONGEST < 255 - len(".old-999999") - len("..lock")
        assert set(told.removeprefix("strategy-alright_lam-0.5_seed-0_data.x-")) <= {*letter, *"ab_-0123456789cdef"}


def test_a_home_is_found_and_a_relative_folder_stays_as_it_was_given(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    cfg = CFG | {"name": "study"}
    cell = "study/strategy-alright_lam-0.5_seed-0"
    for runs_dir, told in (("~/runs", "/home/somebody/runs"), ("runs", "runs"), ("/runs", "/runs")):
        assert str(run_path(cfg | {"runs_dir": runs_dir}, "alright", [])) == f"{told}/{cell}"
