"""Streams are data: more than two, from a command line or a yaml alone; and keys that have moved, in one sentence."""

import json
import re

import numpy as np
import pytest
import yaml

from xright.config.moved import renamed
from xright.data.world import World

SMALL = ["hidden_size=16", "num_hidden_layers=1", "num_attention_heads=2", "intermediate_size=32"]
PREPARE = [
    "stage=prepare", "trainer=cpu", "logger=csv", "threads=1", "epochs=1", "model.pretrain.steps=2", "reference=base",
    "data.source.heldout=0.2", "data.max_length=64",
    *(f"model.init.{size}" for size in SMALL), "model.tokenizer=tokenizer",
]  # fmt: skip
PATHS = ["data.streams.sft.path=sft.jsonl", "data.streams.preference.path=preference.jsonl"]
TEMPLATE = "<user> {instruction} <bot> "
N = 40


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Files with rows of the generated world under other names than its own, and its tokenizer."""
    place, world = tmp_path_factory.mktemp("streams"), World(sft_rows=N, preference_rows=2 * N)
    pairs = world.rows("preference", "train")
    for name, rows in (("sft", world.rows("sft", "train")), ("preference", pairs[:N]), ("safety", pairs[N:])):
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    world.tokenizer().save_pretrained(place / "tokenizer")
    return place


@pytest.fixture
def prepared(place, command_line, tmp_path):
    """prepared(*arguments): {(stream, split): rows kept by the log}, and {stream: parts of a row in the cache}."""

    def prepared(*arguments):
        cache = tmp_path / "cache"
        done = command_line.run(place, *arguments, *PREPARE, XRIGHT_CACHE=str(cache))
        assert done.returncode == 0, done.stderr
        kept = re.findall(r"(\w+)/(train|eval): (\d+) of \d+ rows kept", done.stderr)
        parts = {}
        for entry in (cache / "tokens").glob("*/lengths.npy"):
            key = yaml.safe_load((entry.parent / "config.yaml").read_text())
            parts[key["stream"]] = np.load(entry).shape[1]
        return {(stream, split): int(n) for stream, split, n in kept}, parts

    return prepared


def add_up(kept, streams):
    """Is every row of every stream on one of its sides, and every training row a text of the base?"""
    assert kept.keys() == {*((stream, split) for stream in streams for split in ("train", "eval")), ("text", "train")}
    assert all(kept[stream, "train"] + kept[stream, "eval"] == N for stream in streams)
    assert kept["text", "train"] == sum(kept[stream, "train"] for stream in streams)


def test_a_third_stream_by_the_command_line(prepared):
    templates = [f"data.streams.{name}.template='{TEMPLATE}'" for name in ("sft", "preference", "safety")]
    third = ["+stream@data.streams.safety=pairs", "data.streams.safety.path=safety.jsonl"]
    third += ["+objective@objectives.safety=dpo", "objectives.safety.stream=safety"]
    kept, parts = prepared("data=files", *PATHS, *third, *templates)
    add_up(kept, ("sft", "preference", "safety"))
    assert parts == {"sft": 2, "preference": 3, "safety": 3, "text": 2}  # prompt and responses


def test_streams_by_a_yaml_that_names_what_it_must(prepared, place):
    """Every key but kind and path may be left out. Here the batch size and the template are the streams' own."""
    (place / "mine/data").mkdir(parents=True, exist_ok=True)
    streams = {
        "sft": {"kind": "completions", "path": "sft.jsonl", "template": TEMPLATE},
        "terse": {"kind": "completions", "path": "sft.jsonl", "template": TEMPLATE, "batch_tokens": 400},
        "preference": {"kind": "pairs", "path": "preference.jsonl", "template": TEMPLATE},
    }
    source = {"_target_": "xright.data.sources.Files", "heldout": 0.05}
    (place / "mine/data/mine.yaml").write_text(yaml.safe_dump({"source": source, "max_length": 64, "streams": streams}))
    kept, parts = prepared(
        "--config-dir=mine", "data=mine", "+objective@objectives.terse=sft", "objectives.terse.stream=terse"
    )
    add_up(kept, streams)
    assert parts == {"sft": 2, "terse": 2, "preference": 3, "text": 2}


def test_three_streams_of_the_generated_world(place, command_line, tmp_path):
    done = command_line.run(
        place, "experiment=three_objectives", "debug=fast", "stage=prepare", "logger=csv", "trainer=cpu",
        XRIGHT_CACHE=str(tmp_path / "cache"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.findall(r"\] (\w+)/train: (\d+) of", done.stderr)[-1:] == [("text", "256")]
    assert {("sft", "96"), ("preference", "32"), ("terse", "96")} <= {
        *re.findall(r"(\w+)/train: (\d+) of", done.stderr)
    }


MOVED = {
    ("data.source.sft.path=a.jsonl",): "data.source.sft.path has moved; give data.streams.sft.path=a.jsonl.",
    ("++data.source.preference.limit=3",): "give ++data.streams.preference.limit=3.",
    ("+data.source.sft.columns.prompt=q",): "give ++data.streams.sft.columns.prompt=q.",
    ("~data.source.sft.limit",): "give '~data.streams.sft.limit'.",
    ("data.source.sft=null",): "give data.streams.sft=null.",
    ("data.source.sft={path: a, columns: {prompt: q}}",):
        "give data.streams.sft.path=a data.streams.sft.columns.prompt=q.",
    ("data.templates.sft='{instruction} '",): """give "data.streams.sft.template='{instruction} '".""",
    ("data.templates={sft: plain, preference: 'Q: {instruction}'}",):
        """give data.streams.sft.template=plain 'data.streams.preference.template="Q: {instruction}"'.""",
    ("data.batch_size.sft=4", "data.batch_tokens={preference: null}"):
        "data.batch_size.sft, data.batch_tokens.preference have moved; give data.streams.sft.batch_size=4 "
        "data.streams.preference.batch_tokens=null.",
    ("data.batch_size=8",): "data.batch_size has moved; give 'data.streams.<name>.batch_size=8'.",
    ("data.source.eval_rows.preference=9",): "give data.streams.preference.eval_rows=9.",
    ("data.batch_size.sft=4,8", "lam=0.5", "-m"): "give data.streams.sft.batch_size=4,8.",
    ("data.batch_size.sft=4", "hydra/launcher=slurm", "-m"): "give data.streams.sft.batch_size=4.",
}  # fmt: skip


@pytest.mark.parametrize("arguments", MOVED, ids=" ".join)
def test_a_moved_key_is_answered_by_its_new_one(arguments, command_line, tmp_path):
    done = command_line.run(tmp_path, *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("xright: data.")
    assert line.endswith(MOVED[arguments])
    assert list(tmp_path.iterdir()) == []


def test_a_moved_key_in_a_yaml_of_ones_own(place, command_line, tmp_path):
    (tmp_path / "mine/data").mkdir(parents=True)
    old = {
        "defaults": ["files", "_self_"],
        "source": {"sft": {"path": "a.jsonl"}, "eval_rows": {"sft": 9}},
        "templates": {"preference": "Q: {instruction}"},
    }
    (tmp_path / "mine/data/mine.yaml").write_text(yaml.safe_dump(old, sort_keys=False))
    for more in ([], ["lam=0.25,0.5", "-m"]):
        done = command_line.run(tmp_path, "--config-dir=mine", "data=mine", *more)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].endswith(
            "data.source.sft.path, data.source.eval_rows.sft, data.templates.preference have moved; give "
            "data.streams.sft.path=a.jsonl data.streams.sft.eval_rows=9 "
            'data.streams.preference.template="Q: {instruction}".'
        )


def test_a_configuration_of_before_under_todays_keys():
    old = {"source": {"sft": {"path": ["a"]}, "seed": 0}, "templates": {"sft": "raw"}, "batch_size": {"sft": 4}}
    assert renamed({"data": old, "seed": 1}) == {
        "data": {"streams": {"sft": {"path": ["a"], "template": "raw", "batch_size": 4}}, "source": {"seed": 0}},
        "seed": 1,
    }
