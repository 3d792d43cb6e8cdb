"""Prompt and response, encoded apart, say together what the template has written: for tokenizers of every kind."""

from itertools import pairwise

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from xright.data.prompts import encode
from xright.data.stream import Stream
from xright.data.templates import Template
from xright.data.tokens import Tokens

SFT = Stream("sft", "completions")
PREFERENCE = Stream("preference", "pairs")
SPECIALS = ["<unk>", "<s>", "</s>", "<|x|>"]
TEXTS = [
    "User: Name a colour.\nAssistant: Green it is.", "How are you? Hello there, 1 2 3: blue!\nYes, [INST] it",
] * 20  # fmt: skip
PROMPTS = ["Name a colour.", "How are you ", "Hello\n", ""]
RESPONSES = ["Green it is.", " Green", "1, 2", "\nGreen", "  Hello there", "\n\nYes", ".", "é it"]

MARKUP = "{% for m in messages %}<|x|>{{ m.role }}\n{{ m.content }}</s>\n{% endfor %}"
CHATML = MARKUP + "{% if add_generation_prompt %}<|x|>assistant\n{% endif %}"
TIGHT = "{% for m in messages %}<|x|>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|x|>{% endif %}"
LLAMA = (
    "{% for m in messages %}{% if m.role == 'user' %}<s>[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }} </s>{% endif %}{% endfor %}"
)


def legacy() -> Tokenizer:
    """As Llama 2: a blank goes before every stretch of text, also behind a special token."""
    core = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    trained = trainers.BpeTrainer(vocab_size=500, special_tokens=SPECIALS + bytes_, show_progress=False)
    core.train_from_iterator(TEXTS, trained)
    core.pre_tokenizer = None
    strip = decoders.Strip(" ", 1, 0)
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), strip])
    return core


def unigram(scheme: str, split: bool = True, normalizer: normalizers.Normalizer | None = None) -> Tokenizer:
    core = Tokenizer(models.Unigram())
    core.normalizer = normalizer
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
    core.decoder = decoders.Metaspace(prepend_scheme=scheme, split=split)
    letters = sorted({letter for text in TEXTS for letter in text})
    core.train_from_iterator(
        TEXTS,
        trainers.UnigramTrainer(
            vocab_size=150, special_tokens=SPECIALS, unk_token="<unk>", initial_alphabet=letters, show_progress=False
        ),
    )
    return core


def bytes_level(blank: bool) -> Tokenizer:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=blank)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False),
    )
    return core


FAMILIES = {
    "Llama 2": legacy,
    "SentencePiece": lambda: unigram("first"),
    "SentencePiece, words not split": lambda: unigram("first", split=False),
    "SentencePiece, before every part": lambda: unigram("always"),
    "SentencePiece, no blank": lambda: unigram("never"),
    "blanks joined": lambda: unigram("always", normalizer=normalizers.Replace(Regex(r"\s+"), " ")),
    "bytes": lambda: bytes_level(blank=False),
    "bytes, a blank first": lambda: bytes_level(blank=True),
}
BEGIN_OF_THEIR_OWN = ["Llama 2", "SentencePiece", "SentencePiece, words not split", "bytes, a blank first"]


@pytest.fixture(scope="module")
def family(request):
    """make(name, chat template): a tokenizer."""
    built: dict[str, Tokenizer] = {}

    def make(name: str, chat_template: str | None = None) -> PreTrainedTokenizerFast:
        core = built.setdefault(name, FAMILIES[name]())
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
        return PreTrainedTokenizerFast(
            tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=chat_template
        )

    return make


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    ("template", "chat"),
    [("plain", None), ("raw", None), ("Q {instruction}A:", None), ("chat", CHATML), ("chat", TIGHT), ("chat", LLAMA)],
    ids=["plain", "raw", "own text", "ChatML", "no line breaks", "Llama's"],
)
def test_the_tokens_say_the_rendered_text(family, name, template, chat):
    tokenizer = family(name, chat)

    def says(ids: list[int]) -> str:
        return tokenizer.decode(ids, clean_up_tokenization_spaces=False)

    for prompt in PROMPTS:
        for answers in pairwise(RESPONSES):
            row = {"prompt": prompt, "chosen": answers[0], "rejected": answers[1]}
            rendered, written = Template(template).write(tokenizer, prompt, answers)
            if not rendered:
                continue
            (found,), counts = encode([row], PREFERENCE, Template(template), tokenizer, 400)
            assert counts.altered == 0
            fed = Tokens(tokenizer).prompts([rendered], is_chat=template == "chat")
            assert [found.prompt] == fed  # one boundary for both sides, and the tokens that generation feeds
            bos = [] if template == "chat" else [tokenizer.bos_token_id]
            assert found.prompt[: len(bos)] == bos
            for response, ids in zip(written, found.responses, strict=True):
                whole = tokenizer(rendered + response, add_special_tokens=False)["input_ids"]
                expected = {rendered + response, says(whole)}
                end = ids.index(tokenizer.eos_token_id)
                assert end == len(ids) - 1
                said = says(found.prompt[len(bos) :] + ids[:-1])
                assert any(text.rstrip().removesuffix("</s>") == said for text in expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_lead_only_where_a_tokenizer_treats_beginnings_in_a_way_of_its_own(family, name):
    """Elsewhere responses are encoded as ever: their tokens are those of older versions."""
    tokens = Tokens(family(name))
    assert bool(tokens.lead) == (name in BEGIN_OF_THEIR_OWN or name.startswith(("SentencePiece, before", "blanks")))
    if not tokens.lead:
        assert tokens.after(RESPONSES) == tokens.ids(RESPONSES)


def test_what_cannot_be_said_is_counted(family, monkeypatch):
    """Were there no lead, a blank would stand before every response."""
    monkeypatch.setattr("xright.data.tokens.LEADS", [])
    rows = [{"prompt": "Name a colour.", "response": "Green it is."}]
    _, counts = encode(rows, SFT, Template("plain"), family("Llama 2"), 400)
    assert counts.altered == 1
    assert "1 whose tokens do not give exactly the rendered text" in counts.sentence("sft/train")
