import json

import pytest
from omegaconf import OmegaConf

from xright.data.counts import EACH, EARLIER, NO_ANSWER
from xright.data.sources import Files
from xright.data.stream import streams_of
from xright.errors import UserError


@pytest.fixture
def write(tmp_path):
    def write(name, rows):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / name)

    return write


def questions(n, start=0):
    return [{"prompt": f"q{i}", "response": f"a{i}"} for i in range(start, start + n)]


def test_files_one_after_another_and_limit(write, files):
    paths = [write("a.jsonl", questions(3)), write("b.jsonl", questions(3, start=3))]
    assert list(files({"path": paths}, heldout=0).rows("sft", "train")) == questions(6)
    assert list(files({"path": paths, "limit": 4}, heldout=0).rows("sft", "train")) == questions(4)
    assert list(files({"path": paths, "limit": 2}, heldout=0).rows("sft", "train")) == questions(2)


def test_files_of_different_shapes_in_one_stream(write, files):
    alpaca = write("a.jsonl", [{"instruction": "q0", "input": "", "output": "a0"}])
    paths = [alpaca, write("b.jsonl", questions(1, 1))]
    assert list(files({"path": paths}, heldout=0).rows("sft", "train")) == questions(2)


def test_split_is_by_prompt_and_repeats_are_kept(write, files):
    rows = questions(300) * 2
    source = files({"path": write("a.jsonl", rows)}, heldout=0.2)
    train, held_out = source.rows("sft", "train"), source.rows("sft", "eval")
    assert len(train) + len(held_out) == 600
    assert not {row["prompt"] for row in train} & {row["prompt"] for row in held_out}
    assert 60 < len(held_out) < 180  # 120 expected


def test_one_prompt_falls_on_one_side_in_both_streams(write, files):
    pairs = [{"prompt": f"q{i}", "chosen": "a", "rejected": "b"} for i in range(300)]
    source = files({"path": write("a.jsonl", questions(300))}, {"path": write("b.jsonl", pairs)}, heldout=0.2)
    held_out = [row["prompt"] for row in source.rows("sft", "eval")]
    assert held_out == [row["prompt"] for row in source.rows("preference", "eval")]


def test_evaluation_rows_of_their_own(write, files):
    options = {"path": write("a.jsonl", questions(9)), "eval_path": write("b.jsonl", questions(5, start=7))}
    source = files({**options, "eval_rows": 3}, heldout=0.5)
    assert list(source.rows("sft", "train")) == questions(9)  # nothing split off
    assert source.notes("sft", "train") == []
    assert source.notes("sft", "eval") == ["sft: the prompts of 2 of 5 evaluation rows are trained on too"]  # q7, q8
    held_out = source.rows("sft", "eval")
    assert len(held_out) == 3
    assert [row for row in questions(5, start=7) if row in held_out] == list(held_out)
    sliced = files({"path": options["path"], "split": "train[:6]", "eval_split": "train[6:]"})
    assert list(sliced.rows("sft", "train")) == questions(6)
    assert list(sliced.rows("sft", "eval")) == questions(3, start=6)


def test_training_rows_are_drawn_by_the_seed_whatever_their_order(write, files):
    rows = questions(200)
    path, turned = write("a.jsonl", rows), write("b.jsonl", rows[::-1])

    def drawn(path, n, seed=0, **options):
        source = files({"path": path, "train_rows": n, **options}, heldout=0.25, seed=seed)
        return [row["prompt"] for row in source.rows("sft", "train")], source

    few, source = drawn(path, 30)
    assert len(few) == 30
    assert sorted(few) == sorted(drawn(turned, 30)[0])
    assert set(few) < set(drawn(path, 60)[0])  # a larger cap only adds rows
    assert set(few) != set(drawn(path, 30, seed=1)[0])
    held_out = files({"path": path}, heldout=0.25).rows("sft", "eval")
    assert list(source.rows("sft", "eval")) == list(held_out)  # the cap is of training rows alone
    said = source.rows("sft", "train").about.said
    assert said == {"more, beyond data.streams.sft.train_rows": 200 - len(held_out) - 30}
    assert source.identity("sft", "train") != files({"path": path}, heldout=0.25).identity("sft", "train")
    assert source.identity("sft", "eval") == files({"path": path}, heldout=0.25).identity("sft", "eval")
    apart, source = drawn(path, 30, eval_path=write("c.jsonl", questions(9)))
    assert len(apart) == 30
    shared = len({row["prompt"] for row in questions(9)} & {*apart})
    assert source.notes("sft", "eval") == (
        [f"sft: the prompts of {shared} of 9 evaluation rows are trained on too"] if shared else []
    )


def test_text_is_the_training_rows_of_both_streams(write, files):
    pairs = [{"prompt": "p", "chosen": "good", "rejected": "bad"}]
    source = files({"path": write("a.jsonl", questions(1))}, {"path": write("b.jsonl", pairs)}, heldout=0)
    assert list(source.rows("text", "train")) == [
        {"prompt": "q0", "response": "a0", "stream": "sft"},
        {"prompt": "p", "response": "good", "stream": "preference"},
    ]
    with pytest.raises(UserError, match="text has no split 'eval'"):
        source.rows("text", "eval")


def test_text_is_in_the_order_of_the_streams_which_is_part_of_what_it_depends_on(write):
    given = {
        name: {"kind": "completions", "path": write(f"{name}.jsonl", questions(1, i))} for i, name in enumerate("ab")
    }
    sources = [Files(streams_of({name: given[name] for name in order}), heldout=0) for order in ("ab", "ba")]
    texts = [[row["stream"] for row in source.rows("text", "train")] for source in sources]
    assert texts == [["a", "b"], ["b", "a"]]
    keys = {json.dumps(source.identity("text", "train"), sort_keys=True) for source in sources}
    assert len(keys) == 2


def test_unusable_conversations_are_counted(write, files):
    user, bot = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}
    path = write("a.jsonl", [{"messages": [user, bot]}, {"messages": [user, bot, user]}, {"messages": [bot]}])
    source = files({"path": path}, heldout=0)
    assert list(source.rows("sft", "train")) == [{"prompt": [user], "response": "Hello!"}]
    assert source.rows("sft", "train").about.dropped == {NO_ANSWER: 2}
    with pytest.raises(
        UserError, match=r"None of the 1 rows of .* can be used \(1 conversations that .* check the columns"
    ):
        files({"path": write("b.jsonl", [{"messages": [bot]}])}).rows("sft", "train")


def test_columns_mapping_and_options_from_yaml(write, files):
    path = write("a.jsonl", [{"q": "q0", "r": "a0", "prompt": "not this"}])
    given = OmegaConf.create(
        {"path": [path], "subset": None, "split": None, "columns": {"prompt": "q", "response": "r"}}
    )
    assert list(files(given, heldout=0).rows("sft", "train")) == questions(1)


def test_wrong_columns_name_the_file(write, files):
    with pytest.raises(UserError, match=r"a\.jsonl' has the columns q, r, but completions need messages or instr"):
        files({"path": write("a.jsonl", [{"q": "", "r": ""}])}).rows("sft", "train")


def test_both_splits_are_of_one_reading(write, files):
    source = files({"path": write("a.jsonl", questions(2))}, heldout=0)
    assert list(source.rows("sft", "train")) == questions(2)
    write("a.jsonl", questions(3))
    assert list(source.rows("sft", "train")) == questions(2)
    assert source.tokenizer() is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sft": None}, r"data\.streams=\{.*\} holds no stream; give at least one"),
        ({"heldout": 1.0}, r"data\.source\.heldout=1\.0 must be in \[0, 1\)"),
        (
            {"sft": {"path": "a.jsonl", "eval_rows": 0}},
            "data.streams.sft.eval_rows=0 must be a whole number of rows >= 1",
        ),
        (
            {"sft": {"path": "a.jsonl", "train_rows": 0}},
            "data.streams.sft.train_rows=0 must be a whole number of rows >= 1",
        ),
        ({"sft": {"path": "a.jsonl", "eval_rows": "x"}}, "data.streams.sft.eval_rows='x' must be"),
        ({"heldout": "some"}, r"data\.source\.heldout='some' must be"),
        ({"seed": "x"}, r"data\.source\.seed='x' must be a whole number"),
        ({"sft": {"path": "a.jsonl", "splits": "x"}}, "unknown key 'splits'; use kind, path, split, subset"),
        ({"sft": {"path": None}}, "data.streams.sft has no path"),
        ({"sft": {"path": "a.jsonl", "kind": "text"}}, r"data\.streams\.sft\.kind='text' must be completions or pairs"),
        ({"sft": {"path": "a.jsonl", "limit": 0}}, "data.streams.sft.limit=0"),
        ({"sft": {"path": "a.jsonl", "limit": 1.5}}, "data.streams.sft.limit=1.5 must be a whole number"),
        ({"sft": {"path": "a.jsonl", "columns": ["prompt"]}}, r"columns=\['prompt'\] must be \{expected: found"),
    ],
)
def test_bad_options_are_one_sentence(arguments, words, files):
    with pytest.raises(UserError, match=words):
        files(**{"sft": {"path": "a.jsonl"}, "preference": None, **arguments})


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (None, r"data\.streams=None holds no stream"),
        ({"sft": "a.jsonl"}, r"data\.streams\.sft='a\.jsonl' is no stream; give its keys"),
        ({"sft": {"path": "a.jsonl"}}, r"data\.streams\.sft\.kind=None must be completions or pairs"),
        *(({name: {"kind": "pairs"}}, rf"streams\.{name}: a stream needs a name of letters, .* other than text")
          for name in ("text", "a.b", 7)),
    ],
)  # fmt: skip
def test_streams_that_are_none(node, words):
    with pytest.raises(UserError, match=words):
        streams_of(node)


def test_splits_that_are_not_there(write, files):
    source = files({"path": write("a.jsonl", questions(3))}, heldout=0)
    with pytest.raises(UserError, match=r"No eval row is left .* heldout=0; raise data\.source\.heldout"):
        source.rows("sft", "eval")


def test_real_rows_of_both_streams(real_data, files):
    """Instructions and preferences on the same questions: the blank-line join makes their prompts equal."""
    sft = {"path": str(real_data / "sft" / "book_instructions.jsonl.gz")}
    preference = {"path": str(real_data / "pref" / "book_politeness.jsonl.gz")}
    source = files(sft, preference, heldout=0.1)
    prompts = {
        (stream, split): {row["prompt"] for row in source.rows(stream, split)}
        for stream in ("sft", "preference")
        for split in ("train", "eval")
    }
    assert len(source.rows("sft", "train")) + len(source.rows("sft", "eval")) == 836
    assert len(source.rows("preference", "train")) + len(source.rows("preference", "eval")) == 833
    assert len(prompts["sft", "eval"] & prompts["preference", "eval"]) > 50
    assert not prompts["sft", "eval"] & prompts["preference", "train"]
    assert not prompts["sft", "train"] & prompts["preference", "eval"]


def chats(n, turns=3):
    """n conversations of `turns` questions; every third begins as the one before it, and then goes another way."""
    found = []
    for i in range(n):
        start = i - 1 if i % 3 == 2 else i
        asked = [f"question {start}", *(f"question {i}, {j}" for j in range(1, turns))]
        found.append({"messages": [m for q in asked for m in (("user", q), ("assistant", f"answer to {q}"))], "id": i})
        found[-1]["messages"] = [{"role": role, "content": text} for role, text in found[-1]["messages"]]
    return found


def test_all_turns_of_a_conversation_are_on_one_side_and_so_is_every_prompt(write, files):
    """In both streams: pairs that ask a conversation's later question are where the conversation is."""
    rows = chats(120)
    pairs = [
        {"prompt": row["messages"][:k], "chosen": "a", "rejected": "b"} for row in rows for k in (1, 3, 5)
    ]  # as the conversation goes
    pairs += [{"prompt": f"question {i}", "chosen": "a", "rejected": "b"} for i in range(0, 120, 3)]
    given = {"path": write("a.jsonl", rows), "turns": "all"}
    source = files(given, {"path": write("b.jsonl", pairs)}, heldout=0.3)
    sides, openings = {}, {}
    for stream, answers in (("sft", "response"), ("preference", "chosen")):
        for side in ("train", "eval"):
            for row in source.rows(stream, side):
                assert isinstance(row[answers], str)
                prompt = row["prompt"] if isinstance(row["prompt"], str) else [t["content"] for t in row["prompt"]]
                first = prompt if isinstance(prompt, str) else prompt[0]
                sides.setdefault(json.dumps(prompt), set()).add(side)
                openings.setdefault(first, set()).add(side)
    assert len(openings) == 80
    assert all(len(found) == 1 for found in (*sides.values(), *openings.values()))
    assert {side for (side,) in openings.values()} == {"train", "eval"}
    learnt = [row["response"] for side in ("train", "eval") for row in source.rows("sft", side)]
    said = [turn["content"] for row in rows for turn in row["messages"] if turn["role"] == "assistant"]
    assert sorted(learnt) == sorted(said)  # each assistant turn exactly once


def test_what_is_said_of_the_data_adds_up(write, files):
    rows = [*chats(20), {"messages": [], "id": 21}, {"messages": [{"role": "user", "content": "?"}], "id": 22}]
    path = write("a.jsonl", rows)
    for turns, made in (("last", 20), ("all", 60)):
        source = files({"path": path, "turns": turns, "eval_rows": 2}, heldout=0.4)
        train, held_out = source.rows("sft", "train"), source.rows("sft", "eval")
        beyond = "more held out, beyond data.streams.sft.eval_rows"
        assert train.about.columns == ["messages"]
        assert train.about.unused == ["id"]
        assert train.about.dropped == {NO_ANSWER: 2}
        assert train.about.said == ({EACH: 40} if turns == "all" else {EARLIER: 20})
        assert held_out.about.dropped == {}
        assert len(train) + len(held_out) + held_out.about.said[beyond] == made
        assert made - train.about.said.get(EACH, 0) + sum(train.about.dropped.values()) == len(rows)


def test_turns_are_for_conversations_to_be_learnt(write, files):
    path = write("a.jsonl", questions(3))
    assert list(files({"path": path, "turns": "all"}, heldout=0).rows("sft", "train")) == questions(3)
    with pytest.raises(UserError, match=r"data\.streams\.sft\.turns='first' must be last or all"):
        files({"path": path, "turns": "first"})
    with pytest.raises(UserError, match=r"data\.streams\.preference\.turns='all' must be last: the sides of a pair"):
        files(None, {"path": path, "turns": "all"})


def test_turns_are_part_of_what_rows_depend_on(write, files):
    """Of both streams: with all turns of one, both are held out by openings."""
    path = write("a.jsonl", chats(3))
    pairs = write("b.jsonl", [{"prompt": "p", "chosen": "a", "rejected": "b"}])
    last, every = (files({"path": path, "turns": turns}, {"path": pairs}) for turns in ("last", "all"))
    for stream in ("sft", "preference", "text"):
        assert last.identity(stream, "train") != every.identity(stream, "train")
