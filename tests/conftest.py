import json
import os
import random
import signal
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from xright.config.settings import complete
from xright.data.prompts import Row
from xright.run import CONF

VOCABULARY, EOS = 40, 0
# Files that take half a minute of processor time and more, the longest first: a file goes to one worker as a whole
# (`--dist loadfile`), and one that began last would leave the others idle.
LONGEST = (
    "processes", "run", "bad_input", "memory", "experiments", "preemption", "sweep_failures", "report", "keys",
    "loggers", "hostile_rows", "durability", "rows_users_bring", "model_settings", "security", "three_objectives",
    "docs", "extending", "dashboard", "evaluate", "certificates",
)  # fmt: skip

# A shell's background job ignores Ctrl-C, and so would every command that the tests start and send one.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """The longest files first."""
    places = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(autouse=True)
def environment_as_before():
    """What a test leaves in the environment would reach the commands that later tests start: W&B's service did."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real rows: $XRIGHT_DATA, or shared/data beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("XRIGHT_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"the real rows are not at {folder}; set XRIGHT_DATA to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def tiny_model():
    """make(seed): a GPT-NeoX of 40 tokens and some 6,000 parameters, its logits spread by large initial weights."""

    def make(seed: int = 0) -> GPTNeoXForCausalLM:
        config = GPTNeoXConfig(
            vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=64, initializer_range=0.3, bos_token_id=EOS, eos_token_id=EOS, pad_token_id=EOS,
        )  # fmt: skip
        torch.manual_seed(seed)
        return GPTNeoXForCausalLM(config)

    return make


SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64}
LLAMA = {**SHAPE, "intermediate_size": 48, "initializer_range": 0.3}
FAMILIES = {
    "gpt_neox": LLAMA,
    "llama": LLAMA,
    "opt": {**SHAPE, "ffn_dim": 48, "word_embed_proj_dim": 32, "dropout": 0.0, "init_std": 0.3},
    "qwen2": {**LLAMA, "num_key_value_heads": 2},  # grouped queries
    "qwen3": {**LLAMA, "num_key_value_heads": 2, "head_dim": 8},  # and normalised queries and keys
    "mistral": {**LLAMA, "num_key_value_heads": 2, "sliding_window": 5},
}


@pytest.fixture(scope="session")
def family():
    """make(model_type, seed, …settings): a two-layer model of a family of transformers', 40 tokens unless told."""

    def make(model_type: str, seed: int = 0, **settings: object) -> PreTrainedModel:
        ids = {"vocab_size": VOCABULARY, "bos_token_id": EOS, "eos_token_id": EOS, "pad_token_id": EOS}
        config = AutoConfig.for_model(model_type, **{**ids, **FAMILIES.get(model_type, LLAMA), **settings})
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config)

    return make


@pytest.fixture(scope="session")
def word_tokenizer():
    """Token i is the word `w<i>`; token 0 is EOS. No pad token, like GPT-NeoX's."""
    words = {"</s>": EOS} | {f"w{i}": i for i in range(1, VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w1"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken("</s>", special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


@pytest.fixture(scope="session")
def word_rows():
    """write(folder): sft.jsonl and pairs.jsonl, forty rows each of words that `word_tokenizer` knows."""

    def write(folder: Path) -> None:
        asked = [f"w{1 + i % 30} w{1 + i % 29}" for i in range(40)]
        rows = {
            "sft": [{"instruction": prompt, "output": f"w{2 + i % 7} w5"} for i, prompt in enumerate(asked)],
            "pairs": [{"prompt": one, "chosen": "w3 w4", "rejected": f"w{6 + i % 9}"} for i, one in enumerate(asked)],
        }
        for name, lines in rows.items():
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    return write


@pytest.fixture(scope="session")
def make_rows():
    """make(n, responses, seed): rows of random words, all lengths mixed; pairs carry made-up reference log-probs."""

    def make(n: int, responses: int = 1, seed: int = 0) -> list[Row]:
        draw = random.Random(f"{seed} {responses}")  # the two streams share no row

        def words(most: int) -> list[int]:
            return [draw.randrange(1, VOCABULARY) for _ in range(draw.randint(1, most))]

        return [
            Row(
                id=i,
                prompt=words(6),
                responses=tuple([*words(8), EOS] for _ in range(responses)),
                reference=(draw.uniform(-20, -5), draw.uniform(-20, -5)) if responses == 2 else None,
            )
            for i in range(n)
        ]

    return make


@pytest.fixture(scope="session")
def bigram():
    """make(probabilities_VV): the language model in which p(next | current) is a table, for sums done by hand."""

    class Body(nn.Module):
        def __init__(self, logits_VV: torch.Tensor) -> None:
            super().__init__()
            self.table = nn.Parameter(logits_VV)

        def forward(self, input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
            return SimpleNamespace(last_hidden_state=self.table[input_ids])

    class Bigram(nn.Module):
        def __init__(self, logits_VV: torch.Tensor) -> None:
            super().__init__()
            self.base_model = Body(logits_VV)
            self.head = nn.Linear(len(logits_VV), len(logits_VV), bias=False).requires_grad_(False)
            nn.init.eye_(self.head.weight)  # a body whose hidden states are logits

        def get_output_embeddings(self) -> nn.Module:
            return self.head

    return lambda probabilities_VV: Bigram(torch.tensor(probabilities_VV).log())


# The embedded world at its smallest: one epoch is max(40 / 24, 20 / 8) = 3 steps.
SMALL = (
    "trainer=cpu", "logger=csv", "epochs=1", "model.pretrain.steps=2", "model.init.hidden_size=16",
    "model.init.num_hidden_layers=1", "model.init.num_attention_heads=2", "model.init.intermediate_size=32",
    "data.source.text_rows=64", "data.source.sft_rows=40", "data.source.preference_rows=20",
    "data.source.eval_sft_rows=10", "data.source.eval_preference_rows=8", "data.source.probes_per_kind=2",
)  # fmt: skip


@pytest.fixture(scope="session")
def hydra_config():
    """hydra_config(*overrides): what Hydra makes of a command line with these overrides."""

    def compose(*overrides):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return hydra_compose("config", overrides=list(overrides))

    return compose


@pytest.fixture(scope="session")
def compose(hydra_config):
    """compose(*overrides): the configuration of a run with these overrides; UserError where `complete` refuses them."""

    def compose(*overrides):
        cfg = hydra_config(*overrides)
        complete(cfg, overrides)
        return cfg

    return compose


@pytest.fixture(scope="session")
def compose_small(compose):
    """As compose, with the embedded world and its model at their smallest."""
    return lambda *overrides: compose(*SMALL, *overrides)


@pytest.fixture(scope="session")
def command_line():
    """`python -m xright.run`, started in a hundredth of its time: see `command.py`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        from command import CommandLine
    with CommandLine() as command_line:
        yield command_line


@pytest.fixture(scope="session")
def assert_same_run():
    """assert_same_run(folder, other): the same rows, losses, completions and weights, to the bit; times aside."""

    def check(folder: Path, other: Path) -> None:
        for name, times in (("trajectory.csv", ["train_seconds", "eval_seconds"]), ("steps.csv", ["seconds"])):
            ours, theirs = (pd.read_csv(place / name).drop(columns=times) for place in (folder, other))
            pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
        for name in ("samples.jsonl", "model/model.safetensors"):
            assert (folder / name).read_bytes() == (other / name).read_bytes(), name

    return check


@pytest.fixture(scope="session")
def holds():
    """holds(path, words): are these bytes in the file, or in a member of the archive that it is (checkpoints are)?"""

    def check(path: Path, words: bytes) -> bool:
        if words in path.read_bytes():
            return True
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            return any(words in archive.read(member) for member in archive.namelist())

    return check


@pytest.fixture(scope="session")
def code_of_a_model():
    """code_of_a_model(mark): `theirs.py`, the code that a model brings; who runs it leaves the file `mark`."""
    return lambda mark: (
        f"""
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM
Path({str(mark)!r}).touch()
class Config(LlamaConfig):
    model_type = "theirs"
class Model(LlamaForCausalLM):
    config_class = Config
"""
    )
