"""Certificates through the real command: what a run says of its gaps, alone, by two processes, and again."""

import json
import re
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from xright.data.rows import Row
from xright.errors import UserError
from xright.objectives import DPO, KTO, ORPO, SFT
from xright.pipeline.certificates import by_prompt, check_certificate, promised
from xright.strategies import Constrained, Mix, Schedule

SMALL = ["model.init.hidden_size=16", "model.init.num_hidden_layers=1", "model.init.num_attention_heads=2"]
ROWS = ["data.source.eval_sft_rows=48", "data.source.eval_preference_rows=48"]
FAST = ["debug=fast", *SMALL, "model.init.intermediate_size=32", *ROWS, "trainer.accelerator=cpu", "logger=csv"]
BOTH = ["strategy=constrained", "certificate={dpo: 0.5, sft: 0.001}", "optim.lr=1e-3"]


@pytest.fixture(scope="module")
def xright(command_line, tmp_path_factory):
    """xright(*overrides) -> (folder, result, stderr); one place and cache for all."""
    place = tmp_path_factory.mktemp("certificates")

    def run(*overrides, cache="cache", **more):
        done = command_line.run(place, *FAST, *overrides, XRIGHT_CACHE=cache, **more)
        assert done.returncode == 0, done.stderr
        folder = place / done.stdout.strip().split("\n")[-1]
        return folder, json.loads((folder / "result.json").read_text()), done.stderr

    return run


@pytest.fixture(scope="module")
def alone(xright):
    return xright(*BOTH)


def test_a_run_says_it_in_its_result_on_the_screen_and_in_the_model_card(alone):
    folder, result, said = alone
    for name, epsilon in (("dpo", 0.5), ("sft", 0.001)):
        found = result["certificate"][name]
        assert found["epsilon"] == epsilon
        assert found["gap"] == pytest.approx(result[f"gap_{name}"], abs=1e-6)
        assert found["lower"] < found["gap"] < found["upper"]
        assert found["rows"] == 48 >= found["prompts"] > 40
        assert (found["paired"], found["confidence"]) == (True, 0.95)
        (line,) = re.findall(
            rf"certificate: ({name}: gap ≤ {epsilon} is {found['verdict']}: gap .* held-out rows\))", said
        )
        assert f"- {line}.\n" in (folder / "model" / "README.md").read_text()
    assert result["certificate"]["dpo"]["verdict"] == "met"
    assert result["certificate"]["sft"]["verdict"] == "not met"


def test_what_the_rule_promises_is_certified_by_itself(xright):
    _, result, _ = xright("strategy=constrained", "strategy.primary=dpo", "strategy.epsilon=0.3")
    assert {name: found["epsilon"] for name, found in result["certificate"].items()} == {"sft": 0.3}
    folder, result, _ = xright("strategy=constrained", "certificate=null")
    assert "certificate" not in result
    assert "Certificate" not in (folder / "model" / "README.md").read_text()
    assert "certificate" not in xright("strategy=mix")[1]


def test_the_optimum_s_own_training_has_no_gap_whatever_the_rows(xright):
    """Rows that both models find equally hard say nothing of their difference."""
    _, result, _ = xright("strategy=sft", "certificate={sft: 0}")
    found = result["certificate"]["sft"]
    assert (found["gap"], found["lower"], found["upper"]) == pytest.approx((0.0, 0.0, 0.0), abs=1e-6)


def test_a_given_optimum_is_taken_as_exact(xright, alone):
    optima = alone[1]["f_dpo_opt"], alone[1]["f_sft_opt"]
    _, result, said = xright(*BOTH, f"optima={{dpo: {optima[0]!r}, sft: {optima[1]!r}}}")
    for name, theirs in alone[1]["certificate"].items():
        found = result["certificate"][name]
        assert not found["paired"]
        assert found["gap"] == pytest.approx(theirs["gap"], abs=1e-9)
        assert found["upper"] - found["lower"] > theirs["upper"] - theirs["lower"]
    assert "held-out rows, f* taken as exact)" in said


def test_two_processes_say_the_same(xright, alone):
    _, result, said = xright(*BOTH, "name=two", "trainer=ddp", cache="two", timeout=240)
    assert said.count("certificate: dpo") == 1
    for name, theirs in alone[1]["certificate"].items():
        found = result["certificate"][name]
        assert found.pop("verdict") == theirs["verdict"]
        for key, value in found.items():
            assert value == pytest.approx(theirs[key], rel=1e-4, abs=1e-5), key


def test_a_run_that_is_ended_before_its_result_says_the_same_when_it_goes_on(xright, alone):
    folder, before, _ = alone
    (folder / "result.json").unlink()
    _, after, _ = xright(*BOTH)
    assert after["certificate"] == before["certificate"]


def test_rows_of_a_prompt_and_of_a_conversation_stand_together():
    prompts = [[1, 2], [3], [1, 2], [], [1, 2, 7, 3], [], [1, 9], [2]]
    groups = by_prompt([Row(place, prompt, ([5],)) for place, prompt in enumerate(prompts)])
    assert [[row.id for row in group] for group in groups] == [[3], [5], [0, 2, 4], [6], [7], [1]]


OBJECTIVES = {"dpo": DPO(), "sft": SFT(), "kto": KTO(), "orpo": ORPO()}
RULE = Schedule.of(Constrained("sft", 0.2, {"dpo": 0.1, "sft": 1.0}))


def test_which_gaps_are_certified():
    assert promised("auto", RULE, OBJECTIVES) == {"dpo": 0.2}
    assert promised("auto", Schedule.of(Mix({"dpo": 1, "sft": 1})), OBJECTIVES) == {}
    assert promised(None, RULE, OBJECTIVES) == {}
    assert promised(0, RULE, OBJECTIVES) == {"dpo": 0, "sft": 0, "kto": 0}  # a surrogate has no gap
    assert promised(OmegaConf.create({"sft": 0.5}), RULE, OBJECTIVES) == {"sft": 0.5}


@pytest.mark.parametrize(
    ("certificate", "others", "sentence"),
    [
        (-0.1, {}, "certificate=-0.1 must be a number >= 0, {objective: number}, auto or null"),
        ("soon", {}, "certificate='soon' must be a number >= 0"),
        ({"sft": True}, {}, "certificate=True must be"),
        ({"orpo": 0.1}, {}, "certificate names orpo; the gaps are of dpo, sft, kto"),
        ({"sft": 0.1}, {"optima": {"dpo": 0.1}}, "the certificate of sft needs its f*, but optima="),
        ({"kto": 0.1}, {}, "kto can have no certificate"),
        (0.1, {"callbacks": [SimpleNamespace(stopped_by=None)]}, "kto can have no certificate"),
        ("auto", {"callbacks": [SimpleNamespace(stopped_by=None)]}, "callbacks.stop ends a run by its held-out rows"),
        ("auto", {"eval_on": "train_probe"}, "eval_on=train_probe evaluates on training rows"),
    ],
)
def test_what_can_certify_nothing_is_refused(certificate, others, sentence):
    settings = {"optima": {"dpo": 0.1, "sft": 1.0, "kto": 0.2}, "eval_on": "heldout", "callbacks": [], **others}
    cfg = OmegaConf.create({"certificate": certificate, "optima": settings["optima"], "eval_on": settings["eval_on"]})
    with pytest.raises(UserError, match=re.escape(sentence)):
        check_certificate(cfg, RULE, OBJECTIVES, settings["callbacks"])
