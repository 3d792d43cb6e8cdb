import hashlib
import json
import os
import shutil
import subprocess
import sys

import pytest

from xright.cache import cache_root
from xright.data import sources, tokenised
from xright.data.prompts import VERSION, encode
from xright.data.rows import Rows
from xright.data.stream import TEXT, Stream
from xright.data.templates import Template
from xright.data.world import World
from xright.errors import UserError

MAX_LENGTH = 60


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XRIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path


class Counting:
    """A tokenizer that counts the texts it is given."""

    def __init__(self, tokenizer):
        self.tokenizer, self.texts = tokenizer, 0

    def __call__(self, text, **options):
        self.texts += len(text) if isinstance(text, list) else 0
        return self.tokenizer(text, **options)

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)

    def __len__(self):
        return len(self.tokenizer)


def sft_rows(n=40):
    return [{"prompt": f"question {i}", "response": f"answer {i}" * (1 + i % 5)} for i in range(n)]


def preference_rows(n=30):
    return [{"prompt": f"question {i}", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(n)]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def start(root, byte_tokenizer, chatml, files):
    """start(…): a split of a stream, as a new process would get it; with it, how many texts were tokenised."""
    given = {
        "sft": {"path": write(root / "sft.jsonl", sft_rows())},
        "preference": {"path": write(root / "preference.jsonl", preference_rows())},
        "heldout": 0.3,
    }

    def start(stream="sft", split="train", templates=(), max_length=MAX_LENGTH, tokenizer=None, **options):
        counting = Counting(tokenizer or byte_tokenizer(chat_template=chatml))
        specs = {"sft": "plain", "preference": "plain", **dict(templates)}
        source = files(**given | options)
        found = tokenised.tokenised(
            source, {**source.streams, "text": TEXT}[stream], split,
            {name: Template(spec) for name, spec in specs.items()}, counting, max_length,
        )  # fmt: skip
        return found, counting.texts

    return start


SPLITS = [("sft", "train"), ("sft", "eval"), ("preference", "train"), ("preference", "eval"), ("text", "train")]


@pytest.mark.parametrize(("stream", "split"), SPLITS)
def test_second_start_neither_reads_nor_tokenises(start, stream, split, byte_tokenizer, monkeypatch, root, files):
    first, texts = start(stream, split)
    assert texts > 0
    source = files({"path": str(root / "sft.jsonl")}, {"path": str(root / "preference.jsonl")}, heldout=0.3)
    expected, counts = encode(
        source.rows(stream, split), {**source.streams, "text": TEXT}[stream],
        {"sft": Template("plain"), "preference": Template("plain")},
        byte_tokenizer(), MAX_LENGTH,
    )  # fmt: skip
    assert (first.rows, first.counts) == (expected, counts)
    assert first.counts.first == [row["prompt"] for row in source.rows(stream, split)[:4]]
    monkeypatch.setattr(sources, "read", None)  # calling it would raise
    again, texts = start(stream, split)
    assert texts == 0
    assert again == first


BASE = Template("plain")
CHANGES = {
    "template": {"templates": {"sft": "Q: {instruction}"}},
    "max_length": {"max_length": 30},
    "heldout": {"heldout": 0.4},
    "seed": {"seed": 1},
    "limit": {"sft": {"limit": 10}},
    "columns": {"sft": {"columns": {"response": "prompt"}}},
    "slice": {"sft": {"split": "train[:20]"}},
    "evaluation rows of their own": {"sft": {"eval_split": "train[:5]"}},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("split", ["train", "eval"])
def test_what_tokens_depend_on(start, root, change, split):
    start(split=split)
    options = dict(CHANGES[change])
    if "sft" in options:
        options["sft"] = {"path": str(root / "sft.jsonl"), **options["sft"]}
    found, texts = start(split=split, **options)
    assert texts > 0
    shutil.rmtree(cache_root())
    assert found == start(split=split, **options)[0]


def test_a_changed_byte_is_another_file_whatever_its_time_stamp(start, root):
    file = root / "sft.jsonl"
    os.utime(file, (1000, 1000))
    before, _ = start()
    file.write_text(file.read_text().replace("answer 1", "Answer 1", 1))
    os.utime(file, (1000, 1000))
    after, texts = start()
    assert texts > 0
    assert sum(one != other for one, other in zip(before.rows, after.rows, strict=True)) == 1


def test_another_tokenizer(start, byte_tokenizer, chatml):
    start()
    for tokenizer in (byte_tokenizer("<s> $A"), byte_tokenizer(eos="<|im_end|>")):
        found, texts = start(tokenizer=tokenizer)
        assert texts > 0
        assert found.rows[0].responses[0][-1] == tokenizer.eos_token_id


def test_another_chat_template_counts_where_it_is_used(start, byte_tokenizer, chatml):
    chat = {"sft": "chat"}
    for templates, changed in ((chat, True), ({}, False)):
        start(templates=templates, tokenizer=byte_tokenizer(chat_template=chatml))
        _, texts = start(templates=templates, tokenizer=byte_tokenizer(chat_template=chatml.replace("im_start", "x")))
        assert (texts > 0) == changed


def test_a_template_that_marks_answers_has_a_key_of_its_own_where_that_counts(start, root, byte_tokenizer, monkeypatch):
    """Whole texts, other templates and templates without the tag keep their keys and their rows."""
    turn = "{{ m.role }}:{% generation %}{{ m.content }}{% endgeneration %}<|im_end|>\n"
    template = "{% for m in messages %}" + turn + "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    plain = template.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    turns = [{"role": role, "content": str(i)} for i, role in enumerate(("user", "assistant") * 2)]
    path, keys = write(root / "chats.jsonl", [{"messages": turns}]), []
    made = tokenised.cached_stage
    monkeypatch.setattr(
        tokenised,
        "cached_stage",
        lambda name, key, *rest, **others: keys.append(key) or made(name, key, *rest, **others),
    )
    ends = {}
    for stream, spec, chat in (("sft", "chat", template), ("sft", "chat", plain), ("text", "chat", template)):
        tokenizer = byte_tokenizer(eos="<|im_end|>", chat_template=chat)
        given = {"sft": {"path": path, "turns": "all"}, "preference": None, "heldout": 0.0}
        found, _ = start(stream, templates={"sft": spec}, tokenizer=tokenizer, **given)
        ends[stream, chat] = [tokenizer.decode(row.responses[0])[-11:] for row in found.rows]
    start("sft", templates={"sft": "plain"}, tokenizer=tokenizer, **given)
    assert ends["sft", template] == ["1", "3"]
    assert ends["sft", plain] == ["1<|im_end|>", "3<|im_end|>"]
    assert ends["text", template] == ["1<|im_end|>", "3<|im_end|>"]
    assert ["generation" in key for key in keys] == [True, False, False, False]


def test_another_version_of_the_encoding(start, monkeypatch):
    start()
    monkeypatch.setattr(tokenised, "VERSION", VERSION + 1)
    assert start()[1] > 0


def test_evaluation_has_its_cap_and_its_own_file(start, root):
    apart = {"sft": {"path": str(root / "sft.jsonl"), "eval_path": write(root / "eval.jsonl", sft_rows(9))}}
    assert len(start(split="eval", **apart)[0].rows) == 9
    capped = {"sft": {**apart["sft"], "eval_rows": 4}}
    assert len(start(split="eval", **capped)[0].rows) == 4
    start(split="train", **apart)
    assert start(split="train", **capped)[1] == 0
    write(root / "eval.jsonl", sft_rows(8))
    assert start(split="train", **apart)[1] == 0
    found, _ = start(split="eval", **apart)
    assert found.notes == ["sft: the prompts of 8 of 8 evaluation rows are trained on too"]
    assert start(split="eval", **apart) == (found, 0)


def test_what_tokens_do_not_depend_on(start, root, byte_tokenizer, chatml):
    found, _ = start()
    shutil.copy(root / "sft.jsonl", root / "copy.jsonl")
    called = byte_tokenizer(chat_template=chatml)
    called.pad_token = called.eos_token
    called("a b c", truncation=True, max_length=2, padding="max_length")
    for options in (
        {"sft": {"path": str(root / "copy.jsonl")}},
        {"templates": {"preference": "raw"}},
        {"preference": None},
        {"sft": {"path": str(root / "sft.jsonl"), "eval_rows": 3, "batch_size": 2, "batch_tokens": 90}},
        {"tokenizer": called},
    ):
        assert start(**options) == (found, 0)


def test_conversations_that_were_dropped_are_told_of_again(start, root):
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    path = write(root / "chats.jsonl", [{"messages": turns, "id": 1}, {"messages": turns[:1], "id": 2}])
    for warm in (False, True):
        found, texts = start(sft={"path": path}, heldout=0.0)
        assert (texts == 0) == warm
        assert found.counts.sentence("sft/train") == (
            "sft/train: 1 of 2 rows kept; 1 dropped: conversations that do not end in one assistant turn after a "
            "shared prompt; columns messages (unused: id); message keys role, content"
        )


@pytest.mark.parametrize("file", ["tokens.bin", "ids.npy", "lengths.npy"])
@pytest.mark.parametrize("left", [0, 0.5, None])
def test_damage_is_recognised(start, file, left):
    start()
    (path,) = cache_root().glob(f"tokens/*/{file}")
    if left is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * left) // 8 * 8])
    with pytest.raises(UserError, match=r"rows in .*/tokens/[0-9a-f]{16} are damaged \(.*delete that folder") as error:
        start()
    assert "\n" not in str(error.value)
    shutil.rmtree(path.parent)
    assert start()[1] > 0


def test_files_of_fewer_rows_are_damage(start):
    found, _ = start()
    (path,) = cache_root().glob("tokens/*/tokens.bin")
    tokenised.write(path.parent, [list(found.rows)[:-1]])
    with pytest.raises(UserError, match="not all rows are there"):
        start()


def test_nothing_is_kept_of_bad_data(start, root):
    for options, words in (
        ({"max_length": 2}, "No row is left"),
        ({"max_length": 2.5}, "max_length=2.5"),
        ({"sft": {"path": write(root / "a.jsonl", [{"q": "", "r": ""}])}}, "has the columns q, r"),
        ({"sft": {"path": str(root / "none.jsonl")}}, "does not exist"),
        ({"heldout": 0.0, "split": "eval"}, "No eval row is left"),
    ):
        with pytest.raises(UserError, match=words):
            start(**options)
    assert not [path for path in cache_root().glob("*/*") if path.suffix != ".lock"]


def test_a_file_that_changes_while_it_is_read_is_not_kept(start, root, monkeypatch):
    read = sources.read

    def slow(name, *place):
        write(root / "sft.jsonl", sft_rows(41))
        return read(name, *place)

    monkeypatch.setattr(sources, "read", slow)
    with pytest.raises(UserError, match=r"data.streams.sft changed while they were being read; start again"):
        start()
    assert not [path for path in cache_root().glob("*/*") if path.suffix != ".lock"]


def test_a_world_is_tokenised_in_memory(root):
    world = World(text_rows=4, sft_rows=4, preference_rows=4)
    templates = dict.fromkeys(("sft", "preference"), Template("<user> {instruction} <bot> "))
    found = tokenised.tokenised(world, Stream("sft", "completions"), "train", templates, world.tokenizer(), 64)
    assert isinstance(found.rows, Rows)
    assert found.counts.kept == 4
    assert not cache_root().exists()


WORKER = """
import logging, sys
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from xright.data import tokenised
from xright.data.sources import Files
from xright.data.stream import streams_of
from xright.data.templates import Template

logging.basicConfig(level=logging.INFO)
tokenizer = Tokenizer(models.WordLevel({"</s>": 0, "?": 1}, unk_token="?"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")
encoded = tokenised.encoded

def slow(*arguments, **others):
    import time
    print("building", flush=True)
    time.sleep(1)
    yield from encoded(*arguments, **others)

tokenised.encoded = slow
streams = streams_of({"sft": {"kind": "completions", "path": sys.argv[1]}})
source = Files(streams, heldout=0)
print("ready", flush=True)
sys.stdin.readline()
print(tokenised.tokenised(source, streams["sft"], "train", {"sft": Template("raw")}, tokenizer, 30).rows.digest)
"""


def test_two_processes_at_once_build_once(root):
    command = [sys.executable, "-c", WORKER, write(root / "sft.jsonl", sft_rows())]
    env = os.environ | {"HF_DATASETS_CACHE": str(root / "datasets"), "OMP_NUM_THREADS": "1"}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    workers = [subprocess.Popen(command, env=env, text=True, **pipes) for _ in range(2)]
    assert [worker.stdout.readline() for worker in workers] == ["ready\n"] * 2
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    outputs = [worker.communicate(timeout=60) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    assert sum(out.count("building") for out, _ in outputs) == 1
    waited = sum(error.count("waiting for another process") for _, error in outputs)
    assert waited <= 1  # none, where the other was done before it asked
    assert len({out.splitlines()[-1] for out, _ in outputs}) == 1


def test_version_4(byte_tokenizer, chatml):
    """If this fails, what becomes of a text has changed: caches of older tokens are stale. Raise prompts.VERSION."""
    user, bot = {"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}
    prompts = ["Hi", "<s>Hi ", [user], [user, bot, {"role": "user", "content": "and 2 + 2?"}]]
    sft = [{"prompt": prompt, "response": f" an answer {i}</s>"} for i, prompt in enumerate(prompts)]
    pairs = [{"prompt": prompt, "chosen": f"yes {i}", "rejected": "no" * 20} for i, prompt in enumerate(prompts)]
    text = [{"prompt": "", "response": "<s>whole"}, {"prompt": "Hi", "response": "Ho", "stream": "sft"}]
    tokenizer, ids = byte_tokenizer("<s> $A </s>", chat_template=chatml), []
    for spec, among in (("raw", slice(2)), ("plain", slice(4)), ("chat", slice(4)), ("Q: {instruction}", slice(4))):
        templates = dict.fromkeys(("sft", "preference"), Template(spec))
        for stream, rows in ((Stream("sft", "completions"), sft), (Stream("preference", "pairs"), pairs), (TEXT, text)):
            ids += [row.id for row in encode(rows[among], stream, templates, tokenizer, 90)[0]]
    assert len(ids) == 36  # raw: 2 + 2 + 2, the others 4 + 4 + 2: none dropped
    assert (VERSION, hashlib.sha256(str(ids).encode()).hexdigest()[:16]) == (4, "7e672ee307d9e8bc")
