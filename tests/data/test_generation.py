"""What `{% generation %}` marks, beside transformers' own token masks and beside rendering without the tag."""

import re
from pathlib import Path

import pytest
import trl
from transformers import AutoTokenizer

from xright.data.counts import BLOCKS, UNENDED
from xright.data.generation import has_blocks
from xright.data.prompts import encode
from xright.data.stream import TEXT, Stream
from xright.data.templates import Template
from xright.errors import UserError

SFT = Stream("sft", "completions")
TEMPLATES = Path(trl.__file__).parent / "chat_templates"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}BLOCK{% else %}{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WHOLE_TURN = "{% generation %}{{ m.content }}<|im_end|>\n{% endgeneration %}"
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi, größte Ehre 🙂"},
    {"role": "assistant", "content": "Hello! 🙂"},
    {"role": "user", "content": "1 + 1?"},
    {"role": "assistant", "content": "It is 2."},
]
ADD = {"name": "add", "arguments": {"a": 1}}
CALLED = [
    {"role": "user", "content": "Add them."},
    {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": ADD}]},
    {"role": "tool", "name": "add", "content": "2"},
    {"role": "assistant", "content": "It is 2."},
]  # fmt: skip
UNTAGGED = re.compile(r"\{%-? *(end)?generation *-?%\}")


@pytest.fixture
def marked(byte_tokenizer):
    """marked(block): a token for each byte, ChatML, and `block` for an assistant's turn after its header."""
    return lambda block: byte_tokenizer(eos="<|im_end|>", chat_template=CHATML.replace("BLOCK", block))


def rows_of(talk):
    """A row for each assistant turn, as turns=all makes them."""
    return [
        {"prompt": talk[:place], "response": turn if "tool_calls" in turn else turn["content"]}
        for place, turn in enumerate(talk)
        if turn["role"] == "assistant"
    ]


def learnt(tokenizer, rows, max_length=10_000):
    """[(prompt, response)] of the rows, decoded, and their counts."""
    found, counts = encode(rows, SFT, Template("chat"), tokenizer, max_length)
    return [(tokenizer.decode(row.prompt), tokenizer.decode(row.responses[0])) for row in found], counts


def masked(tokenizer, talk):
    """What transformers masks of the last answer: (text before, text of the mask)."""
    found = tokenizer.apply_chat_template(talk, return_dict=True, return_assistant_tokens_mask=True)
    ids, mask = found["input_ids"], found["assistant_masks"]
    end = len(mask) - mask[::-1].index(1)
    begin = end - [*mask[:end][::-1], 0].index(0)
    return tokenizer.decode(ids[:begin]), tokenizer.decode(ids[begin:end])


def assert_as_masked(tokenizer, talk):
    rows = rows_of(talk)
    for row, (prompt, response) in zip(rows, learnt(tokenizer, rows)[0], strict=True):
        own = row["response"]
        turn = own if isinstance(own, dict) else {"role": "assistant", "content": own}
        before, text = masked(tokenizer, [*row["prompt"], turn])
        assert prompt == before
        end = text.rfind(tokenizer.eos_token) + len(tokenizer.eos_token)
        assert response == (text if text[end:].strip() else text[:end])  # the line break after an EOS is not learnt


@pytest.mark.parametrize(
    ("name", "talk"),
    [
        *((name, TALK) for name in ("qwen3", "qwen2_5", "llama3", "phi3", "gptoss", "glm4moe", "qwen3_instruct_2507")),
        *((name, TALK[1:]) for name in ("gemma", "deepseek_r1_distill", "nemotron_3_nano")),
        *((name, CALLED) for name in ("qwen3", "qwen2_5", "gptoss", "glm4moe", "qwen3_instruct_2507")),
    ],
)
def test_trls_training_templates_are_learnt_as_transformers_masks_them(byte_tokenizer, name, talk):
    template = (TEMPLATES / f"{name}_training.jinja").read_text()
    assert_as_masked(byte_tokenizer(eos="<|im_end|>", chat_template=template), talk)


def test_a_real_tokenizer_gives_the_masked_tokens(real_data):
    """Token for token, with a control token in the place of line breaks, so that what follows the EOS is no blank."""
    tokenizer = AutoTokenizer.from_pretrained(real_data / "tokenizer_gptneox")
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>", "additional_special_tokens": ["<|im_start|>", "<|sep|>"]})
    tokenizer.chat_template = CHATML.replace("BLOCK", WHOLE_TURN).replace("\n", "<|sep|>")
    whole = tokenizer.apply_chat_template(TALK, return_dict=True, return_assistant_tokens_mask=True)
    trained = [token for token, on in zip(whole["input_ids"], whole["assistant_masks"], strict=True) if on]
    found, _ = encode(rows_of(TALK), SFT, Template("chat"), tokenizer, 10_000)
    assert [token for row in found for token in row.responses[0]] == trained
    assert found[1].prompt + found[1].responses[0] == whole["input_ids"]


def test_the_whole_turn_in_a_block_is_what_is_learnt_without_the_tag(marked):
    """To the token and the row's id, of one turn or many, also when cut."""
    tagged, plain = marked(WHOLE_TURN), marked(UNTAGGED.sub("", WHOLE_TURN))
    rows = [*rows_of(TALK), {"prompt": "2 + 2?", "response": "4 is what it is."}]
    for max_length in (10_000, 90, 40):
        (found, counts), (expected, others) = (
            encode(rows, SFT, Template("chat"), tokenizer, max_length) for tokenizer in (tagged, plain)
        )
        assert list(found) == list(expected)
        assert counts == others
    assert (counts.truncated, counts.dropped) == (1, {"no room for a response within max_length": 2})


def test_what_stands_before_a_block_is_prompt(marked):
    before = marked("<think></think>{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}\n")
    ((prompt, response),), counts = learnt(before, rows_of(TALK[1:3]))
    assert prompt.endswith("<|im_start|>assistant\n<think></think>")
    assert response == "Hello! 🙂<|im_end|>"
    assert not counts.said


def test_a_header_in_the_block_is_learnt(byte_tokenizer):
    template = (
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}<|im_start|>assistant\n{{ m.content }}"
        "<|im_end|>{% endgeneration %}{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    found, _ = learnt(byte_tokenizer(eos="<|im_end|>", chat_template=template), rows_of(TALK))
    assert [response for _, response in found] == [
        "<|im_start|>assistant\nHello! 🙂<|im_end|>",
        "<|im_start|>assistant\nIt is 2.<|im_end|>",
    ]


@pytest.mark.parametrize("max_length", [10_000, 70])
def test_an_end_of_turn_outside_the_block_is_not_learnt_and_that_is_said(marked, max_length):
    """Hand count: 66 tokens of prompt, 8 of "It is 2."; whole, no EOS follows, and cut, four of them are left."""
    rows = [{"prompt": "a" * 30, "response": "It is 2."}]
    tokenizer = marked("{% generation %}{{ m.content }}{% endgeneration %}<|im_end|>\n")
    found, counts = encode(rows, SFT, Template("chat"), tokenizer, max_length)
    prompt = 1 + len("user\n") + 30 + 1 + len("\n") + 1 + len("assistant\n")
    assert len(found[0].prompt) == prompt
    expected = "It is 2."[: max_length - prompt]
    assert tokenizer.decode(found[0].responses[0]) == expected
    assert counts.truncated == (len(expected) < 8)
    assert counts.said == {UNENDED: 1}


@pytest.mark.parametrize(
    "block",
    [
        "{{ m.content }}<|im_end|>\n{% if false %}{% generation %}{% endgeneration %}{% endif %}",
        "{% generation %}{% endgeneration %}{{ m.content }}<|im_end|>\n",
        "{% generation %}{{ m.content }}{% endgeneration %}. {% generation %}<|im_end|>{% endgeneration %}\n",
    ],
)
def test_an_answer_that_is_not_one_block_is_dropped_with_its_reason(marked, block):
    with pytest.raises(
        UserError, match=re.escape(f"No row is left (sft/train: 0 of 2 rows kept; 2 dropped: {BLOCKS})")
    ):
        learnt(marked(block), rows_of(TALK))


def test_pairs_share_the_prompt_before_their_blocks(marked):
    pairs = [{"prompt": "Hi", "chosen": "yes", "rejected": "no"}]
    block = "{{ m.content[0] }}{% generation %}{{ m.content[1:] }}<|im_end|>{% endgeneration %}\n"
    preference, chat = Stream("preference", "pairs"), Template("chat")
    with pytest.raises(UserError, match="does not mark as one"):
        encode(pairs, preference, chat, marked(block), 99)
    pairs[0]["rejected"] = "yoo"
    (row,), _ = encode(pairs, preference, chat, tokenizer := marked(block), 99)
    assert tokenizer.decode(row.prompt).endswith("assistant\ny")
    assert [tokenizer.decode(response) for response in row.responses] == ["es<|im_end|>", "oo<|im_end|>"]


def test_of_whole_texts_everything_is_learnt(marked):
    text = [{"prompt": "Hi", "response": "Ho", "stream": "sft"}]
    tokenizer = marked("{% generation %}{{ m.content }}{% endgeneration %}<|im_end|>\n")
    (row,), _ = encode(text, TEXT, {"sft": Template("chat")}, tokenizer, 99)
    assert tokenizer.decode(row.responses[0]) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>"


def test_an_end_of_turn_that_is_written_in_a_row_ends_no_block(marked):
    rows = [{"prompt": "Hi", "response": "the name <|im_end|> of a token"}]
    ((_, response),), _ = learnt(marked(WHOLE_TURN), rows)
    assert response == "the name <|im_end|> of a token<|im_end|>"


@pytest.mark.parametrize(
    ("template", "found"),
    [
        (None, False),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", False),
        ("{% if add_generation_prompt %}{% endif %}", False),
        ("{# Added {% generation %}\n for TRL #}{{ messages }}", False),
        ("{%- generation -%}{{ messages }}{% endgeneration %}", True),
        ({"default": "{{ messages }}", "tool_use": "{%generation%}{% endgeneration %}"}, True),
    ],
)
def test_the_tag_is_found(template, found):
    assert has_blocks(template) is found
