import pytest
from transformers import AutoTokenizer, ByT5Tokenizer

from xright.data.tokenizer_identity import chat_identity, tokenizer_identity


def test_same_tokenizer_wherever_it_lies_and_whatever_it_was_asked(byte_tokenizer, tmp_path):
    one = byte_tokenizer("<s> $A")
    identity = tokenizer_identity(one)
    one.pad_token = one.eos_token
    one("text", truncation=True, max_length=2, padding="max_length")
    assert tokenizer_identity(one) == identity
    one.backend_tokenizer.enable_truncation(3)  # as some tokenizer.json have it
    one.backend_tokenizer.enable_padding()
    assert tokenizer_identity(one) == identity
    for folder in ("a", "b"):
        byte_tokenizer("<s> $A").save_pretrained(tmp_path / folder)
    loaded = [AutoTokenizer.from_pretrained(tmp_path / folder) for folder in ("a", "b")]
    assert tokenizer_identity(loaded[0]) == tokenizer_identity(loaded[1])


def test_real_tokenizer_is_the_same_twice(real_data):
    loaded = [AutoTokenizer.from_pretrained(real_data / "tokenizer_gptneox") for _ in range(2)]
    loaded[1]("some text", truncation=True, max_length=1)
    assert tokenizer_identity(loaded[0]) == tokenizer_identity(loaded[1])


def test_whatever_makes_other_tokens_makes_another_identity(byte_tokenizer):
    more, literal = byte_tokenizer(), byte_tokenizer()
    more.add_tokens(["word"])
    literal.split_special_tokens = True
    tokenizers = [byte_tokenizer(), byte_tokenizer("<s> $A"), byte_tokenizer(eos="<|im_end|>"), more, literal]
    assert len({tokenizer_identity(tokenizer) for tokenizer in tokenizers}) == 5
    assert literal("a</s>")["input_ids"] != tokenizers[0]("a</s>")["input_ids"]


def test_chat_template_and_the_tokens_it_may_write(byte_tokenizer, chatml, llama):
    one, other = byte_tokenizer(chat_template=chatml), byte_tokenizer(chat_template=llama)
    assert tokenizer_identity(one) == tokenizer_identity(other)
    assert chat_identity(one) != chat_identity(other)
    padded = byte_tokenizer(chat_template=chatml)
    padded.pad_token = "<s>"
    assert chat_identity(padded) != chat_identity(one)


class Shouting(ByT5Tokenizer):
    """With code of its own: another way to cut a text."""


@pytest.mark.parametrize("change", [{"extra_ids": 3}, {"eos_token": "<pad>"}])
def test_a_tokenizer_written_in_python(change):
    assert not hasattr(ByT5Tokenizer(), "backend_tokenizer")
    identity = tokenizer_identity(ByT5Tokenizer())
    assert tokenizer_identity(ByT5Tokenizer()) == identity
    assert len({identity, tokenizer_identity(ByT5Tokenizer(**change)), tokenizer_identity(Shouting())}) == 3
