import datasets.config
import huggingface_hub.constants
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from xright.data.sources import Files
from xright.data.stream import streams_of

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = (  # as Llama 2: BOS by the template, EOS ends each answer, no system turn
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content }}{{ eos_token }}"
    "{% else %}{{ raise_exception('roles must be user and assistant') }}{% endif %}{% endfor %}"
)


@pytest.fixture(scope="session")
def files():
    """files(sft=…, preference=…, heldout=…): the rows of a stream of completions, of pairs, or both."""

    def files(sft=None, preference=None, **options):
        given = {
            "sft": sft and {"kind": "completions", **sft},
            "preference": preference and {"kind": "pairs", **preference},
        }
        return Files(streams_of(given), **options)

    return files


@pytest.fixture(autouse=True)
def offline_with_own_cache(tmp_path_factory, monkeypatch):
    """A temporary cache for datasets, and a hub that is out of reach at once, not after five retries."""
    cache = tmp_path_factory.getbasetemp() / "datasets"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(cache))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture(scope="session")
def make_byte_tokenizer():
    """make(around): one token per byte, so that ids decode to the text; `around` is a processor template."""

    def make(around: str = "$A", eos: str | None = "</s>", chat_template: str | None = None):
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokenizer = Tokenizer(models.BPE({byte: i for i, byte in enumerate(alphabet)}, []))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        specials = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
        tokenizer.add_special_tokens([AddedToken(special, special=True) for special in specials])
        tokenizer.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=around, special_tokens=[(text, tokenizer.token_to_id(text)) for text in specials]
            ),
        ])  # fmt: skip
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token="<s>", eos_token=eos, chat_template=chat_template
        )

    return make


@pytest.fixture
def byte_tokenizer(make_byte_tokenizer):
    """make_byte_tokenizer, by its usual name."""
    return make_byte_tokenizer


@pytest.fixture
def chatml():
    return CHATML


@pytest.fixture
def llama():
    return LLAMA
