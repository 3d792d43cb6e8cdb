import csv
import json
import math
import shutil

import huggingface_hub.constants
import pytest
import torch
from transformers import AutoModelForCausalLM

from xright import models
from xright.cache import cache_root
from xright.config.settings import Settings
from xright.data.corpus import _corpus, corpus_of
from xright.data.sources import Files
from xright.data.world import World
from xright.errors import UserError
from xright.pipeline.stages import Stages

OPTIMA = ("dpo", "sft")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One cache for this file: a stage is built by the first test that needs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XRIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets")))
        yield cache_root()


@pytest.fixture(scope="module")
def stages(compose_small, cache):
    """stages(*overrides): as a new process would make them."""

    def make(*overrides):
        cfg = compose_small(*overrides)
        return Stages(Settings.of(cfg), corpus_of(cfg))

    return make


def everything(stages):
    """Build or find all stages; their identities."""
    _ = stages.rows
    return {
        "base": stages.base,
        "reference": stages.reference,
        **{name: stages.optimum(name).id for name in OPTIMA},
    }


@pytest.fixture(scope="module")
def built(stages):
    return everything(stages())


def files(cache):
    return {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"}


def test_the_chain_is_built_once(built, stages, cache):
    before = files(cache)
    assert {path.parts[len(cache.parts)] for path in before} == {
        "base", "reference", "reference_logps", "optimum_dpo", "optimum_sft",
    }  # fmt: skip
    assert everything(stages()) == built
    assert files(cache) == before


@pytest.mark.parametrize(
    "overrides",
    [
        ("seed=5",),
        ("lam=0.1", "strategy=mix"),
        ("eval_batch_size=3",),
        ("model.micro_batch=2",),
        ("name=other", "logger=wandb"),
        ("callbacks=stopping",),
        ("checkpoint_every=7",),
    ],
    ids=" ".join,
)
def test_what_stages_do_not_depend_on(overrides, built, stages, cache):
    before = files(cache)
    assert everything(stages(*overrides)) == built
    assert files(cache) == before


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("objectives.dpo.beta=0.3", {"dpo"}),
        ("objectives.dpo.label_smoothing=0.2", {"dpo"}),
        ("eval_every=2", {"dpo", "sft"}),
        ("optim.optimizer.betas=[0.9,0.99]", {"reference", "dpo", "sft"}),
        ("reference_training.lr=0.01", {"reference", "dpo"}),
        ("data.streams.sft.batch_size=12", {"dpo", "sft"}),  # also DPO's: the budget is in steps of the longer loader
        ("model.pretrain.steps=1", {"base", "reference", "dpo", "sft"}),
        ("data.source.eval_sft_rows=9", {"sft"}),
        ("trainer.precision=bf16-mixed", {"base", "reference", "dpo", "sft"}),
    ],
)
def test_what_stages_depend_on(override, changed, built, stages):
    found = everything(stages(override))
    assert {name for name in built if found[name] != built[name]} == changed


def log_probs(model, row):
    """Summed log-probs of a row's responses by a plain forward over all logits."""
    found = []
    for response in row.responses:
        with torch.no_grad():
            logits = model(torch.tensor([row.prompt + response])).logits[0]
        predicting = logits[len(row.prompt) - 1 : -1].log_softmax(-1)
        found.append(float(predicting[range(len(response)), response].sum()))
    return found


def test_reference_log_probs_are_a_plain_models(built, stages):
    found = stages()
    model = AutoModelForCausalLM.from_pretrained(found.reference.path)
    train, evaluation = found.rows["preference"]
    assert (len(train), len(evaluation)) == (20, 8)
    for row in (*train, *evaluation):
        assert row.reference == pytest.approx(log_probs(model, row), abs=1e-4)
    assert [row.prompt for row in train] == [row.prompt for row in found.corpus.train("preference")]
    assert len({row.reference for row in train}) > 10


def test_optimum_is_the_lowest_value_seen(built, stages):
    lowest = []
    for name in OPTIMA:
        stage = stages("eval_every=1", "optim.lr=3.0", "optim.warmup=0").optimum(name)  # so large that it gets worse
        with (stage.folder / "trajectory.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["step"] for row in rows] == ["1", "2", "3"]  # 3 steps: max(⌈20/8⌉, ⌈40/24⌉)
        values = [float(row[f"f_{name}"]) for row in rows]
        assert stage.result["optimum"] == min(values)
        lowest.append(values.index(min(values)))
        other = "sft" if name == "dpo" else "dpo"
        assert f"f_{other}" not in rows[0]  # a training of one objective knows no other
    assert min(lowest) < 2  # not simply the last


def test_reference_is_the_base(built, stages):
    found = stages("reference=base")
    assert found.reference == found.base == built["base"]
    policy = AutoModelForCausalLM.from_pretrained(found.base.path)
    for row in found.rows["preference"][1]:
        chosen, rejected = log_probs(policy, row)
        margin = (chosen - row.reference[0]) - (rejected - row.reference[1])
        assert math.log(1 + math.exp(-0.1 * margin)) == pytest.approx(math.log(2), abs=1e-5)


def test_reference_trained_on_the_sft_data(built, stages, caplog):
    caplog.set_level("INFO", logger="xright")
    found = stages("reference=sft")
    reference = found.reference
    assert reference not in built.values()
    assert f"reference: SFT on the rows of sft, 2 steps, {reference}" in caplog.text  # ⌈40/24⌉

    def loss(folder):
        model = AutoModelForCausalLM.from_pretrained(folder)
        return -sum(sum(log_probs(model, row)) for row in found.corpus.train("sft"))

    assert loss(reference.path) < loss(found.base.path)


def test_reference_is_a_folder(built, stages, tmp_path):
    shutil.copytree(built["base"].path, tmp_path / "mine")
    found = stages(f"reference={tmp_path}/mine")
    assert found.reference.path == str(tmp_path / "mine")
    assert found.rows["preference"] == stages("reference=base").rows["preference"]
    assert found.optimum("sft").id == built["sft"]  # SFT knows no reference


def test_log_probs_of_a_reference_are_computed_where_an_objective_needs_them(built, stages, cache):
    found = stages()
    assert all(row.reference is None for part in found.rows["sft"] for row in part)
    before = set((cache / "reference_logps").iterdir())
    sft_on_pairs = stages("objectives.dpo=null", "objectives.sft.stream=preference", "reference=base")
    train, evaluation = sft_on_pairs.rows["preference"]
    assert all(row.reference is None for row in (*train, *evaluation))
    assert set(sft_on_pairs.rows) == {"preference"}  # nobody uses the other stream's rows
    assert set((cache / "reference_logps").iterdir()) == before


def test_streams_that_no_objective_uses_are_told(stages, caplog):
    caplog.set_level("WARNING", logger="xright")
    stages("objectives.sft=null")
    assert "data.streams.sft: no objective of this run uses these rows" in caplog.text


def test_a_folder_that_changes_is_another_reference(built, stages, tmp_path):
    """Also where the folder looks like a finished run, of which two studies have one by the same name."""
    rows = []
    for study, source in (("a", "base"), ("b", "reference")):
        run = tmp_path / study / "strategy-alright_lam-0.5_seed-0"
        shutil.copytree(built[source].path, run / "model")
        (run / "result.json").write_text("{}")
        found = stages(f"reference={run}/model")
        rows.append([row.reference for row in found.rows["preference"][0]])
        model = AutoModelForCausalLM.from_pretrained(run / "model")
        row = found.rows["preference"][0][0]
        assert row.reference == pytest.approx(log_probs(model, row), abs=1e-4)
    assert rows[0] != rows[1]


def test_reference_that_is_nothing(built, stages, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # out of reach at once, not after retries
    with pytest.raises(UserError, match="chosn"):
        _ = stages("reference=chosn").rows


def test_a_failed_stage_is_not_kept(stages, cache, built):
    before = files(cache / "optimum_sft")
    with pytest.raises(UserError, match="NaN or infinite"):
        stages("optim.lr=1e30", "optim.warmup=0", "reference=base").optimum("sft")
    assert files(cache / "optimum_sft") == before


@pytest.fixture(scope="module")
def of_files(compose, cache, tmp_path_factory):
    """of_files(*overrides): stages over files with rows of the world, as a new process would make them."""
    folder = tmp_path_factory.mktemp("files")
    world = World(sft_rows=60, preference_rows=40)
    world.tokenizer().save_pretrained(folder / "tokenizer")
    for stream in ("sft", "preference"):
        rows = world.rows(stream, "train")
        (folder / f"{stream}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sizes = ("hidden_size=16", "num_hidden_layers=1", "num_attention_heads=2", "intermediate_size=32")
    given = ["data=files", "trainer=cpu", "logger=csv", "epochs=1", "model.pretrain.steps=2", "data.max_length=64"]
    given += ["data.source.heldout=0.2", "data.streams.preference.batch_size=4", f"model.tokenizer={folder}/tokenizer"]
    given += [f"model.init.{size}" for size in sizes]
    given += [f"data.streams.{stream}.path={folder}/{stream}.jsonl" for stream in ("sft", "preference")]
    given += [f"data.streams.{stream}.template='<user> {{instruction}} <bot> '" for stream in ("sft", "preference")]

    def make(*overrides):
        cfg = compose(*given, *overrides)
        _corpus.cache_clear()
        return Stages(Settings.of(cfg), corpus_of(cfg))

    return make


def test_stages_over_files_share_their_tokens(of_files, cache):
    first = everything(of_files())
    tokens = [path for path in (cache / "tokens").iterdir() if path.is_dir()]
    assert len(tokens) == 5  # train and held out of both streams, and the texts
    before = files(cache)
    assert everything(of_files()) == first
    assert everything(of_files("seed=3")) == first
    assert files(cache) == before


def test_stages_do_not_depend_on_where_tokens_lie(of_files, cache, monkeypatch):
    """Tokenised in memory, as for a source that has no identity, rows and stages are the same."""
    cached = of_files()
    ids, rows = everything(cached), [*cached.rows["preference"], *cached.streams.values()]
    monkeypatch.delattr(Files, "identity")
    in_memory = of_files()
    before = files(cache)
    assert everything(in_memory) == ids
    assert [*in_memory.rows["preference"], *in_memory.streams.values()] == rows
    assert all(isinstance(row.reference[0], float) for row in rows[0])
    assert files(cache) == before


def test_an_adapter_policy(built, stages):
    found = stages("model.lora.r=2", "model.lora.target_modules=[query_key_value]")
    names = [name for name, parameter in found.policy(0).named_parameters() if parameter.requires_grad]
    assert names
    assert all("lora_" in name for name in names)
    stage = found.optimum("dpo")
    assert found.base == built["base"]
    assert found.reference != built["reference"]
    assert (stage.folder / "model" / "adapter_config.json").is_file()
    row = found.rows["preference"][0][0]
    assert row.reference == pytest.approx(log_probs(models.load(found.reference.path), row), abs=1e-4)
