import math

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from transformers import AutoConfig, AutoModelForCausalLM

from xright.config.settings import complete
from xright.data.prompts import Row
from xright.errors import UserError
from xright.objectives import DPO, IPO, ORPO
from xright.pipeline.checks import check_config, check_reference


@pytest.fixture(scope="module")
def composed(hydra_config):
    """composed(overrides) like hydra_config; composes each choice of groups once, which takes a fifth of a second."""
    choices = {}

    def composed(overrides):
        groups = tuple(o for o in overrides if o.split("=")[0] in GROUPS)
        if groups not in choices:
            choices[groups] = hydra_config(*groups)
        cfg = choices[groups].copy()
        for override in OverridesParser.create().parse_overrides([o for o in overrides if o not in groups]):
            OmegaConf.update(cfg, override.key_or_group, override.value(), merge=False)
        return cfg

    return composed


GROUPS = {"model", "data", "optim", "strategy", "objective@objectives.dpo", "trainer"}

GOOD = [
    (),
    ("strategy=maxright", "strategy.k=1"),
    ("strategy=maxright", "optima={dpo: 0.05, sft: 1}"),
    ("strategy=alright", "optima=null"),
    ("strategy=sequential", "strategy.first=sft"),
    ("strategy=orpo",),
    ("strategy=model_average", "lam=1"),
    ("lam=0", "stage=prepare"),
    ("objective@objectives.dpo=ipo",),
    ("optim=paper", "optim.clip=null"),
    ("model=pythia_1b", "data=files", "data.streams.sft.path=a", "data.streams.preference.path=b"),
    ("model.micro_batch=4", "trainer=cpu"),
    ("layout=padded", "look=no_grad"),
]


@pytest.mark.parametrize("overrides", GOOD, ids=" ".join)
def test_good_configurations_pass(overrides, composed):
    cfg = composed(overrides)
    complete(cfg, overrides)
    before = OmegaConf.to_container(cfg, resolve=False)
    check_config(cfg)
    assert OmegaConf.to_container(cfg, resolve=False) == before


BAD = [  # overrides, key as named in the message, value as named in the message
    (("epochs=0",), "epochs", "0"),
    (("epochs=1.5",), "epochs", "1.5"),
    (("epochs=true",), "epochs", "True"),
    (("eval_every=0",), "eval_every", "0"),
    (("eval_every=often",), "eval_every", "'often'"),
    (("eval_batch_size=-1",), "eval_batch_size", "-1"),
    (("checkpoint_every=0",), "checkpoint_every", "0"),
    (("reference_training.epochs=0",), "reference_training.epochs", "0"),
    (("seed=-1",), "seed", "-1"),
    (("seed=a",), "seed", "'a'"),
    (("seed=9223372036854775808",), "seed", "9223372036854775808"),
    (("threads=100000",), "threads", "100000"),
    (("reference=null",), "reference", "None"),
    (("reference=5",), "reference", "5"),
    (("model.tokenizer=5",), "model.tokenizer", "5"),
    (("data.streams.sft.batch_size=0",), "data.streams.sft.batch_size", "0"),
    (("data.streams.preference.batch_size=x",), "data.streams.preference.batch_size", "'x'"),
    (("data.streams.sft.batch_tokens=0",), "data.streams.sft.batch_tokens", "0"),
    (("model.micro_batch=0",), "model.micro_batch", "0"),
    (("stage=foo",), "stage", "'foo'"),
    (("layout=dense",), "layout", "'dense'"),
    (("look=twice",), "look", "'twice'"),
    (("lam=1.5",), "lam", "1.5"),
    (("lam=-0.1",), "lam", "-0.1"),
    (("lam=abc",), "lam", "'abc'"),
    (("lam=nan",), "lam", "nan"),
    (("lam=null",), "lam", "None"),
    (("lam=true",), "lam", "True"),
    (("strategy=mix", "lam=2"), "lam", "2"),
    (("strategy=maxright", "strategy.k=0"), "strategy.k", "0"),
    (("strategy=maxright", "strategy.k=1.5"), "strategy.k", "1.5"),
    (("strategy=maxright", "optima=null"), "optima", "None"),
    (("strategy=sequential", "strategy.first=orpo"), "strategy.first", "'orpo'"),
    (("strategy=sequential", "strategy.epochs=[3]"), "strategy.epochs", "[3]"),
    (("strategy=sequential", "strategy.epochs=[0,3]"), "strategy.epochs", "[0, 3]"),
    (("objectives.dpo.beta=0",), "beta", "0"),
    (("objectives.dpo.stream=pairs",), "objectives.dpo.stream", "'pairs'"),
    (("objectives.dpo.stream=sft",), "objectives.dpo", "sft"),  # which has one answer
    (("objectives.dpo.beta=-1",), "beta", "-1"),
    (("objectives.dpo.beta=much",), "beta", "'much'"),
    (("objectives.dpo.label_smoothing=0.5",), "label_smoothing", "0.5"),
    (("objective@objectives.dpo=ipo", "objectives.dpo.beta=0"), "beta", "0"),
    (("optim.lr=0",), "optim.lr", "0"),
    (("optim.lr=nan",), "optim.lr", "nan"),
    (("optim.schedule=foo",), "optim.schedule", "'foo'"),
    (("optim.warmup=1",), "optim.warmup", "1"),
    (("optim.clip=0",), "optim.clip", "0"),
    (("optima=foo",), "optima", "'foo'"),
    (("optima=[0.1,0.2]",), "optima", "[0.1, 0.2]"),
    (("optima={dpo: x, sft: 1.0}",), "optima", "'x'"),
    (("optima={dpo: 0.1}",), "optima", "0.1"),
    (("optima={dpo: -0.1, sft: 1.0}",), "optima.dpo", "-0.1"),  # no loss that is a negative log falls below 0
    (("weights={dpo: -1, sft: 1}",), "weights.dpo", "-1"),
    (("weights={dpo: 0, sft: 0}",), "weights", "0"),
    (("weights={dpo: 1, kto: 1}",), "weights", "kto"),
    (("weights=0.5",), "weights", "0.5"),
    (("lam=0.5", "weights={dpo: 1, sft: 1}"), "lam", "0.5"),
    (("strategy=only", "strategy.objective=kto"), "objectives", "['kto']"),
    (("strategy=mix", "start=average", "weights={dpo: a}"), "weights.dpo", "'a'"),
    (("optim.optimizer.betas=[2,0.9]",), "optim.optimizer", "2"),
    (("optim.optimizer._target_=torch.optim.Adm",), "Adm", "cannot"),
    (("optim.optimizer._partial_=false",), "optim", "missing"),
    (("optima={dpo: nan, sft: 1.0}",), "optima", "nan"),
    (("optima={dpo: true, sft: 1.0}",), "optima", "True"),
    (("optima={dpo: 0.1, sft: 1.0, kto: 1.0}",), "optima", "'kto'"),
    (("optima={}",), "optima", "{}"),
    (("callbacks.steps.every=0",), "callbacks.steps.every", "0"),
    (("callbacks.samples.every=often",), "callbacks.samples.every", "'often'"),
    (("reference_training.lr=0",), "reference_training.lr", "0"),
    (("data.max_length=1",), "data.max_length", "1"),
    (("data.max_length=long",), "data.max_length", "'long'"),
    (("data.streams.sft.kind=labelled",), "objectives.sft", "learns from good answers, but"),
    (("objectives.sft._target_=xright.objectives.KTO",), "objectives.sft", "a stream of labelled rows"),
    (("data.streams.sft.kind=pears",), "data.streams.sft.kind", "'pears'"),
    (("data.streams=null",), "data.streams", "None"),
    (("data.streams={sft: null, preference: null}",), "data.streams", "holds no stream"),
    (("data.streams.sft.template=fancy",), "template", "'fancy'"),
    (("data.streams.sft.template=null",), "template", "None"),
    (("model.lora.r=-1",), "model.lora.r", "-1"),
    (("model.lora.r=2.5",), "model.lora.r", "2.5"),
    (("model.lora.alpha=x",), "model.lora.alpha", "'x'"),
    (("model.lora.dropout=1",), "model.lora.dropout", "1"),
    (("objectives.dpo=null", "objectives.sft=null"), "objectives", "no entry"),
]


def check(cfg, overrides):
    """As a job does."""
    complete(cfg, overrides)
    check_config(cfg)


@pytest.mark.parametrize(("overrides", "key", "value"), BAD, ids=[" ".join(bad[0]) for bad in BAD])
def test_bad_value_is_named_with_its_key(overrides, key, value, composed):
    cfg = composed(overrides)
    with pytest.raises(UserError) as caught:
        check(cfg, overrides)
    message = str(caught.value)
    assert key in message
    assert value in message.split(key, 1)[1]
    assert "\n" not in message


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("model=hf",), r"give model\.path=FOLDER"),
        (
            ("data=files", "model=hf", "model.path=x"),
            "data.streams.preference.path, data.streams.sft.path must be given",
        ),
        (("objective@objectives.dpo=ipo", "+objectives.dpo.label_smoothing=0.1"), "'label_smoothing'"),
        (("strategy=sft", "+strategy.lam=0.5"), "'lam'"),
        (("strategy=orpo", "~objectives.orpo"), r"\['orpo'\], but only \['dpo', 'sft'\]"),
        (("strategy=dpo", "~objectives.dpo"), r"\['dpo'\], but only \['sft'\]"),
        (("strategy=only",), r"strategy\.objective must be given"),
    ],
)
def test_what_does_not_go_together(overrides, says, hydra_config):
    cfg = hydra_config(*overrides)
    with pytest.raises(UserError, match=says):
        check(cfg, overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ("strategy=sft", "objectives.dpo=null"),  # an objective that nobody asks for need not be there
        ("optima={dpo: null, sft: 1.0}",),  # one optimum may be unknown
        ("strategy=orpo", "optima={dpo: 0.1, sft: 1.0}"),  # a surrogate has none
        ("+objective@objectives.ipo=ipo", "weights={ipo: 1, dpo: 1, sft: 2}"),
        ("start=average", "strategy=mix"),
        ("callbacks.steps=null", "callbacks.device=null", "callbacks.samples=null"),
        (
            "~optim.optimizer",
            "+optim.optimizer={_target_: torch.optim.SGD, _partial_: true, momentum: 0.9}",
        ),
    ],
    ids=" ".join,
)
def test_what_does_go_together(overrides, hydra_config):
    check(hydra_config(*overrides), overrides)


@pytest.fixture
def checked(composed):
    """checked(*overrides): what a job does with them before anything else."""
    return lambda *overrides: check(composed(overrides), overrides)


@pytest.mark.parametrize("name", ["..", "../up", "a/b", "/up", "a\\b", ".hidden", "''", "null", "a" * 256])
def test_a_name_stays_in_runs_dir(name, checked):
    with pytest.raises(UserError, match="must be the name of a folder"):
        checked(f"name={name}")


def test_runs_dir_is_a_folder_that_can_be_made(checked, tmp_path):
    checked(f"runs_dir={tmp_path}/new/deep", "name='λ = ½'")
    (tmp_path / "file").touch()
    for runs_dir in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=r"cannot hold runs: .*file is no folder"):
            checked(f"runs_dir={runs_dir}")
    checked(f"runs_dir={tmp_path}/file", "stage=prepare")  # which has no run
    with pytest.raises(UserError, match="runs_dir=None must be the path of a folder"):
        checked("runs_dir=null")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("setting", "instead"),
    [
        ("gradient_clip_val", "optim.clip"),
        ("accumulate_grad_batches", "model.micro_batch"),
        ("max_steps", "epochs"),
    ],
)
def test_trainer_settings_that_would_do_nothing(setting, instead, compose):
    with pytest.raises(UserError, match=rf"trainer\.{setting}=2 .*; remove it and see {instead}"):
        check_config(compose(f"+trainer.{setting}=2"))


def reference_rows(model, wrong=0.0):
    """Two pairs with the model's own log-probs, the chosen ones off by `wrong` nats."""
    rows = []
    for prompt, chosen, rejected in (([1, 2], [3, 4], [5]), ([6], [7], [8, 9, 10])):
        logps = []
        for response in (chosen, rejected):
            with torch.no_grad():
                logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
            logps.append(float(logits.log_softmax(-1)[range(len(response)), response].sum()))
        rows.append(Row(len(rows), prompt, (chosen, rejected), (logps[0] + wrong, logps[1])))
    return rows


def test_policy_and_reference_must_agree_at_the_start():
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "gpt_neox", vocab_size=12, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    right = reference_rows(model)
    for objective in (DPO(0.1), DPO(0.4, 0.1), IPO(0.1)):
        check_reference(model, {"mine": objective}, {"mine": right}, "float32")
    check_reference(model, {"orpo": ORPO()}, {"orpo": reference_rows(model, wrong=9.0)}, "float32")  # has no reference
    wrong = reference_rows(model, wrong=1.0)  # h = -1: f_DPO = log(1 + e^0.1)
    value = math.log(1 + math.exp(0.1))
    objectives = {"ipo": IPO(0.1), "dpo": DPO(0.1), "orpo": ORPO()}  # all that are known are looked at
    with pytest.raises(UserError, match=rf"so f_DPO must start at 0\.6931, but it is {value:.4f}"):
        check_reference(model, objectives, {"ipo": right, "dpo": wrong, "orpo": right}, "float32")
