"""The sequential recipe as everybody runs it, TRL's SFTTrainer and then its DPOTrainer, with the callback in that."""

import json
import time

import pytest
import torch
from datasets import Dataset
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from xright import models
from xright.errors import UserError
from xright.profile import main
from xright.profiling.callback import ForgettingCallback

SFT = [{"prompt": f"w{n} w{n + 1} ", "completion": f"w{n + 2} w3"} for n in range(2, 12)]
PAIRS = [{"prompt": f"w{n} w4 ", "chosen": f"w{n + 1} w5", "rejected": "w6 w7 w8"} for n in range(2, 12)]
COMMON = {
    "bf16": False, "gradient_checkpointing": False, "use_cpu": True, "report_to": "none", "disable_tqdm": True,
    "per_device_train_batch_size": 5, "max_length": None, "logging_steps": 2, "save_strategy": "no",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_model, word_tokenizer):
    """base/, what SFT with TRL has made of it as sft/, and the rows' files."""
    folder = tmp_path_factory.mktemp("callback")
    models.export(tiny_model(0), word_tokenizer, folder / "base")
    for name, rows in (("sft", SFT), ("pairs", PAIRS)):
        lines = [{("response" if key == "completion" else key): text for key, text in row.items()} for row in rows]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = SFTConfig(str(folder / "out"), num_train_epochs=8, learning_rate=2e-3, **COMMON)
    trainer = SFTTrainer(
        models.load(folder / "base"), arguments, train_dataset=Dataset.from_list(SFT), processing_class=word_tokenizer
    )
    trainer.train()
    models.export(trainer.model, word_tokenizer, folder / "sft")
    return folder


@pytest.fixture
def dpo(place, word_tokenizer, monkeypatch):
    """dpo(*settings, **options): DPO with TRL from sft/, with a callback of these, or none; then it has trained."""
    monkeypatch.setenv("XRIGHT_CACHE", str(place / "cache"))

    def trained(*settings, without=False, epochs=2, **options):
        torch.manual_seed(0)
        arguments = DPOConfig(
            str(place / "out"), num_train_epochs=epochs, learning_rate=4e-3, disable_dropout=True, seed=1, **COMMON
        )
        trainer = DPOTrainer(
            models.load(place / "sft"), args=arguments, train_dataset=Dataset.from_list(PAIRS),
            processing_class=word_tokenizer, ref_model=models.load(place / "sft"),
        )  # fmt: skip
        if not without:
            data = [f"data.streams.{name}.path={place / file}.jsonl" for name, file in FILES.items()]
            templates = [f"data.streams.{name}.template='{{instruction}}'" for name in FILES]
            callback = ForgettingCallback(trainer, str(place / "base"), *data, *templates, *settings, **options)
            trainer.add_callback(callback)
        trainer.train()
        return trainer

    return trained


FILES = {"sft": "sft", "preference": "pairs"}


def logged(trainer, key):
    return [(row["step"], row[key]) for row in trainer.state.log_history if key in row]


def test_it_logs_what_the_profile_says_of_the_saved_models(dpo, place, word_tokenizer, capsys):
    trainer = dpo("gradients=true", every=3)
    said = capsys.readouterr().out
    steps = [step for step, _ in logged(trainer, "forgetting/SFT")]
    assert steps == [0, 3, 4]
    models.export(trainer.model, word_tokenizer, place / "dpo")
    data = [f"data.streams.{name}.path={place / file}.jsonl" for name, file in FILES.items()]
    templates = [f"data.streams.{name}.template='{{instruction}}'" for name in FILES]
    names = [str(place / name) for name in ("base", "sft", "dpo")]
    assert main([*names, *data, *templates, f"out={place / 'profile'}", "layout=padded"]) == 0
    profile = json.loads((place / "profile" / "profile.json").read_text())
    _, before, after = profile["models"]
    (change,) = [c for c in profile["changes"] if c["stage"] == "dpo" and c["objective"] == "SFT"]
    for key, value in (
        ("SFT", after["losses"]["SFT"]),
        ("DPO", after["losses"]["DPO"]),
        ("kl", after["kl_from_base"]),
        ("SFT/given_back", change["given_back"]["value"]),
        ("SFT/low", change["given_back"]["low"]),
        ("SFT/high", change["given_back"]["high"]),
        ("cosine/DPO/SFT", after["cosines"]["DPO · SFT"]),
    ):
        assert logged(trainer, f"forgetting/{key}")[-1][1] == pytest.approx(value, rel=1e-3, abs=1e-4), key
    assert logged(trainer, "forgetting/SFT")[0][1] == pytest.approx(before["losses"]["SFT"], rel=1e-5)
    assert logged(trainer, "forgetting/SFT/gap")[-1][1] > 0  # it has forgotten
    share = round(100 * change["given_back"]["value"])
    assert f"this training gave back {share} % (" in said


def test_the_training_is_the_same_to_the_bit(dpo):
    bare, watched = dpo(without=True), dpo("gradients=true", every=2)
    for ours, theirs in zip(watched.model.parameters(), bare.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    for key in ("loss", "rewards/margins", "grad_norm"):  # TRL's own logs too
        assert logged(watched, key) == logged(bare, key)


def test_measuring_takes_its_share_at_most(dpo):
    """In so short a training there is no time but for the start and the end."""
    trainer = dpo(kl=False)
    assert [step for step, _ in logged(trainer, "forgetting/SFT")] == [0, 4]
    (callback,) = [one for one in trainer.callback_handler.callbacks if isinstance(one, ForgettingCallback)]
    callback.spent, callback.cost = 1.0, 2.0  # seconds; with this measuring and the last one 5, of 100 of training
    for trained, due in ((99.0, False), (102.0, True)):
        callback.began = time.perf_counter() - trained - callback.spent
        assert callback.is_time(4) == due


@pytest.mark.slow
def test_a_long_training_pays_its_share(dpo):
    """A minute and more of one: all that measuring takes, start and end and the base's part among it."""
    began = time.perf_counter()
    trainer = dpo(epochs=600)
    took = time.perf_counter() - began
    (callback,) = [one for one in trainer.callback_handler.callbacks if isinstance(one, ForgettingCallback)]
    print(f"{callback.spent:.2f} s of {took:.0f} s, {len(logged(trainer, 'forgetting/SFT'))} times")
    assert took > 40
    assert len(logged(trainer, "forgetting/SFT")) > 10
    assert 0.03 * took < callback.spent <= 0.05 * took


def test_one_stream_and_no_base_in_memory(dpo):
    trainer = dpo("objectives.dpo=null", kl=False)
    keys = {key for row in trainer.state.log_history for key in row if key.startswith("forgetting/")}
    assert {key.split("/")[1] for key in keys} == {"SFT"}


@pytest.mark.parametrize(
    ("settings", "options", "says"),
    [
        ((), {"share": 1.5}, "share=1.5"),
        ((), {"every": 0.5}, "every=0.5"),
        ((), {"every": 0}, "every=0 must be a whole number >= 1"),
        (("rows=1",), {}, "rows=1"),
        (("nonsense=1",), {}, "cannot be composed"),
        (("objective@objectives.dpo=kto", "objectives.dpo.stream=preference"), {}, "cannot be profiled"),
    ],
)
def test_bad_input_is_told_before_training(dpo, settings, options, says):
    with pytest.raises(UserError, match=says):
        dpo(*settings, **options)
