"""What comes from others (weights, checkpoints, models with code, rows) is never run, and what is secret never written.

The attacks are real: each would leave a file behind, and each is shown to work where nothing stands in its way.
"""

import ast
import hashlib
import io
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as tokenizer_models
from transformers import PreTrainedTokenizerFast
from yaml.constructor import FullConstructor, SafeConstructor

from xright import models
from xright.data.prompts import Template, encode
from xright.data.stream import Stream
from xright.data.tokenised import read
from xright.data.world import World
from xright.pipeline import folders

FAST = ["debug=fast", "logger=csv"]
MODEL = ["model=hf", "model.path=model", "model.tokenizer=tokenizer"]
ARCHITECTURE = {
    "model_type": "llama", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 64,
}  # fmt: skip
SOURCES = sorted((Path(__file__).resolve().parents[1] / "xright").rglob("*.py"))


class Attack:
    """Unpickling it creates a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


@pytest.fixture(scope="module")
def good(tmp_path_factory, command_line) -> Path:
    """model/, tokenizer/, a finished run in runs/ and its stages in cache/."""
    place = tmp_path_factory.mktemp("good")
    tokenizer = World().tokenizer()
    tokenizer.save_pretrained(place / "tokenizer")
    models.export(models.build(ARCHITECTURE, tokenizer, seed=0), tokenizer, place / "model")
    done = command_line.run(place, *FAST, *MODEL, XRIGHT_CACHE="cache")
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture
def place(good, tmp_path) -> Path:
    """A copy of `good`, to be spoilt."""
    return shutil.copytree(good, tmp_path / "place")


@pytest.fixture
def mark(tmp_path) -> Path:
    """The file an attack leaves behind."""
    return tmp_path / "mark"


def zipped(mark: Path) -> bytes:
    """The attack as torch.save writes it; unpickling it does work."""
    buffer = io.BytesIO()
    torch.save({"state_dict": Attack(mark)}, buffer)
    torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)
    assert mark.exists()
    mark.unlink()
    return buffer.getvalue()


def write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def refused(done, mark: Path, said: str) -> None:
    assert done.returncode == 2, done.stderr
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("xright: ")]
    assert said in sentence
    assert "Traceback" not in done.stderr
    assert not mark.exists()


def test_pickled_weights_are_refused_unread(place, mark, command_line):
    (place / "model/model.safetensors").unlink()
    (place / "model/pytorch_model.bin").write_bytes(zipped(mark))
    done = command_line.run(place, *FAST, *MODEL, "name=new", XRIGHT_CACHE="cache")
    refused(done, mark, "no file named model.safetensors")


def test_pickled_shards_are_refused_unread(place, mark, command_line):
    (place / "model/model.safetensors").unlink()
    (place / "model/pytorch_model-00001-of-00001.bin").write_bytes(zipped(mark))
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "pytorch_model-00001-of-00001.bin"}}
    (place / "model/pytorch_model.bin.index.json").write_text(json.dumps(index))
    done = command_line.run(place, *FAST, *MODEL, "name=new", XRIGHT_CACHE="cache")
    refused(done, mark, "no file named model.safetensors")


def test_a_pickled_adapter_is_refused_unread(place, mark, command_line):
    (place / "adapter").mkdir()
    settings = {"base_model_name_or_path": "model", "peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}
    (place / "adapter/adapter_config.json").write_text(json.dumps(settings))
    (place / "adapter/adapter_model.bin").write_bytes(zipped(mark))
    done = command_line.run(place, *FAST, *MODEL, "name=new", "model.path=adapter", XRIGHT_CACHE="cache")
    refused(done, mark, "must hold a whole adapter_model.safetensors")


@pytest.mark.parametrize("form", ["as torch writes it", "a bare pickle"])
def test_a_checkpoint_that_would_run_code_is_refused_unread(form, place, mark, command_line):
    (run,) = (place / "runs/default").glob("strategy*")
    (run / "result.json").unlink()  # so the run would go on from its checkpoint
    attack = zipped(mark) if form == "as torch writes it" else pickle.dumps(Attack(mark))
    for checkpoint in (run / "checkpoints").glob("*.ckpt"):
        checkpoint.write_bytes(attack)
    done = command_line.run(place, *FAST, *MODEL, XRIGHT_CACHE="cache")
    refused(done, mark, "checkpoint")


def test_pickled_arrays_in_the_cache_are_refused_unread(place, mark, command_line):
    """Also where the attacker has mended the manifest."""
    write(place / "rows.jsonl", [{"prompt": f"Who {i}?", "response": "You."} for i in range(9)])
    write(place / "pairs.jsonl", [{"prompt": f"Who {i}?", "chosen": "You.", "rejected": "Me."} for i in range(9)])
    models.export(models.build(ARCHITECTURE, bytes_level(), seed=0), bytes_level(), place / "bytes")
    prepare = [
        "data=files", "data.streams.sft.path=rows.jsonl", "data.streams.preference.path=pairs.jsonl", "model=hf",
        "model.path=bytes", "data.source.heldout=0.4", "data.max_length=60", "stage=prepare", "trainer=cpu",
        "data.streams.sft.batch_size=2", "data.streams.preference.batch_size=2", "logger=csv", "epochs=1",
    ]  # fmt: skip
    done = command_line.run(place, *prepare, XRIGHT_CACHE="fresh")
    assert done.returncode == 0, done.stderr
    for entry in (place / "fresh/tokens").glob("*/ids.npy"):
        np.save(entry, np.array([Attack(mark)], dtype=object), allow_pickle=True)
        manifest = json.loads((entry.parent / "manifest.json").read_text())
        manifest["files"]["ids.npy"] = [entry.stat().st_size, hashlib.sha256(entry.read_bytes()).hexdigest()]
        (entry.parent / "manifest.json").write_text(json.dumps(manifest))
    refused(command_line.run(place, *prepare, XRIGHT_CACHE="fresh"), mark, "Object arrays cannot be loaded")
    np.load(entry, allow_pickle=True)
    assert mark.exists()  # the attack was a real one


def test_code_that_comes_with_a_model_runs_only_when_asked_for(place, mark, command_line, code_of_a_model):
    config = json.loads((place / "model/config.json").read_text())
    config |= {"model_type": "theirs", "architectures": ["Model"]}
    config["auto_map"] = {"AutoConfig": "theirs.Config", "AutoModelForCausalLM": "theirs.Model"}
    (place / "model/config.json").write_text(json.dumps(config))
    (place / "model/theirs.py").write_text(code_of_a_model(mark))
    command = [*FAST, *MODEL, "name=new", "stage=prepare"]
    done = command_line.run(place, *command, XRIGHT_CACHE="cache")
    refused(done, mark, "comes with code of its own; read that, and set model.trust_remote_code=true to run it")
    command_line.run(place, *command, "model.trust_remote_code=true", XRIGHT_CACHE="cache")
    assert mark.exists()


def test_code_that_comes_with_a_tokenizer_runs_only_when_asked_for(place, mark, command_line):
    settings = json.loads((place / "tokenizer/tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "Words", "auto_map": {"AutoTokenizer": [None, "words.Words"]}}
    (place / "tokenizer/tokenizer_config.json").write_text(json.dumps(settings))
    code = f"""
from pathlib import Path
from transformers import PreTrainedTokenizerFast
Path({str(mark)!r}).touch()
class Words(PreTrainedTokenizerFast):
    pass
"""
    (place / "tokenizer/words.py").write_text(code)
    command = [*FAST, *MODEL, "name=new", "stage=prepare"]
    done = command_line.run(place, *command, XRIGHT_CACHE="cache")
    refused(done, mark, "set model.trust_remote_code=true to run it")
    command_line.run(place, *command, "model.trust_remote_code=true", XRIGHT_CACHE="cache")
    assert mark.exists()


SECRETS = ("WANDB_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY")


def test_no_key_is_written_anywhere(tmp_path, command_line, holds):
    """Keys in the environment: not in a file of the run (W&B's included), the cache or the user's home; nor said."""
    keys = {name: hashlib.sha1(name.encode()).hexdigest() for name in SECRETS}  # 40 characters, as W&B's are
    home, place = tmp_path / "home", tmp_path / "place"
    home.mkdir()
    place.mkdir()
    where = {"XRIGHT_CACHE": str(tmp_path / "cache"), "HOME": str(home), "WANDB_MODE": "offline"}
    done = command_line.run(place, "debug=fast", "strategy=mix", **where, **keys)
    assert done.returncode == 0, done.stderr
    files = [path for root in (tmp_path, command_line.outputs) for path in root.rglob("*") if path.is_file()]
    (wandb,) = [path for path in files if path.suffix == ".wandb"]
    assert holds(wandb, b"ideal_distance")  # W&B's file is not packed: what is in it would be found
    assert {"config.yaml", "last.ckpt", "result.json", "model.safetensors", "samples.jsonl"} <= {p.name for p in files}
    for name, key in keys.items():
        assert [path for path in files if holds(path, key.encode())] == [], name
        assert key not in done.stdout + done.stderr, name
    written = place / "planted.zip"  # the search does look into archives
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data", keys["HF_TOKEN"])
    assert holds(written, keys["HF_TOKEN"].encode())


def bytes_level() -> PreTrainedTokenizerFast:
    """Knows every text; <|endoftext|> is its EOS."""
    core = Tokenizer(tokenizer_models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=257, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    core.train_from_iterator([], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|endoftext|>")


HOSTILE = [
    "${oc.env:HOME}", "${hydra:runtime.cwd}", "{instruction}", "{instruction.__class__}", "{0.__class__}", "%(prompt)s",
    "{{ 7*7 }}", "{% include 'x' %}", "{{ cycler.__init__.__globals__.os.system('touch mark') }}",
    "../../etc/passwd", "file:///etc/passwd", "/dev/stdin", "!!python/object/apply:os.system ['touch mark']",
    "$(touch mark)", "`touch mark`", "; touch mark", "__import__('os').system('touch mark')", "=cmd|'touch mark'!A1",
]  # fmt: skip


def test_rows_name_neither_files_nor_code(tmp_path, command_line):
    """Whatever stands in a row is text: it arrives at the tokens as it is written, through every template."""
    chat = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}"
    chat += "{% if add_generation_prompt %}[assistant]{% endif %}"
    tokenizer = bytes_level()
    tokenizer.chat_template = chat
    models.export(
        models.build(ARCHITECTURE | {"max_position_embeddings": 256}, tokenizer, 0), tokenizer, tmp_path / "m"
    )
    sft = [{"prompt": f"{text} {i}", "response": f"Answer: {text}"} for i, text in enumerate(HOSTILE)]
    pairs = [{"prompt": row["prompt"], "chosen": row["response"], "rejected": "No."} for row in sft]
    write(tmp_path / "sft.jsonl", sft)
    write(tmp_path / "preference.jsonl", pairs)
    for template, written in (("plain", "User: {}\nAssistant: "), ("chat", "[user]{}<|endoftext|>[assistant]")):
        cache = tmp_path / f"cache-{template}"
        done = command_line.run(
            tmp_path, "data=files", "data.streams.sft.path=sft.jsonl", "data.streams.preference.path=preference.jsonl",
            "model=hf", "model.path=m", "data.source.heldout=0.2", "data.max_length=250", "epochs=1", "trainer=cpu",
            "data.streams.sft.batch_size=2", "data.streams.preference.batch_size=2", "logger=csv",
            f"data.streams.sft.template={template}", f"data.streams.preference.template={template}",
            f"name={template}", XRIGHT_CACHE=str(cache),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        seen = {}
        for entry in (cache / "tokens").glob("*/tokens.bin"):
            for row in read(entry.parent, len(np.load(entry.parent / "ids.npy"))):
                seen[tokenizer.decode(row.prompt)] = tokenizer.decode(row.responses[0])
        for row in sft:
            assert seen[written.format(row["prompt"])] == row["response"] + "<|endoftext|>"
    assert not list(tmp_path.rglob("mark"))


def test_special_tokens_in_rows_are_those_tokens():
    """As in TRL, and as rows that carry their own transcript (template raw) need it."""
    row = {"prompt": "a<|endoftext|>b", "response": "c<|endoftext|>d"}
    (encoded,), _ = encode([row], Stream("sft", "completions"), Template("raw"), bytes_level(), 32)
    assert encoded.prompt.count(0) == 1
    assert encoded.responses[0].count(0) == 2  # its own, and the one that ends it


UNSAFE = {"eval", "exec", "compile", "__import__"}


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.name)
def test_the_code_calls_nothing_that_runs_what_it_reads(file):
    """Our own sources: no eval, no pickle, no yaml but the safe one, torch.load with weights only, no shell."""
    tree = ast.parse(file.read_text())
    imported = {alias.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    imported |= {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
    assert not imported & {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        options = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert name not in UNSAFE, name
        assert name not in ("yaml.unsafe_load", "os.system", "os.popen"), name
        assert name != "yaml.load" or options["Loader"] == "SAFE_LOADER"
        assert "shell" not in options, name
        assert options.get("allow_pickle", "False") == "False", name
        if name == "torch.load":
            assert options.get("weights_only") == "True"
        if name.endswith("from_pretrained") and "AutoModel" in name:
            assert options["use_safetensors"] == "True"
        assert options.get("trust_remote_code") != "True", name


def test_the_safe_loader_is_safe():
    assert issubclass(folders.SAFE_LOADER, SafeConstructor)
    assert not issubclass(folders.SAFE_LOADER, FullConstructor)
    with pytest.raises(yaml.YAMLError):
        yaml.load("!!python/object/apply:os.getcwd []", Loader=folders.SAFE_LOADER)


def test_our_own_sources_were_looked_at():
    assert len(SOURCES) > 50
