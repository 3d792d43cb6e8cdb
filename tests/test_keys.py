"""Every setting is in the key of all that it decides, or changes nothing.

The settings are those of the composed configuration, found and not listed: a new one fails here until it is said which
stages it decides. What the joint run depends on is its folder's configuration, which refuses others; here it is said,
too, which settings that leaves out.
"""

import json

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from xright.cache import Stage, cache_root
from xright.config.folder import CONF
from xright.config.naming import material
from xright.config.settings import Settings, complete
from xright.data.corpus import corpus_of
from xright.machine.files import hash_of
from xright.pipeline import stages as stages_module
from xright.pipeline.stages import Stages

OPTIMA = "optimum_dpo optimum_sft"
LATER = f"reference reference_logps {OPTIMA}"  # whatever is computed from the base and the SFT rows
ALL = f"base {LATER}"
PAIRS = "reference_logps optimum_dpo"  # what reads preference rows: the reference is trained on SFT rows here
TRAINED = f"reference {PAIRS}"  # the reference, and what is measured against it
NONE = ""

# The generated world, small. {setting: (another value, the stages it decides)}; `also`: set on both sides.
WORLD = ["debug=fast", "reference=sft", "trainer=cpu", "model.lora.r=2", "model.lora.target_modules=[query_key_value]"]
ON_WORLD = {
    "data.source.seed": ("1", ALL),
    "data.source.conflict": ("0.9", LATER),
    "data.source.text_rows": ("255", "base " + LATER),
    "data.source.sft_rows": ("95", LATER),
    "data.source.preference_rows": ("31", PAIRS),
    "data.source.eval_sft_rows": ("23", "optimum_sft"),
    "data.source.eval_preference_rows": ("11", PAIRS),
    "data.source.probes_per_kind": ("7", NONE),  # asked of the finished model
    "data.source.terse_rows": ("9", NONE),  # of a stream that is not declared; one that is: below
    "data.source.eval_terse_rows": ("9", NONE),
    "data.source.labelled_rows": ("9", NONE),
    "data.source.eval_labelled_rows": ("9", NONE),
    "data.source.replay_rows": ("9", NONE),
    "data.source.eval_replay_rows": ("9", NONE),
    "data.source.held_back": ("[sum]", LATER),
    "data.streams.sft.kind": ("pairs", NotImplemented),  # the rows of a stream are of one kind
    "data.streams.preference.kind": ("completions", NotImplemented),
    "data.streams.sft.template": ("'{instruction} <bot> '", LATER),
    "data.streams.preference.template": ("'{instruction} <bot> '", PAIRS),
    "data.max_length": ("12", ALL),
    "data.streams.sft.batch_size": ("12", LATER),
    "data.streams.preference.batch_size": ("4", OPTIMA),  # an epoch is a pass over the stream of more batches
    "data.streams.sft.batch_tokens": ("400", LATER),
    "data.streams.preference.batch_tokens": ("100", OPTIMA),
    "model.init.hidden_size": ("48", ALL),
    "model.init.intermediate_size": ("192", ALL),
    "model.init.max_position_embeddings": ("96", ALL),
    "model.init.model_type": ("gpt_neox_japanese", ALL),
    "model.init.num_attention_heads": ("2", ALL),
    "model.init.num_hidden_layers": ("2", ALL),
    "model.init.rope_parameters.partial_rotary_factor": ("0.5", ALL),
    "model.init.rope_parameters.rope_theta": ("5000", ALL),
    "model.init.rope_parameters.rope_type": ("linear", ALL),
    "model.init.tie_word_embeddings": ("true", ALL),
    "model.pretrain.batch_size": ("16", ALL),
    "model.pretrain.optim.optimizer.betas": ("[0.8,0.9]", ALL),
    "model.pretrain.optim.optimizer.weight_decay": ("0.5", ALL),
    "model.pretrain.optim.optimizer._partial_": ("false", NotImplemented),  # it waits for its parameters
    "model.pretrain.optim.clip": ("0.5", ALL),
    "model.pretrain.optim.final": ("0.5", ALL),
    "model.pretrain.optim.lr": ("0.1", ALL),
    "model.pretrain.optim.schedule": ("constant", ALL),
    "model.pretrain.optim.warmup": ("0.5", ALL),
    "model.pretrain.seed": ("1", ALL),
    "model.pretrain.steps": ("9", ALL),
    "model.dtype": ("bfloat16", LATER),
    "model.trust_remote_code": ("true", LATER),  # a model may come with code of its own for what transformers has, too
    "model.lora.r": ("3", LATER),
    "model.lora.alpha": ("16", LATER),
    "model.lora.dropout": ("0.1", LATER),
    "model.lora.target_modules": ("[dense]", LATER),
    "model.lora.continue": ("true", LATER),
    "model.quantize": ("nf4", f"reference_logps {LATER}"),
    "model.gradient_checkpointing": ("true", NONE),
    "model.micro_batch": ("3", NONE),
    "objectives.dpo.beta": ("0.5", "optimum_dpo"),
    "objectives.dpo.label_smoothing": ("0.2", "optimum_dpo"),
    "objectives.dpo.stream": ("sft", NotImplemented),  # pairs, and this run has no others
    "objectives.sft.stream": ("preference", "optimum_sft"),  # of the chosen responses
    "optim.optimizer.betas": ("[0.8,0.9]", LATER),
    "optim.optimizer.weight_decay": ("0.5", LATER),
    "optim.optimizer._partial_": ("false", NotImplemented),
    "optim.clip": ("0.5", LATER),
    "optim.final": ("0.5", LATER),
    "optim.lr": ("0.1", OPTIMA),  # the embedded recipe gives the reference a learning rate of its own
    "optim.schedule": ("constant", LATER),
    "optim.l2_sp": (1.0, LATER),
    "optim.warmup": ("0.5", LATER),
    "reference": ("chosen", TRAINED),
    "reference_training.epochs": ("2", TRAINED),
    "reference_training.lr": ("0.1", TRAINED),
    "epochs": ("2", OPTIMA),
    "steps_per_epoch": ("3", f"{TRAINED} optimum_sft"),
    "eval_every": ("5", OPTIMA),
    "eval_on": ("train_probe", f"reference_logps {OPTIMA}"),
    "probe_share": ("0.5", NONE),  # of eval_on=train_probe alone: tests/data/test_corpus.py
    "trainer.precision": ("bf16-mixed", ALL),
    "layout": ("padded", "reference_logps"),  # rounding; kept apart since a check of them names it
}

# Rows of files and a model in a folder: what the world has not.
FILES = [
    "data=files", "data.streams.sft.path=sft.jsonl", "data.streams.preference.path=pairs.jsonl", "model=hf",
    "model.path=model", "data.streams.sft.template='{instruction} '",
    "data.streams.preference.template='{instruction} '", "trainer=cpu",
    "data.source.heldout=0.3", "data.max_length=48", "data.streams.sft.batch_size=4",
    "data.streams.preference.batch_size=4", "reference=sft",
]  # fmt: skip
ROWS, PAIR_ROWS = f"tokens {LATER}", f"tokens {PAIRS}"
MORE_PAIRS = f"{PAIR_ROWS} optimum_sft"  # so that an epoch is longer
ON_FILES = {
    "data.source.heldout": ("0.5", ROWS),
    "data.source.seed": ("1", ROWS),
    "data.streams.sft.train_rows": ("9", ROWS),
    "data.streams.preference.train_rows": ("9", PAIR_ROWS),
    "data.streams.sft.eval_rows": ("3", "tokens optimum_sft"),
    "data.streams.preference.eval_rows": ("3", PAIR_ROWS),
    "data.streams.sft.path": ("other_sft.jsonl", ROWS),
    "data.streams.sft.blend": ("[1,2]", NotImplemented),  # of several files: tests/data/test_drawn.py
    "data.streams.preference.blend": ("[1,2]", NotImplemented),
    "data.streams.sft.split": ("'train[:30]'", ROWS),
    "data.streams.sft.subset": ("of-a-hub-dataset", NONE),  # a local file has none
    "data.streams.sft.columns": ("{prompt: more, response: output}", ROWS),
    "data.streams.sft.limit": ("30", ROWS),
    "data.streams.sft.turns": ("all", NONE),  # these rows are no conversations; ones that are: two tests below
    "data.control_tokens": ("tokens", NONE),  # these rows write none; ones that do: two tests below
    "data.streams.sft.eval_path": ("other_sft.jsonl", ROWS),
    "data.streams.sft.eval_split": ("'train[30:]'", ROWS),
    "data.streams.preference.path": ("other_pairs.jsonl", PAIR_ROWS),
    "data.streams.preference.split": ("'train[:30]'", PAIR_ROWS),
    "data.streams.preference.subset": ("of-a-hub-dataset", NONE),
    "data.streams.preference.columns": ("{prompt: more}", MORE_PAIRS),
    "data.streams.preference.limit": ("30", PAIR_ROWS),
    "data.streams.preference.eval_path": ("other_pairs.jsonl", MORE_PAIRS),
    "data.streams.preference.eval_split": ("'train[30:]'", MORE_PAIRS),
    "model.path": ("other_model", ROWS),  # the tokenizer in it is another, too
    "model.tokenizer": ("other_model", ROWS),
    "model.revision": ("step1000", NONE),  # a folder has none; of a hub model: tests/test_revision.py
}

# In no stage's key, but a run's folder with other values is refused: the joint run's own settings.
OF_THE_RUN = {
    "lam", "weights.dpo", "weights.sft", "seed", "optima", "look", "strategy.weights", "strategy.seed",
    "certificate",
    "eval_batch_size", "checkpoint_every",
}  # fmt: skip
WATCHES = ("callbacks.",)  # the same holds of these, whatever they are
# In no key and no run's configuration: where to write, what to tell, and the machine.
OUTSIDE = {
    "name", "runs_dir", "stage", "overwrite", "threads", "trainer.accelerator", "trainer.devices", "trainer.num_nodes",
    "trainer.plugins", "trainer.enable_model_summary", "logger.wandb.project", "logger.wandb.group",
}  # fmt: skip


def composed(*overrides):
    with initialize_config_dir(config_dir=str(CONF.absolute()), version_base="1.3"):
        cfg = compose("config", overrides=list(overrides))
    complete(cfg, overrides)
    return cfg


def leaves(node, prefix=""):
    """Dotted names of all settings; a list is one, and so is an empty mapping."""
    if not isinstance(node, dict) or not node:
        return {prefix}
    return {leaf for name, child in node.items() for leaf in leaves(child, f"{prefix}.{name}" if prefix else name)}


def settings(*overrides):
    return leaves(OmegaConf.to_container(composed(*overrides), resolve=False))


def test_every_setting_is_spoken_for():
    found = {name for name in settings(*WORLD) | settings(*FILES) if not name.endswith("_target_")}
    found = {name for name in found if not name.startswith(WATCHES)}
    said = ON_WORLD.keys() | ON_FILES.keys() | OF_THE_RUN | OUTSIDE
    assert found - said == {"model.init", "model.pretrain"}  # null in the one, and a node in the other
    assert said <= found


@pytest.fixture(scope="module")
def place(tmp_path_factory, family, word_tokenizer):
    """A folder with rows and models under two names each."""
    folder = tmp_path_factory.mktemp("keys")
    for name, first in (("", 1), ("other_", 2)):
        asked = [f"w{first + i % 30} w{first + i % 29}" for i in range(40)]
        more = [{"more": f"{prompt} w9"} for prompt in asked]
        sft = [{"instruction": a, "output": f"w{2 + i % 7} w5"} | more[i] for i, a in enumerate(asked)]
        pairs = [{"prompt": a, "chosen": "w3", "rejected": f"w{6 + i % 9}"} | more[i] for i, a in enumerate(asked)]
        for stem, rows in (("sft", sft), ("pairs", pairs)):
            (folder / f"{name}{stem}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        model = folder / f"{name}model"
        family("llama", seed=first).save_pretrained(model)
        word_tokenizer.save_pretrained(model)
        if name:  # two words change places
            spec = json.loads((model / "tokenizer.json").read_text())
            spec["model"]["vocab"] |= {"w3": 4, "w4": 3}
            (model / "tokenizer.json").write_text(json.dumps(spec))
    return folder


@pytest.fixture
def keys(place, tmp_path_factory, monkeypatch):
    """keys(*overrides): {stage: hash of its key} of all stages, none of which is built but `tokens`."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("XRIGHT_CACHE", str(tmp_path_factory.getbasetemp() / "keys_cache"))

    def find(*overrides):
        cfg = composed(*overrides)
        found = {}

        def cached(name, key, build, alone=False, patient=True):
            found[name] = hash_of(key)
            return Stage(cache_root() / name / found[name], {"optimum": 0.0})

        def logps(key, rows, *_, **__):
            cached("reference_logps", key, None)
            return rows.ids_N, np.zeros((len(rows), 2))

        stages = Stages(Settings.of(cfg), corpus_of(cfg))
        monkeypatch.setattr(stages_module, "cached_stage", cached)
        monkeypatch.setattr(stages_module, "stored_logps", logps)
        for name in OPTIMA.split():
            _ = stages.optimum(name.removeprefix("optimum_"))
        if hasattr(stages.corpus.source, "identity"):
            found["tokens"] = tuple(part.digest for part in _all_rows(stages.corpus))
        return found

    return find


def _all_rows(corpus):
    return [getattr(corpus, split)(stream) for stream in ("sft", "preference") for split in ("train", "evaluation")]


@pytest.mark.parametrize(
    ("base", "setting", "value", "decides"),
    [
        pytest.param(base, setting, value, decides, id=setting)
        for base, table in ((WORLD, ON_WORLD), (FILES, ON_FILES))
        for setting, (value, decides) in table.items()
        if decides is not NotImplemented
    ],
)
def test_a_setting_decides_these_stages_and_no_others(keys, base, setting, value, decides):
    before, after = keys(*base), keys(*base, f"{setting}={value}")
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == set(
        decides.split()
    )


@pytest.mark.parametrize(
    ("override", "decides"),
    [
        ("objective@objectives.dpo=ipo", "optimum_dpo"),
        ("optim.optimizer._target_=torch.optim.Adam", LATER),
        ("model.pretrain.optim.optimizer._target_=torch.optim.Adam", ALL),
        ("start=average", NONE),  # of models that are there
        ("strategy=mix", NONE),
        ("strategy=orpo", NONE),  # no optimum of a surrogate is asked for
        ("weights={dpo: 1, sft: 4}", NONE),
        ("+objective@objectives.ipo=ipo", NONE),  # the others know nothing of a third
    ],
)
def test_parts_of_another_kind(keys, override, decides):
    before, after = keys(*WORLD), keys(*WORLD, override)
    assert {name for name in before if before[name] != after[name]} == set(decides.split())


def test_a_surrogate_s_settings_are_the_run_s(keys):
    orpo = [*WORLD, "strategy=orpo"]
    assert keys(*orpo) == keys(*orpo, "objectives.orpo.weight=0.5")
    assert material(OmegaConf.to_container(composed(*orpo)))["objectives.orpo.weight"] == 0.1


@pytest.mark.parametrize("setting", ["data.streams.sft.turns=all", "data.control_tokens=tokens"])
def test_settings_of_conversations(keys, place, setting):
    """Two answers each, of which the first writes a control token."""
    turns = [("user", "w1 w{0}"), ("assistant", "w2 </s>"), ("user", "w3 w{0}"), ("assistant", "w4")]
    rows = [{"messages": [{"role": r, "content": c.format(1 + i % 30)} for r, c in turns]} for i in range(40)]
    (place / "conversations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = [*FILES, "data.streams.sft.path=conversations.jsonl"]
    before, after = keys(*common), keys(*common, setting)
    assert {name for name in before if before[name] != after[name]} == set(ROWS.split())


@pytest.mark.parametrize("setting", ["layout=padded", "model.micro_batch=3"])
def test_where_dropout_is_drawn_per_forward_the_cut_decides(keys, setting):
    dropout = [*WORLD, "model.lora.dropout=0.1"]
    before, after = keys(*dropout), keys(*dropout, setting)
    assert {name for name in before if before[name] != after[name]} == {"reference", "reference_logps", *OPTIMA.split()}


def test_a_runs_folder_holds_all_settings_but_these():
    config = OmegaConf.to_container(composed(*WORLD))
    left_out = settings(*WORLD) - material(config).keys()
    assert {name for name in left_out if not name.endswith("_target_")} == OUTSIDE


def test_what_is_in_no_key_changes_nothing(command_line, tmp_path):
    """All such settings at once, each stage built anew: the same steps, and the same figures up to rounding. (Ranks are
    held to one process in tests/test_processes.py; threads are torch's affair.)"""
    common = ["debug=fast", "strategy=maxright", "strategy.k=3", "lam=0.3", "logger=csv", "trainer=cpu"]
    others = [
        "model.gradient_checkpointing=true", "model.micro_batch=5", "layout=padded", "look=no_grad",
        "eval_batch_size=7", "checkpoint_every=3", "callbacks.steps.every=7", "callbacks.samples.every=1",
        "callbacks.samples.max_new_tokens=3", "callbacks.device.interval=2", "callbacks.device.every=3",
        "trainer.enable_model_summary=true", "name=other", "runs_dir=elsewhere",
    ]  # fmt: skip
    steps, figures = [], []
    for cache, overrides in (("first", common), ("second", common + others)):
        done = command_line.run(tmp_path, *overrides, XRIGHT_CACHE=cache)
        assert done.returncode == 0, done.stderr
        folder = tmp_path / done.stdout.strip().split("\n")[-1]
        result = json.loads((folder / "result.json").read_text())
        figures.append([result[f"{kind}_{name}"] for kind in ("f", "gap") for name in ("dpo", "sft")])
        lines = (folder / "steps.csv").read_text().split("\n")[1:-1]
        steps.append([line.split(",")[:2] for line in lines])
    assert steps[0] == steps[1]
    assert figures[0] == pytest.approx(figures[1], abs=2e-4)
