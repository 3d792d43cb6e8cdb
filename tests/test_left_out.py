"""What a chat template, a tokenizer or a setting would leave out in silence, through the real command line."""

import json

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TEMPLATE = (  # knows two roles
    "{% for m in messages %}{% if m.role in ('user', 'assistant') %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIALS = ["<|end|>", "<|user|>", "<|assistant|>"]
N = 6


def tokenizer(first: int = 0) -> PreTrainedTokenizerFast:
    """A token for each byte; those of two bytes change places with `first`."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=259, special_tokens=SPECIALS, initial_alphabet=alphabet)
    core.train_from_iterator([], trainer)
    spec = json.loads(core.to_str())
    if first:
        vocab = spec["model"]["vocab"]
        vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(spec)), eos_token="<|end|>", chat_template=TEMPLATE
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory, family):
    """model/, other/ (a tokenizer to which two letters have changed places), rows."""
    place = tmp_path_factory.mktemp("left_out")
    family("llama", vocab_size=259).save_pretrained(place / "model")
    tokenizer().save_pretrained(place / "model")
    tokenizer(first=1).save_pretrained(place / "other")
    asked = [[{"role": "user", "content": f"Say {i}."}, {"role": "assistant", "content": f"{i}."}] for i in range(N)]
    rows = {
        "sft": [{"messages": turns} for turns in asked],
        "system": [{"messages": [{"role": "system", "content": "Be brief."}, *turns]} for turns in asked],
        "pairs": [{"prompt": f"Which, {i}?", "chosen": "This one.", "rejected": "No."} for i in range(N)],
    }
    for name, lines in rows.items():
        (place / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return place


@pytest.fixture
def prepare(place, command_line, tmp_path):
    """prepare(rows, *overrides): exit code and log of a run that is prepared."""

    def prepare(rows: str, *overrides: str) -> tuple[int, str]:
        done = command_line.run(
            place, "data=files", f"data.streams.sft.path={rows}.jsonl", "data.streams.preference.path=pairs.jsonl",
            "data.streams.sft.template=chat", "data.streams.preference.template=chat", "data.source.heldout=0",
            "eval_on=train_probe", "epochs=1",
            "data.max_length=60", "data.streams.sft.batch_size=2", "data.streams.preference.batch_size=2", "model=hf",
            "model.path=model",
            "trainer=cpu", "logger=csv", "threads=1", "stage=prepare", "reference=base", "optima=null", *overrides,
            XRIGHT_CACHE=str(tmp_path / "cache"),
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr + done.stdout

    return prepare


@pytest.mark.parametrize(("rows", "times"), [("system", N), ("sft", 0)])
def test_a_turn_that_the_chat_template_passes_over_is_told(prepare, rows, times):
    code, log = prepare(rows)
    assert code == 0, log
    (line,) = [line for line in log.splitlines() if "sft/train: " in line]
    said = f"{times} rows with a turn whose text the chat template leaves out or changes"
    assert (said in line) == bool(times)
    assert ("leaves out" in line) == bool(times)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.tokenizer=other"], "model.path='{place}/model' has another tokenizer than model.tokenizer: id "),
        (["model.revision=step1000"], "model.revision='step1000' is of a hub model, and the folder 'model' has none"),
        (["reference=null"], "reference=None must be base, chosen, the name of a stream, or a folder or hub name"),
        (["seed=99999999999999999999"], "seed=99999999999999999999 must be a whole number <= 9223372036854775807"),
        (["threads=100000"], "threads=100000 must be a whole number <= 1024"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_setting_that_would_do_nothing_or_harm_is_one_sentence(prepare, place, overrides, said):
    code, log = prepare("sft", *overrides)
    assert code == 2
    assert said.format(place=place) in log
