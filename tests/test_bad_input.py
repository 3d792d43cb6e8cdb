"""Whatever is wrong with what a user brings: one sentence, a non-zero code, before any training, and nothing touched.

Every case is the real command line (`command.py`) in a copy of a folder in which everything is good but for one thing.
"""

import gzip
import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from transformers import AutoConfig, AutoModelForCausalLM, BertConfig, BertForMaskedLM

from xright.data.world import World

GOOD = [
    "data=files", "data.streams.sft.path=sft.jsonl", "data.streams.preference.path=preference.jsonl",
    "data.streams.sft.template='{instruction} '", "data.streams.preference.template='{instruction} '",
    "data.source.heldout=0.3",
    "data.max_length=48", "data.streams.sft.batch_size=8", "data.streams.preference.batch_size=8", "model=hf",
    "model.path=model", "epochs=1",
    "trainer=cpu", "logger=csv", "threads=1",
]  # fmt: skip
SIZES = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 64, "bos_token_id": 3, "eos_token_id": 3, "pad_token_id": 0,
}  # fmt: skip

Change = bytes | str | None | Callable[[bytes], bytes | str]  # a file's new content; None: it is not there


@dataclass(frozen=True)
class Case:
    """One thing that is wrong. said: what the last lines on stderr hold, a sentence of ours unless `by_hydra`.

    overrides come after GOOD. files: by path or pattern, below the folder. read_only: folders on a read-only disk.
    warm: the stages of the good run are in the cache.
    """

    said: str
    overrides: Sequence[str] = ()
    files: Mapping[str, Change] = field(default_factory=dict)
    read_only: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    warm: bool = False
    by_hydra: bool = False


def by_hydra(said: str, *overrides: str) -> Case:
    return Case(said, overrides, by_hydra=True)


def configuration(said: str, *overrides: str) -> Case:
    return Case(said, overrides)


def sft_file(said: str, name: str, content: Change) -> Case:
    """A case of the file with the SFT rows."""
    return Case(said, [f"data.streams.sft.path={name}"], {name: content})


def preference_file(said: str, content: Change) -> Case:
    return Case(said, files={"preference.jsonl": content})


def model(said: str, files: Mapping[str, Change]) -> Case:
    return Case(said, files={f"model/{name}": change for name, change in files.items()})


def adapter(said: str, files: Mapping[str, Change]) -> Case:
    changes = {f"adapter/{name}": change for name, change in files.items()}
    return Case(said, ["model.path=adapter", "model.tokenizer=model"], changes)


def cache_entry(said: str, pattern: str, change: Change) -> Case:
    return Case(said, files={f"../cache/{pattern}": change}, warm=True)


def lines(**columns: object) -> str:
    """40 rows of jsonl; a column's text may hold {} twice, for numbers that make each row another."""
    rows = [
        {name: value.format(i % 8, i // 8) if isinstance(value, str) else value for name, value in columns.items()}
        for i in range(40)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def parquet(**columns: list) -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame(columns).to_parquet(buffer)
    return buffer.getvalue()


def settings(**changes: object) -> Callable[[bytes], str]:
    """A JSON file with settings changed, or (None) taken out."""

    def change(old: bytes) -> str:
        return json.dumps({key: value for key, value in (json.loads(old) | changes).items() if value is not None})

    return change


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[bytes], bytes]:
    """Weights after `change` has worked on them."""

    def changed(old: bytes) -> bytes:
        tensors = load_tensors(old)
        change(tensors)
        return save_tensors(tensors, {"format": "pt"})

    return changed


def first_200_tokens(tensors: dict[str, torch.Tensor]) -> None:
    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        tensors[name] = tensors[name][:200].clone()


def encoder(_: bytes) -> bytes:
    torch.manual_seed(0)
    tensors = BertForMaskedLM(BERT).state_dict()
    return save_tensors({name: tensor.clone() for name, tensor in tensors.items()}, {"format": "pt"})


def half() -> bytes:
    """An adapter's A without its B."""
    return save_tensors({"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": torch.zeros(2, 16)})


def pickled(_: bytes | None = None) -> bytes:
    buffer = io.BytesIO()
    torch.save({"lm_head.weight": torch.zeros(233, 16)}, buffer)
    return buffer.getvalue()


PROMPT, ANSWER = "what is {} plus {} ?", "sure ! it is green ."
ROWS = lines(prompt=PROMPT, response=ANSWER)
MESSAGES = [{"role": "user", "content": "what is 3 plus 8 ?"}, {"role": "assistant", "content": ANSWER}]
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0\x90wS\xde"
WEIGHTS, SHARD = "model.safetensors", "model-00001-of-00002.safetensors"
INDEX = {"weight_map": {"lm_head.weight": SHARD}, "metadata": {}}
BERT = BertConfig(vocab_size=233, architectures=["BertForMaskedLM"], **SIZES)
ON_MODEL = {"base_model_name_or_path": "model", "peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}

CASES = {
    # the configuration
    "lam out of range": configuration("lam=1.5 must be a number in [0, 1]", "lam=1.5"),
    "lam not a number": configuration("lam=nan must be a number in [0, 1]", "lam=nan"),
    "unknown strategy": by_hydra("Could not find 'strategy/foo'", "strategy=foo"),
    "unknown key": by_hydra("Key 'lamda' is not in struct", "lamda=0.5"),
    "a group that is null": configuration(
        "trainer=null: a group cannot be null; leave it out, or choose one of auto, cpu", "trainer=null"
    ),
    "unknown option": by_hydra("unrecognized arguments: --lambda", "--lambda"),
    "half an override": by_hydra("no viable alternative at input '[0.5'", "lam=[0.5"),
    "bad last cell of a sweep": configuration("lam=7 must be a number in [0, 1]", "lam=0.25,0.5,7", "-m"),
    "interpolation of nothing": configuration("Interpolation key 'nope' not found", "name=${nope}"),
    "negative epochs": configuration("epochs=-1 must be a whole number >= 1", "epochs=-1"),
    "halves of one row": configuration(
        "data.streams.sft.batch_size=1 is too small for MoDo, which needs a row in each half of a step on every "
        "process; give at least 2",
        "strategy=modo",
        "data.streams.sft.batch_size=1",
    ),
    "halves of a token budget": configuration(
        "data.streams.sft.batch_tokens=200 leaves open how many rows a step has, and MoDo halves them",
        "strategy=modo",
        "data.streams.sft.batch_tokens=200",
    ),
    "half of the optima": configuration(
        "optima={'dpo': 1} must be auto, null, or a number for each objective", "optima={dpo: 1}"
    ),
    "MAXRIGHT without optima": configuration("MAXRIGHT needs the optima", "strategy=maxright", "optima=null"),
    "beta zero": configuration("beta=0 must be a number > 0", "objectives.dpo.beta=0"),
    "objective switched off": configuration(
        "asks for objectives ['dpo'], but only ['sft'] are configured", "objectives.dpo=null", "strategy=dpo"
    ),
    "an optimum below what can be": configuration(
        "optima.dpo=-1 must be >= 0: f_dpo is never lower", "optima={dpo: -1, sft: 1}"
    ),
    "an adapter on an average": configuration(
        "no adapter (model.lora.r=2) can be trained from it", "start=average", "model.lora.r=2"
    ),
    "a phase that is none": configuration(
        "strategy.phases: a phase is {rule: …, epochs: …}, not 'mix'", "strategy=model_average", "strategy.phases=[mix]"
    ),
    "a callback that is the run's own": configuration(
        "callbacks.checkpoint is no setting any more: a run always writes these", "callbacks.checkpoint=null"
    ),
    "pairs of a stream of completions": configuration(
        "compares 2 answers to a prompt, but the rows of its stream 'sft' are completions", "objectives.dpo.stream=sft"
    ),
    "all objectives switched off": configuration(
        "objectives has no entry; a run needs one at least", "objectives.dpo=null", "objectives.sft=null"
    ),
    "weights of nothing": configuration("weights names kto, but the objectives of this run", "weights={kto: 1}"),
    "a negative weight": configuration("weights.sft=-1 must be a number >= 0", "weights={dpo: 1, sft: -1}"),
    "lam and weights": configuration("say the same thing twice", "lam=0.5", "weights={dpo: 1, sft: 1}"),
    "an optimizer that is none": configuration("torch.optim.Adams", "optim.optimizer._target_=torch.optim.Adams"),
    "a momentum for AdamW": configuration("unexpected keyword argument 'momentum'", "+optim.optimizer.momentum=0.9"),
    "a point of a front without names": configuration(
        "a point of callbacks.stop.front is [1.5, 0.5], but must be by objective",
        "callbacks=stopping",
        "callbacks.stop.front=[[1.5,0.5]]",
    ),
    "a phase without a rule": configuration(
        "a phase's rule must be one of strategies/, not None",
        "strategy=model_average",
        "strategy.phases=[{rule: null}]",
    ),
    "class that runs commands": configuration("'os.system' is blocklisted", "strategy._target_=os.system"),
    "misspelt reference": configuration("'chossen' is neither a folder nor a hub model", "reference=chossen"),
    "precision": configuration("trainer.precision=33 is none that xright trains in", "trainer.precision=33"),
    "accelerator": configuration("invalid accelerator name: `accelerator='abacus'`", "trainer.accelerator=abacus"),
    "Lightning's clipping": configuration("remove it and see optim.clip", "+trainer.gradient_clip_val=1"),
    "learning rate zero": configuration("optim.lr=0 must be a number > 0", "optim.lr=0"),
    "batch larger than the data": configuration("larger than the 43 rows", "data.streams.sft.batch_size=1000"),
    "micro_batch zero": configuration("model.micro_batch=0 must be a whole number", "model.micro_batch=0"),
    "layout misspelt": configuration("layout='dense' must be packed or padded", "layout=dense"),
    "max_length beyond positions": configuration("exceeds the model's 64 positions", "data.max_length=65"),
    "split of a file": configuration('Unknown split "test"', "data.streams.sft.split=test"),
    "template that runs code": configuration(
        "asks for more than {instruction}", "data.streams.sft.template='{instruction} {instruction.__class__}'"
    ),
    "chat without chat template": configuration(
        "template=chat needs a chat template", "data.streams.sft.template=chat"
    ),
    "LoRA on nothing": configuration(
        "['nonsense'], but the model's linear modules are", "model.lora.r=2", "model.lora.target_modules=[nonsense]"
    ),
    "name that climbs": configuration("name='../up' must be the name of a folder", "name=../up"),
    "runs_dir a file": configuration("sft.jsonl is no folder", "runs_dir=sft.jsonl"),
    "runs_dir read-only": Case("may not be written to", ["runs_dir=runs"], read_only=["runs"]),
    "folder of another run": Case(
        "lr: 0.5 there, 5e-05 asked for",
        ["name=default"],
        {"runs/default/strategy*/config.yaml": lambda old: old.replace(b"  lr: 5.0e-05", b"  lr: 0.5", 1)},
    ),
    # the rows
    "no file": sft_file("does not exist", "nowhere.jsonl", None),
    "a folder": Case("is a folder, not a file", ["data.streams.sft.path=rows"], {"rows/readme.txt": "no rows here"}),
    "unknown suffix": sft_file("unknown suffix", "rows.txt", ROWS),
    "no JSON": sft_file("JSON parse error", "a.jsonl", "what is this\n"),
    "half a line": sft_file("line 41: JSON parse error: Unterminated string", "a.jsonl", ROWS + ROWS[:30]),
    "latin-1": sft_file("Invalid UTF8", "a.jsonl", ROWS.replace("sure", "señor").encode("latin-1")),
    "utf-16": sft_file("it is UTF-16; save it as UTF-8", "a.jsonl", ROWS.encode("utf-16")),
    "gz cut off": sft_file("ended before the end-of-stream", "a.jsonl.gz", gzip.compress(ROWS.encode())[:-40]),
    "gz that is none": sft_file("Not a gzipped file", "a.jsonl.gz", ROWS),
    "two kinds of lines": sft_file(
        "mixes rows with 'response' and rows with 'reply'", "a.jsonl", ROWS + ROWS.replace("response", "reply")
    ),
    "numbers for text": sft_file("has the int 11 in column 'response'", "a.jsonl", lines(prompt=PROMPT, response=11)),
    "null for text": sft_file("dropped: empty response", "a.jsonl", lines(prompt=PROMPT, response=None)),
    "nested": sft_file("has the dict", "a.jsonl", lines(prompt=PROMPT, response={"text": "11"})),
    "0 bytes": sft_file("has no rows", "a.jsonl", b""),
    "only empty lines": sft_file("has no rows", "a.jsonl", "\n \n\n"),
    "a picture": sft_file("Invalid UTF8", "a.jsonl", PNG * 20),
    "parquet cut off": sft_file("magic bytes not found", "a.parquet", parquet(prompt=["a"], response=["b"])[:-50]),
    "parquet without rows": sft_file("has no rows", "a.parquet", parquet(prompt=[], response=[])),
    "csv with an open quote": sft_file("EOF inside string", "a.csv", 'prompt,response\n"what is,sure\n'),
    "csv with a comma too many": sft_file("Expected 2 fields in line 3", "a.csv", "prompt,response\na,b\nc,d,e\n"),
    "wrong columns": sft_file("has the columns question, answer", "a.jsonl", lines(question=PROMPT, answer=ANSWER)),
    "preferences as SFT": sft_file(
        "has the columns prompt, chosen, rejected", "a.jsonl", lines(prompt=PROMPT, chosen=ANSWER, rejected="sorry")
    ),
    "all too long": sft_file(
        "dropped: no room for a response", "a.jsonl", lines(prompt=f"{'what ' * 60}{{}} {{}} ?", response=ANSWER)
    ),
    "roles unknown": sft_file(
        "do not end in one assistant turn",
        "a.jsonl",
        lines(messages=[{"role": "wizard", "content": "sure"}, {"role": "wizard", "content": "sure"}]),
    ),
    "no messages": sft_file("do not end in one assistant turn", "a.jsonl", lines(messages=[])),
    "messages that are text": sft_file("should hold a list of messages", "a.jsonl", lines(messages=["what", "sure"])),
    "words unknown": sft_file("cannot encode the data", "a.jsonl", lines(prompt="quo vadis {} {}", response=ANSWER)),
    "chosen is rejected": preference_file(
        "dropped: chosen equals rejected", lines(prompt=PROMPT, chosen=ANSWER, rejected=ANSWER)
    ),
    "pairs without prompt": preference_file("but no prompt column", lines(chosen=ANSWER, rejected="sorry")),
    # the model
    "no model": configuration("no tokenizer could be loaded from 'nowhere'", "model.path=nowhere"),
    "model a file": configuration("give a folder or hub name", "model.path=sft.jsonl", "model.tokenizer=model"),
    "no config.json": model("no causal LM could be loaded", {"config.json": None}),
    "config.json no JSON": model("not a valid JSON file", {"config.json": "{"}),
    "config.json a list": model("no tokenizer could be loaded", {"config.json": "[]"}),
    "config.json with a word": model("expected int, got str", {"config.json": settings(hidden_size="big")}),
    "no such architecture": model("not recognize this architecture", {"config.json": settings(model_type="gpt9")}),
    "damaged weights": model("Error while deserializing header", {WEIGHTS: PNG}),
    "weights cut off": model("file not fully covered", {WEIGHTS: lambda old: old[:-100]}),
    "a weight missing": model("['lm_head.weight'] are missing", {WEIGHTS: weights(lambda w: w.pop("lm_head.weight"))}),
    "weights that are NaN": model("computes NaN", {WEIGHTS: weights(lambda w: w["lm_head.weight"].fill_(torch.nan))}),
    "a shard missing": model(SHARD, {WEIGHTS: None, "model.safetensors.index.json": json.dumps(INDEX)}),
    "only a pickle": model("no file named model.safetensors", {"pytorch_model.bin": pickled, WEIGHTS: None}),
    "no tokenizer": model("no tokenizer could be loaded", {"tokenizer.json": None}),
    "tokenizer without EOS": model("has no EOS token", {"tokenizer_config.json": settings(eos_token=None)}),
    "vocabulary larger than the embedding": model(
        "ids go up to 232 but the model's embedding has only 200 rows",
        {"config.json": settings(vocab_size=200), WEIGHTS: weights(first_200_tokens)},
    ),
    "an encoder": model("looks ahead", {"config.json": BERT.to_json_string(), WEIGHTS: encoder}),
    "adapter of a base that is not there": adapter(
        "names no base model that can be found",
        {"adapter_config.json": json.dumps({**ON_MODEL, "base_model_name_or_path": "gone"})},
    ),
    "adapter_config.json no JSON": adapter("names no base model", {"adapter_config.json": "{"}),
    "adapter without weights": adapter(
        "must hold a whole adapter_model.safetensors", {"adapter_config.json": json.dumps(ON_MODEL)}
    ),
    "half an adapter": adapter(
        "holds no whole adapter", {"adapter_config.json": json.dumps(ON_MODEL), "adapter_model.safetensors": half()}
    ),
    # the cache
    "cache a file": Case("cannot be written", environment={"XRIGHT_CACHE": "sft.jsonl"}),
    "cache read-only": Case("cannot be written: Read-only file system", read_only=["../cache"]),
    "figures of a stage changed": cache_entry(
        "is not as it was written", "optimum_dpo/*/result.json", lambda old: old.replace(b"0", b"1", 1)
    ),
    "weights of a stage changed": cache_entry(
        "is not as it was written", "reference/*/model/model.safetensors", lambda old: old[:-1] + b"!"
    ),
    "tokens cut off": cache_entry("is damaged", "tokens/*/tokens.bin", lambda old: old[:-4]),
    "stage of another version": cache_entry(
        "is of another version of xright", "reference/*/manifest.json", settings(format=0)
    ),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory, command_line) -> Path:
    """`place/` with sft.jsonl, preference.jsonl, model/ and a finished run in runs/; `cache/` with its stages."""
    root, world = tmp_path_factory.mktemp("good"), World()
    place = root / "place"
    for stream, name in (("sft", "sft"), ("preference", "preference")):
        path = place / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in world.rows(stream, "train")[:60]))
    tokenizer = world.tokenizer()
    torch.manual_seed(0)
    config = AutoConfig.for_model("llama", vocab_size=len(tokenizer), **SIZES)
    AutoModelForCausalLM.from_config(config).save_pretrained(place / "model")
    tokenizer.save_pretrained(place / "model")
    done = command_line.run(place, *GOOD, XRIGHT_CACHE=str(root / "cache"))
    assert done.returncode == 0, done.stderr  # so every case below fails for its own reason
    return root


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bad_input_is_one_sentence_and_touches_nothing(case, good, command_line, tmp_path):
    place, cache = tmp_path / "place", tmp_path / "cache"
    shutil.copytree(good / "place", place)
    if case.warm:
        shutil.copytree(good / "cache", cache)
    for pattern, change in case.files.items():
        write(place, pattern, change)
    cache.mkdir(exist_ok=True)
    before, stages = content(place), trained(cache)
    environment = {"XRIGHT_CACHE": str(cache), **case.environment}
    with on_a_read_only_disk([place / folder for folder in case.read_only]) as disk:
        refused = command_line.run(place, *GOOD, "name=new", *case.overrides, read_only=disk, **environment)
    sentences = [line for line in refused.stderr.splitlines() if line.startswith("xright: ")]
    assert refused.returncode in ((1, 2) if case.by_hydra else (2,)), refused.stderr
    assert "Traceback" not in refused.stderr
    assert case.said in (refused.stderr if case.by_hydra else "".join(sentences))
    assert len(sentences) == (not case.by_hydra)
    assert refused.stdout == ""
    assert trained(cache) == stages
    assert content(place) == before


def write(place: Path, pattern: str, change: Change) -> None:
    path = next(place.glob(pattern), place / pattern)
    old = path.read_bytes() if path.is_file() else b""
    new = change(old) if callable(change) else change
    assert new != old or not old, f"{pattern} was to be changed, and is as it was"
    path.unlink(missing_ok=True)
    if new is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(new.encode() if isinstance(new, str) else new)


def content(folder: Path) -> dict[str, bytes | None]:
    """The bytes of every file, and None for every folder."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def trained(cache: Path) -> dict[str, bytes | None]:
    """What is in the cache but for tokens, which are no training, and for the locks of those that looked."""
    found = {file: bytes_ for file, bytes_ in content(cache).items() if bytes_ is not None}
    return {file: bytes_ for file, bytes_ in found.items() if "/tokens/" not in file and not file.endswith(".lock")}


@contextmanager
def on_a_read_only_disk(folders: Sequence[Path]) -> Iterator[Sequence[Path]]:
    """Folders that the command is to see on a read-only disk; who is not root gets them by permission."""
    if os.getuid() == 0 and folders:
        if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
            pytest.skip("root here can neither mount a read-only disk nor be kept out by permissions")
        yield folders
        return
    for folder in folders:
        folder.chmod(0o555)
    yield []
    for folder in folders:
        folder.chmod(0o755)
