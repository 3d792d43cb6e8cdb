import time

import pytest
from transformers import AutoTokenizer

from xright.data.counts import EMPTY, EQUAL, TOO_LONG, TRANSCRIPT, TWO_ANSWERS
from xright.data.prompts import BAR_FROM, CHUNK, Counts, Template, encode, encoded
from xright.data.stream import TEXT, Stream
from xright.errors import UserError

SFT = Stream("sft", "completions")
PREFERENCE = Stream("preference", "pairs")
LONG = 10_000  # a max_length that cuts nothing


@pytest.fixture(scope="module")
def neox(real_data):
    return AutoTokenizer.from_pretrained(real_data / "tokenizer_gptneox")


def shown(tokenizer, row):
    """(prompt, responses) of a row, decoded."""
    return tokenizer.decode(row.prompt), [tokenizer.decode(ids) for ids in row.responses]


def sft(*pairs):
    return [{"prompt": prompt, "response": response} for prompt, response in pairs]


def preference(*triples):
    return [dict(zip(("prompt", "chosen", "rejected"), triple, strict=True)) for triple in triples]


def test_trap_1_boundary_is_exact_and_shared(neox):
    """Jointly, the blank before the answer would join its first word: 'Assistant', ':', ' Yes'."""
    rows, counts = encode(preference(("Hi", "Yes", "No")), PREFERENCE, Template("plain"), neox, LONG)
    prompt = neox("User: Hi\nAssistant: ")["input_ids"]
    joint = neox("User: Hi\nAssistant: Yes")["input_ids"]
    assert joint[: len(prompt)] != prompt
    assert rows[0].prompt == prompt
    assert shown(neox, rows[0]) == ("User: Hi\nAssistant: ", ["Yes<|endoftext|>", "No<|endoftext|>"])
    assert (counts.merges, counts.checked, counts.altered) == (1, 1, 0)


def test_trap_1_boundary_that_joint_tokenisation_respects_is_not_counted(neox):
    _, counts = encode(sft(("Hi", " Yes")), SFT, Template("User: {instruction}\nAssistant:"), neox, LONG)
    assert (counts.merges, counts.checked, counts.altered) == (0, 1, 0)


@pytest.mark.parametrize("response", ["4", "4</s>", "4</s>\n"])
@pytest.mark.parametrize("template", ["plain", "raw", "Q: {instruction} A: "])
def test_trap_2_plain_text_gets_one_eos(byte_tokenizer, template, response):
    tokenizer = byte_tokenizer()
    rows, _ = encode(sft(("2 + 2?", response)), SFT, Template(template), tokenizer, LONG)
    assert shown(tokenizer, rows[0])[1] == ["4</s>"]


def test_trap_2_chatml_turn_ends_with_its_eos_once(byte_tokenizer, chatml):
    tokenizer = byte_tokenizer(eos="<|im_end|>", chat_template=chatml)
    rows, _ = encode(sft(("2 + 2?", "4")), SFT, Template("chat"), tokenizer, LONG)
    start = "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    assert shown(tokenizer, rows[0]) == (start, ["4<|im_end|>"])


def test_trap_2_chat_turn_that_does_not_end_with_eos_gets_one(byte_tokenizer, chatml):
    tokenizer = byte_tokenizer(eos="</s>", chat_template=chatml)
    rows, _ = encode(sft(("2 + 2?", "4")), SFT, Template("chat"), tokenizer, LONG)
    assert shown(tokenizer, rows[0])[1] == ["4<|im_end|>\n</s>"]


def test_trap_3_pad_that_equals_eos_changes_nothing(byte_tokenizer):
    rows = preference(("Hi", "Hello!", "Go</s>away"))
    plain, padded = byte_tokenizer(), byte_tokenizer()
    padded.pad_token = padded.eos_token
    expected, _ = encode(rows, PREFERENCE, Template("plain"), plain, LONG)
    found, _ = encode(rows, PREFERENCE, Template("plain"), padded, LONG)
    assert found == expected
    assert [ids[-1] for ids in found[0].responses] == [padded.pad_token_id] * 2


@pytest.mark.parametrize("around", ["<s> $A", "<s> $A </s>"])
def test_trap_4_bos_comes_once(byte_tokenizer, llama, around):
    tokenizer = byte_tokenizer(around, chat_template=llama)
    whole = {}
    for template, row in [("plain", ("Hi", "4")), ("raw", ("<s>Hi ", "4")), ("chat", ("Hi", "4"))]:
        rows, _ = encode(sft(row), SFT, Template(template), tokenizer, LONG)
        prompt, responses = shown(tokenizer, rows[0])
        whole[template] = prompt + "|" + responses[0]
    assert whole == {
        "plain": "<s>User: Hi\nAssistant: |4</s>",
        "raw": "<s>Hi |4</s>",
        "chat": "<s>[INST] Hi [/INST]| 4</s>",
    }


def test_trap_5_truncation_keeps_tokens_and_drops_rows_without_room(byte_tokenizer):
    """One token per byte, raw: a prompt of 4 leaves 3 for the response of max_length 7."""
    tokenizer = byte_tokenizer()
    rows = sft(("abcd", "wxyz"), ("abcd", "wx"), ("abcd", "wxy"), ("abcdefg", "w"), ("abcdef", "w"))
    found, counts = encode(rows, SFT, Template("raw"), tokenizer, 7)
    assert [shown(tokenizer, row) for row in found] == [
        ("abcd", ["wxy"]),  # truncated: no EOS written over the y
        ("abcd", ["wx</s>"]),  # fits, EOS included
        ("abcd", ["wxy"]),  # the EOS itself is cut
        ("abcdef", ["w"]),
    ]
    assert counts == Counts(
        rows=5, kept=4, dropped={TOO_LONG: 1}, truncated=3, checked=5, first=[*["abcd"] * 3, "abcdef"]
    )


def test_trap_5_says_so_once_per_stream_with_the_numbers(byte_tokenizer):
    rows = sft(*[("abcd", "wxyz")] * 1500, *[("abcdefg", "w")] * 2, ("a", " "))
    _, counts = encode(rows, SFT, Template("raw"), byte_tokenizer(), 7)
    assert counts.sentence("sft/train") == (
        "sft/train: 1500 of 1503 rows kept; 1 dropped: empty response; "
        "2 dropped: no room for a response within max_length; 1500 truncated"
    )


def test_a_chunk_at_a_time_is_all_at_once(byte_tokenizer):
    rows = sft(*[(f"question {i}", f"answer {i}" if i % 7 else " ") for i in range(2 * CHUNK + 300)])
    counts, read = Counts(), []

    class Watched(list):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    chunks = []
    for chunk in encoded(Watched(rows), SFT, Template("raw"), byte_tokenizer(), LONG, "train", counts):
        assert len(read) == len(chunks) + 1  # nothing is read ahead
        chunks.append(chunk)
    expected, expected_counts = encode(rows, SFT, Template("raw"), byte_tokenizer(), LONG)
    assert [row for chunk in chunks for row in chunk] == list(expected)
    assert counts == expected_counts
    assert (counts.rows, counts.kept, len(chunks)) == (2300, 2300 - 329, 3)  # i = 0, 7, …, 2296


def test_a_bar_for_many_rows(byte_tokenizer, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    for n, shown in ((BAR_FROM, False), (BAR_FROM + 1, True)):
        encode(sft(("a", "b")) * n, SFT, Template("raw"), byte_tokenizer(), LONG)
        assert (f"tokenise sft/train: 100%|██████████| {n}/{n}" in capsys.readouterr().err) == shown


def test_trap_5_nothing_left_is_an_error_with_the_numbers(byte_tokenizer):
    with pytest.raises(UserError, match=r"No row is left .*0 of 1 rows kept.*1 dropped: no room.*raise max_length"):
        encode(sft(("abcdefg", "w")), SFT, Template("raw"), byte_tokenizer(), 7)
    with pytest.raises(UserError, match="0 of 0 rows kept"):
        encode([], SFT, Template("raw"), byte_tokenizer(), 7)


def test_trap_8_hh_rows_keep_their_role_tag_once(real_data, neox, files):
    for name in ("hh_helpful_test", "hh_harmless_test"):
        source = files(None, {"path": str(real_data / "pref" / f"{name}.jsonl.gz"), "limit": 200}, heldout=0)
        pairs = source.rows("preference", "train")
        rows, counts = encode(pairs, PREFERENCE, Template("raw"), neox, LONG)
        assert counts.kept == counts.rows == 200
        for pair, row in zip(pairs, rows, strict=True):
            prompt, (chosen, rejected) = shown(neox, row)
            assert prompt.endswith("\n\n")
            assert not prompt.endswith("Assistant: \n\n")
            assert chosen.startswith("Assistant: ")
            assert rejected.startswith("Assistant: ")
            assert prompt + chosen == pair["prompt"] + pair["chosen"] + "<|endoftext|>"


def test_trap_8_the_real_hh_edge_rows(real_data, neox, files):
    """22 rows: 8 have one side that is a bare "Assistant: "."""
    source = files(None, {"path": str(real_data / "pref" / "hh_edge_rows.jsonl")}, heldout=0)
    pairs = source.rows("preference", "train")
    blank = sum("Assistant:" in (pair["chosen"].strip(), pair["rejected"].strip()) for pair in pairs)
    _, counts = encode(pairs, PREFERENCE, Template("raw"), neox, LONG)
    assert (counts.rows, counts.kept, counts.dropped) == (22, 14, {EMPTY: 8})
    assert blank == 8


def test_trap_9_equal_and_empty_sides_are_dropped_and_counted(byte_tokenizer):
    rows = preference(
        ("Hi", "Hello!", "Go"),
        ("Hi", "Hello!", "Hello!"),  # equal
        ("Hi", "Hello!</s>", "Hello!"),  # equal but for the EOS that ends every response
        ("Hi", "Hello! And you?", "Hello! And them?"),  # equal once cut: 2 + 10 of max_length 12
        ("Hi", "", "Go"),
        ("Hi", "Hello!", " \n"),
        ("Hi", "Assistant: ", "Assistant: Go"),  # raw: the role tag alone
        ("Hi", "</s>", "Go"),  # nothing but EOS
    )
    found, counts = encode(rows, PREFERENCE, Template("raw"), byte_tokenizer(), 12)
    assert len(found) == 1
    assert counts.dropped == {EMPTY: 4, EQUAL: 3}
    assert (counts.rows, counts.kept, counts.checked) == (8, 1, 5)


def test_conversations_that_the_chat_template_rewrites_are_counted(byte_tokenizer, llama):
    thinking = llama + "{% if add_generation_prompt %}<think>{% endif %}"  # not there once it is answered
    with pytest.raises(
        UserError, match="1 dropped: the chat template does not write the answered conversation as it writes the prompt"
    ):
        encode(sft(("Hi", "4")), SFT, Template("chat"), byte_tokenizer(chat_template=thinking), LONG)
    system = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    rows = sft(("Hi", "4"), (system, "4"))  # the template refuses system turns
    _, counts = encode(rows, SFT, Template("chat"), byte_tokenizer(chat_template=llama), LONG)
    assert (counts.kept, counts.dropped) == (1, {"the chat template refuses: roles must be user and assistant": 1})


def test_real_conversations_through_chatml(real_data, byte_tokenizer, chatml, files):
    tokenizer = byte_tokenizer(eos="<|im_end|>", chat_template=chatml)
    source = files(None, {"path": str(real_data / "pref" / "conversational_demo.jsonl.gz"), "limit": 60}, heldout=0)
    pairs = source.rows("preference", "train")
    rows, counts = encode(pairs, PREFERENCE, Template("chat"), tokenizer, 100_000)
    assert counts.kept == 60
    for pair, row in zip(pairs, rows, strict=True):
        prompt, responses = shown(tokenizer, row)
        assert prompt.count("<|im_start|>") == len(pair["prompt"]) + 1
        assert responses == [pair["chosen"] + "<|im_end|>", pair["rejected"] + "<|im_end|>"]


def test_text_is_learnt_whole(byte_tokenizer):
    tokenizer = byte_tokenizer("<s> $A </s>")
    rows = [
        {"prompt": "", "response": "User: Hi\nAssistant: Hello!"},  # as it is
        {"prompt": "", "response": "<s>Hi"},
        {"prompt": "Hi", "response": "Hello!", "stream": "sft"},
        {"prompt": "H: Hi\n\n", "response": "Assistant: Yo", "stream": "preference"},
    ]
    templates = {"sft": Template("plain"), "preference": Template("raw")}
    found, _ = encode(rows, TEXT, templates, tokenizer, LONG)
    assert [shown(tokenizer, row) for row in found] == [
        ("<s>", ["User: Hi\nAssistant: Hello!</s>"]),
        ("<s>", ["Hi</s>"]),
        ("<s>", ["User: Hi\nAssistant: Hello!</s>"]),
        ("<s>", ["H: Hi\n\nAssistant: Yo</s>"]),
    ]
    bare, _ = encode(rows[:1], TEXT, templates, byte_tokenizer(), LONG)
    assert bare[0].prompt == []


def test_ids_are_63_bit_hashes_of_the_content(byte_tokenizer):
    rows = sft(("ab", "cd"), ("abc", "d"), ("ab", "cd"))
    one, moved, again = encode(rows, SFT, Template("raw"), byte_tokenizer(), LONG)[0]
    assert one.id == again.id != moved.id  # same tokens in all, another boundary
    assert 0 <= one.id < 2**63
    assert encode(rows[:1], SFT, Template("raw"), byte_tokenizer(), LONG)[0][0].id == one.id


@pytest.mark.parametrize("max_length", [1, 0, 2.5, True, None])
def test_max_length_must_be_a_number_of_tokens(byte_tokenizer, max_length):
    with pytest.raises(UserError, match="must be a whole number of tokens >= 2"):
        encode(sft(("a", "b")), SFT, Template("raw"), byte_tokenizer(), max_length)


def test_tokenizer_without_eos_is_an_error(byte_tokenizer):
    with pytest.raises(UserError, match="no EOS token"):
        encode(sft(("a", "b")), SFT, Template("raw"), byte_tokenizer(eos=None), LONG)


def test_thousands_of_real_rows_take_seconds(real_data, neox, files):
    source = files({"path": str(real_data / "sft" / "alpaca_random9k.jsonl.gz")}, heldout=0)
    rows = source.rows("sft", "train")
    start = time.perf_counter()
    found, counts = encode(rows, SFT, Template("plain"), neox, 256)
    assert time.perf_counter() - start < 20  # about 1.5 s on two cores; a call per row takes 10 times as long
    assert counts.rows == 6913
    assert counts.kept == len(found) > 6800
    assert max(len(row.prompt) + len(row.responses[0]) for row in found) == 256


def test_every_row_is_kept_or_dropped_for_a_reason_that_is_counted(byte_tokenizer, llama):
    user, bot, tool = ({"role": role, "content": "Hi"} for role in ("user", "assistant", "tool"))
    call = {**bot, "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    rows = [
        *sft(("Hi", "Hello!"), ([user, bot, user], "4")),  # kept
        *sft(("Hi", " "), ("x" * 99, "y")),
        *sft(([user, tool], "4"), ([user], call), ({"messages": [user], "tools": [{"name": "f"}]}, "4")),
        *[{"prompt": "a\ufdd0", "response": "b"}] * 2,
    ]
    _, counts = encode(rows, SFT, Template("chat"), byte_tokenizer(chat_template=llama), 60)
    assert counts.dropped == {
        "empty response": 1,
        "no room for a response within max_length": 1,
        "the chat template refuses: roles must be user and assistant": 1,
        "tool calls, which the chat template does not write": 1,
        "tools, which the chat template does not write": 1,
        "text with the character U+FDD0, which Unicode keeps for programs": 2,
    }
    assert (counts.rows, counts.kept) == (9, 2)
    assert counts.rows == counts.kept + sum(counts.dropped.values())


def test_reasons_in_a_row_s_own_words_do_not_fill_the_line(byte_tokenizer):
    template = "{% if messages[0].content != 'ok' %}{{ raise_exception('no ' + messages[0].content) }}{% endif %}"
    template += "{% for m in messages %}[{{ m.content }}]{% endfor %}"
    rows = sft(("ok", "a"), *[(f"word {i}", "a") for i in range(50)])
    _, counts = encode(rows, SFT, Template("chat"), byte_tokenizer(chat_template=template), LONG)
    assert len(counts.dropped) == 7
    assert counts.dropped["other reasons"] == 44
    assert counts.rows == counts.kept + sum(counts.dropped.values()) == 51


def test_keys_of_messages_are_used_or_not(byte_tokenizer):
    chat = (
        "{% for m in messages %}{{ m.name or '' }}:{{ m.content }}{% for c in m.tool_calls or [] %}{{ c }}{% endfor %}"
    )
    tokenizer = byte_tokenizer(chat_template=chat + "</s>{% endfor %}")
    user = {"role": "user", "content": "Hi", "mood": 1, "name": "Ann"}
    call = {"role": "assistant", "content": "Yo", "tool_calls": ["f"], "id": 3}
    rows = sft(("Hi", "Hello!"), ([user], call))
    _, counts = encode(rows, SFT, Template("chat"), tokenizer, LONG)
    assert counts.keys == {
        "role": True, "content": True, "mood": False, "name": True, "tool_calls": True, "id": False
    }  # fmt: skip
    assert "message keys role, content, name, tool_calls (unused: mood, id)" in counts.sentence("sft/train")
    _, counts = encode(sft(([user], "Yo")), SFT, Template("plain"), tokenizer, LONG)
    assert counts.sentence("s") == "s: 1 of 1 rows kept; message keys role, content (unused: mood, name)"
    _, counts = encode(sft(("Hi", "Hello!")), SFT, Template("chat"), tokenizer, LONG)
    assert counts.keys == {}


USER, BOT = ({"role": role, "content": "Hi"} for role in ("user", "assistant"))


@pytest.mark.parametrize(
    ("prompt", "template", "said"),
    [
        ([USER], "chat", {}),
        ([USER, BOT, USER], "chat", {}),
        ([USER, BOT], "chat", {TWO_ANSWERS: 1}),
        ([USER, BOT, BOT, USER], "plain", {TWO_ANSWERS: 1}),
        ([USER, BOT, {"role": "tool", "content": "Hi"}], "plain", {}),
        ("\n\nHuman: Hi\n\nAssistant:", "plain", {TRANSCRIPT: 1}),
        ("Human: Hi\n\nAssistant: Hello!", "Q: {instruction} A: ", {TRANSCRIPT: 1}),
        ("### User: Hi\n### ASSISTANT :", "chat", {TRANSCRIPT: 1}),
        ("Human: Hi\nAssistant: Hello!\nUser: Well?", "plain", {}),
        ("Who is my Assistant: you?", "plain", {}),
        ("Human: Hi\n\nAssistant:", "raw", {}),
        ("Human: Hi\n\nAssistant:", "{instruction}", {}),
    ],
)
def test_two_assistant_turns_in_a_row_are_written_as_two_and_said(byte_tokenizer, chatml, prompt, template, said):
    tokenizer = byte_tokenizer(chat_template=chatml)
    rows, counts = encode([{"prompt": prompt, "response": "Yes"}], SFT, Template(template), tokenizer, LONG)
    assert (len(rows), counts.said) == (1, said)
    pair = [{"prompt": prompt, "chosen": "Yes", "rejected": "No"}]
    assert encode(pair, PREFERENCE, Template(template), tokenizer, LONG)[1].said == said
    if said and template == "chat" and prompt == [USER, BOT]:
        answer = "<|im_start|>assistant\n"
        assert shown(tokenizer, rows[0])[0] == f"<|im_start|>user\nHi<|im_end|>\n{answer}Hi<|im_end|>\n{answer}"


def test_a_chat_template_that_takes_turns_drops_two_in_a_row_with_its_own_words(byte_tokenizer):
    """As Mistral's, Gemma's and Llama 2's do."""
    turns = "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    turns += "{{ raise_exception('roles must alternate') }}{% endif %}{{ m.content }}{% endfor %}"
    rows = sft(([USER, BOT], "Yes"), ([USER], "Yes"))
    _, counts = encode(rows, SFT, Template("chat"), byte_tokenizer(chat_template=turns), LONG)
    assert counts.dropped == {"the chat template refuses: roles must alternate": 1}
    assert counts.said == {}


def test_a_prompt_of_many_blank_lines_takes_no_time(byte_tokenizer):
    start = time.process_time()
    encode(sft(("\n" * 200_000 + " " * 200_000, "Yes")), SFT, Template("plain"), byte_tokenizer(), 10**6)
    assert time.process_time() - start < 5
