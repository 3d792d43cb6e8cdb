"""What one setting says of another (`complete`), each sentence of it, and the typed parts of a configuration."""

import pytest
from omegaconf import OmegaConf

from xright.config.settings import Settings, complete
from xright.errors import UserError
from xright.objectives import DPO, IPO, SFT

IPO_TOO = "+objective@objectives.ipo=ipo"
ALONE = "objectives.sft=null"


@pytest.fixture(scope="module")
def completed(compose):
    """completed(*overrides): a configuration as `complete` leaves it."""
    return compose


@pytest.mark.parametrize(
    ("overrides", "weights", "lam"),
    [
        ((), {"dpo": 0.5, "sft": 0.5}, 0.5),
        (("lam=0.25",), {"dpo": 0.25, "sft": 0.75}, 0.25),
        (("lam=0",), {"dpo": 0.0, "sft": 1.0}, 0.0),
        (("lam=1",), {"dpo": 1.0, "sft": 0.0}, 1.0),
        (("weights={dpo: 1, sft: 3}",), {"dpo": 0.25, "sft": 0.75}, 0.25),
        (("weights={sft: 3, dpo: 1}",), {"sft": 0.75, "dpo": 0.25}, 0.75),  # of the first that is named
        ((IPO_TOO,), {"dpo": 1 / 3, "sft": 1 / 3, "ipo": 1 / 3}, None),
        ((IPO_TOO, "weights={ipo: 2, dpo: 1, sft: 1}"), {"ipo": 0.5, "dpo": 0.25, "sft": 0.25}, None),
        ((IPO_TOO, "weights={ipo: null, dpo: 1, sft: 3}"), {"dpo": 0.25, "sft": 0.75}, 0.25),
        (("weights={dpo: 1, safety: null, sft: 3}",), {"dpo": 0.25, "sft": 0.75}, 0.25),  # null names nothing
        ((ALONE,), {"dpo": 1.0}, None),
        (("strategy=orpo", "lam=0.25"), {"dpo": 0.25, "sft": 0.75}, 0.25),  # a surrogate is not weighed
        ((ALONE, "objectives.dpo=null"), {}, None),  # check_config has a sentence for it
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_weights_and_lam_say_the_same(completed, overrides, weights, lam):
    cfg = completed(*overrides)
    assert list(cfg.weights.items()) == list(weights.items())
    assert cfg.lam == lam


@pytest.mark.parametrize("lam", [0.1, 0.3, 0.7, 0.9, 1 / 3])
def test_lam_keeps_its_bits(completed, lam):
    cfg = completed(f"lam={lam}")
    assert (cfg.lam, cfg.weights.dpo, cfg.weights.sft) == (lam, lam, 1 - lam)


@pytest.mark.parametrize(
    "overrides",
    [("lam=0.3",), ("lam=1",), ("weights={sft: 3, dpo: 1}",), (IPO_TOO, "weights={ipo: 2, dpo: 1, sft: 1}")],
    ids=" ".join,
)
def test_what_is_complete_stays_as_it_is(completed, overrides):
    """Other ranks get the first one's configuration as yaml, and the same overrides."""
    cfg = completed(*overrides)
    again = OmegaConf.create(OmegaConf.to_yaml(cfg))
    complete(again, overrides)
    assert again == cfg


def test_lam_does_not_override_weights_of_a_yaml(hydra_config):
    cfg = hydra_config("weights={dpo: 1, sft: 3}", "lam=0.25")
    with pytest.raises(UserError, match="say the same thing twice"):
        complete(cfg, ["experiment=mine", "lam=0.25"])


@pytest.mark.parametrize("lam", ["-0.01", "1.01", "nan", "half", "true", "null"])
def test_lam_must_be_in_the_unit_interval(completed, lam):
    told = r"lam=.* must be a number in \[0, 1\]: the weight on DPO \(0 SFT only, 1 DPO only\)\."
    with pytest.raises(UserError, match=told):
        completed(f"lam={lam}")


def test_lam_is_of_the_first_two_in_the_table(completed):
    with pytest.raises(UserError, match=r"the weight on DPO \(0 IPO only, 1 DPO only\)"):
        completed(ALONE, IPO_TOO, "lam=2")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            (IPO_TOO, "lam=0.25"),
            "lam=0.25 weighs two objectives, and this run has dpo, sft, ipo; give 'weights={dpo: 1, sft: 1, ipo: 1}'.",
        ),
        ((ALONE, "lam=0.25"), "lam=0.25 weighs two objectives, and this run has dpo; give 'weights={dpo: 1}'."),
        (
            ("objective@objectives.dpo=orpo", "lam=0.25"),
            "lam=0.25 weighs two objectives, and this run has sft (dpo: trained in the place of others, without a "
            "weight); give 'weights={sft: 1}'.",
        ),
        ((IPO_TOO, "lam=7"), "lam=7 must be a number in [0, 1]: the weight on the first of two objectives."),
        (
            ("lam=0.25", "weights={dpo: 1, sft: 3}"),
            "lam=0.25 and weights={'dpo': 1, 'sft': 3} say the same thing twice; leave one of them out.",
        ),
        (("weights=0.25",), "weights=0.25 must be numbers by objective: 'weights={dpo: 1, sft: 1}', or null."),
        (("weights=[1,3]",), "weights=[1, 3] must be numbers by objective: 'weights={dpo: 1, sft: 1}', or null."),
        (
            ("weights={dpo: 1, safety: 1, orpo: 2}",),
            "weights names safety, orpo, but the objectives of this run are dpo, sft; give 'weights={dpo: 1, sft: 1}', "
            "or an objective of that name.",
        ),
        (
            ("strategy=orpo", "weights={orpo: 1}"),
            "weights names orpo, but the objectives of this run are dpo, sft; give 'weights={dpo: 1, sft: 1}', "
            "or an objective of that name.",
        ),
        (("weights={dpo: -1, sft: 1}",), "weights.dpo=-1 must be a number >= 0, or null."),
        (("weights={dpo: a, sft: 1}",), "weights.dpo='a' must be a number >= 0, or null."),
        (
            ("weights={dpo: 0, sft: 0}",),
            "weights={'dpo': 0, 'sft': 0} must hold a number > 0 for at least one objective.",
        ),
        (("weights={}",), "weights={} must hold a number > 0 for at least one objective."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_every_sentence(completed, overrides, sentence):
    with pytest.raises(UserError) as caught:
        completed(*overrides)
    assert str(caught.value) == sentence


def test_a_strategy_is_given_the_completed_weights(completed):
    cfg = completed("strategy=mix", "weights={sft: 3, dpo: 1}")
    assert dict(cfg.strategy.weights) == {"sft": 0.75, "dpo": 0.25}
    assert list(completed("strategy=sequential", "weights={sft: 3, dpo: 1}").strategy.objectives) == ["sft", "dpo"]


def test_the_parts(completed):
    cfg = completed(IPO_TOO, "trainer=cpu", "model.micro_batch=3", "eval_every=7", "seed=5", "optima={dpo: 0.1}")
    settings = Settings.of(cfg)
    assert {name: type(made) for name, made in settings.table().items()} == {"dpo": DPO, "sft": SFT, "ipo": IPO}
    assert settings.loop.eval_every == 7
    assert settings.loop.micro_batch == settings.model.micro_batch == 3
    assert (settings.seed, settings.epochs, settings.reference) == (5, 6, "chosen")
    assert settings.optima == {"dpo": 0.1}
    assert settings.arithmetic == {"trainer.precision": "32-true"}
    assert type(settings.optim) is dict  # plain, whatever the configuration is made of
    assert type(settings.model.lora) is dict


def test_what_is_null_is_no_objective_and_null_optima_are_none(completed):
    settings = Settings.of(completed(ALONE, "optima=null"))
    assert list(settings.objectives) == list(settings.table()) == ["dpo"]
    assert settings.optima == {}
    assert settings.arithmetic == {"trainer.precision": "32-true"}
    assert Settings.of(completed()).optima == "auto"
