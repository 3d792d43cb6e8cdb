import pytest

from xright.data.tokens import Tokens
from xright.errors import UserError


@pytest.mark.parametrize(
    ("around", "text", "fed"),
    [
        ("$A", "Hi", "Hi"),
        ("<s> $A", "Hi", "<s>Hi"),
        ("<s> $A", "<s>Hi", "<s>Hi"),  # the text has it already
        ("<s> $A </s>", "Hi", "<s>Hi"),  # nothing after the prompt
        ("<s> $A", "", "<s>"),
        ("$A </s>", "", ""),
    ],
)
def test_prompts_begin_once_and_do_not_end(byte_tokenizer, around, text, fed):
    tokenizer = byte_tokenizer(around)
    assert tokenizer.decode(Tokens(tokenizer).prompts([text], is_chat=False)[0]) == fed


def test_chat_prompts_get_nothing_added(byte_tokenizer):
    tokenizer = byte_tokenizer("<s> $A")
    assert tokenizer.decode(Tokens(tokenizer).prompts(["Hi"], is_chat=True)[0]) == "Hi"


def test_bos_that_equals_eos_is_kept_before_a_prompt(byte_tokenizer):
    tokenizer = byte_tokenizer("</s> $A")  # as GPT-2 with add_bos_token: one token is both
    assert tokenizer.decode(Tokens(tokenizer).prompts(["Hi"], is_chat=False)[0]) == "</s>Hi"


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("4", "4"),
        ("4</s>", "4"),
        ("4</s>\n", "4"),
        ("4</s></s> \n</s>", "4"),
        ("4\n", "4\n"),  # white space of the answer's own
        ("a</s>b", "a</s>b"),  # an EOS in the middle is the data's
        ("</s>", ""),
    ],
)
def test_bare_cuts_trailing_eos(byte_tokenizer, text, bare):
    tokenizer = byte_tokenizer()
    tokens = Tokens(tokenizer)
    assert tokenizer.decode(tokens.bare(tokens.ids([text])[0])) == bare


def test_no_eos_is_an_error(byte_tokenizer):
    with pytest.raises(UserError, match="has no EOS token"):
        Tokens(byte_tokenizer(eos=None))
