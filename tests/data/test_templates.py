import pytest

from xright.data.messages import Unusable
from xright.data.templates import Template
from xright.errors import UserError

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "1 + 1?"},
]


def test_plain_is_the_template_of_the_paper():
    assert Template("plain").render(None, "1 + 1?") == "User: 1 + 1?\nAssistant: "


def test_raw_leaves_the_prompt_alone():
    assert Template("raw").render(None, "\n\nHuman: Hi\n\n") == "\n\nHuman: Hi\n\n"


def test_own_text_keeps_its_other_braces_and_those_of_the_prompt():
    assert Template("{a} Q: {instruction} A:").render(None, "{b} {instruction}") == "{a} Q: {b} {instruction} A:"


@pytest.mark.parametrize("code", [".__class__", "[0]", "!r", ":>9"])
def test_a_slot_is_no_format_string(code):
    for spec in (f"{{instruction{code}}}", f"{{instruction}} {{instruction{code}}}"):
        with pytest.raises(UserError, match=r"template='.*(is unknown|asks for more than \{instruction\})"):
            Template(spec)


def test_conversation_in_plain_reads_as_a_transcript():
    expected = "User: Be brief.\n\nHi\nAssistant: Hello!\nUser: 1 + 1?\nAssistant: "
    assert Template("plain").render(None, TURNS) == expected
    assert Template("Q: {instruction}\nA: ").render(None, TURNS[3:]) == "Q: 1 + 1?\nA: "


def test_conversation_in_raw_is_an_error():
    with pytest.raises(UserError, match="template=raw takes text prompts"):
        Template("raw").render(None, TURNS)


def test_chat_is_the_tokenizers_own_template(byte_tokenizer, chatml):
    tokenizer = byte_tokenizer(eos="<|im_end|>", chat_template=chatml)
    start, responses = Template("chat").write(tokenizer, "1 + 1?", ["2", "6"])
    assert start == "<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n"
    assert start == Template("chat").render(tokenizer, [{"role": "user", "content": "1 + 1?"}])
    assert responses == ["2<|im_end|>\n", "6<|im_end|>\n"]


def test_chat_without_a_template_names_the_remedy(byte_tokenizer):
    with pytest.raises(UserError, match="has none; use template=plain"):
        Template("chat").render(byte_tokenizer(), "Hi")


def test_refusal_of_the_chat_template_is_told_in_its_own_words(byte_tokenizer, llama):
    tokenizer = byte_tokenizer(chat_template=llama)
    with pytest.raises(UserError, match=r"The chat template refuses: roles must be user and assistant; use"):
        Template("chat").render(tokenizer, TURNS)
    with pytest.raises(Unusable, match="the chat template refuses: roles must be user and assistant"):
        Template("chat").write(tokenizer, TURNS, ["2"])


@pytest.mark.parametrize("spec", ["alpaca", "", "{prompt}", None])
def test_unknown_template_lists_the_choices(spec):
    with pytest.raises(UserError, match=r"unknown; use raw, plain, chat, or a text containing \{instruction\}"):
        Template(spec)


def test_blank():
    assert Template("plain").is_blank(" \n")
    assert not Template("plain").is_blank("Assistant: ")
    assert Template("raw").is_blank("Assistant: ")
    assert not Template("raw").is_blank("Assistant: Hi")
