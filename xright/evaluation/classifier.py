"""A local sequence classifier, by folder or hub name: of refusals (`judges.py`), or a reward model with one output.

Loaded as `xright.models` loads: whole, from safetensors, no code of its own. A decoder's head reads the last token of a
text, which transformers finds as the last one that is not the padding id; so each batch is padded with an id that none
of its texts ends with, and a text's logits do not depend on its neighbours. A reward head that is called
`regression_head` (UltraRM) is read as transformers' `score`.
"""

import logging
from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

import torch
from tqdm import tqdm
from transformers import AutoConfig, AutoModelForSequenceClassification

from xright.errors import UserError, reason_of
from xright.evaluation.judged_text import Pair
from xright.models import DTYPES, load_tokenizer

log = logging.getLogger(__name__)

HEADS = {"^regression_head": "score"}


class Scored(NamedTuple):
    """logits_NL: of N texts for L labels, fp32. truncated: texts that were too long and lost their end."""

    logits_NL: torch.Tensor
    truncated: int


class Classifier:
    """path: folder or hub name. pair: how prompt and answer are shown. batch_size: texts per forward.

    The weights are loaded for a call and given back after it: they share the device with the models looked at.
    UserError where there is no such model.
    """

    def __init__(self, path: str, pair: Pair, dtype: str = "float32", batch_size: int = 16) -> None:
        if not path:
            raise UserError("path is not given for a judge or reward model; name the folder or hub model it is.")
        if dtype not in DTYPES:
            raise UserError(f"dtype={dtype!r} of the judge {path!r} must be one of {', '.join(DTYPES)}.")
        self.path, self.pair, self.dtype, self.batch_size = path, pair, dtype, batch_size
        self.config = _found(path, AutoConfig.from_pretrained)
        self.labels = [self.config.id2label[index] for index in range(self.config.num_labels)]

    @torch.no_grad()
    def logits(self, pairs: Sequence[tuple[str, str]]) -> Scored:
        """Return the logits of each (prompt, answer), in their order."""
        tokenizer, model = load_tokenizer(self.path), self._load()
        texts = [self.pair.write(tokenizer, *pair) for pair in pairs]
        encoded = tokenizer(texts, add_special_tokens=not self.pair.is_chat, verbose=False)["input_ids"]
        nothing = [tokenizer.eos_token_id or 0]  # for an empty text, where the tokenizer puts no token before texts
        encoded = [ids or nothing for ids in encoded]
        most = min(tokenizer.model_max_length, getattr(self.config, "max_position_embeddings", None) or 2**30)
        truncated = sum(len(ids) > most for ids in encoded)
        if truncated:
            log.warning("%s: %d of %d texts are longer than %d tokens and cut", self.path, truncated, len(texts), most)
        by_length = sorted(range(len(encoded)), key=lambda index: -len(encoded[index]))
        logits_NL = torch.empty(len(encoded), len(self.labels))
        for start in tqdm(range(0, len(encoded), self.batch_size), desc=f"judge {self.path}", disable=None):
            picks = by_length[start : start + self.batch_size]
            logits_NL[picks] = _forward(model, [encoded[index][:most] for index in picks]).float().cpu()
        return Scored(logits_NL, truncated)

    def _load(self) -> Any:
        options = {"config": self.config, "dtype": DTYPES[self.dtype], "use_safetensors": True, "key_mapping": HEADS}
        model, info = _found(
            self.path, AutoModelForSequenceClassification.from_pretrained,
            output_loading_info=True, ignore_mismatched_sizes=True, **options,
        )  # fmt: skip
        # In these places transformers would go on with random weights.
        if absent := sorted([*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])]):
            raise UserError(
                f"{self.path!r} holds no whole sequence classifier: {absent[:3]} are missing or misshapen in its "
                "weights; give the folder or hub name of one."
            )
        return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def _forward(model: Any, encoded: list[list[int]]) -> torch.Tensor:
    """Return logits (B, L) of rows that are padded on the right."""
    last = {ids[-1] for ids in encoded}
    pad = next(index for index in count() if index not in last)
    model.config.get_text_config().pad_token_id = pad
    width = max(map(len, encoded))
    ids_BT = torch.tensor([ids + [pad] * (width - len(ids)) for ids in encoded], device=model.device)
    mask_BT = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in encoded], device=model.device)
    return model(input_ids=ids_BT, attention_mask=mask_BT).logits


def _found(path: str, load: Any, **options: Any) -> Any:
    """Return what `load` gives; UserError for whatever it raises."""
    try:
        return load(path, trust_remote_code=False, **options)
    except Exception as error:  # broken folders make transformers raise a dozen unrelated types
        raise UserError(
            f"no sequence classifier could be loaded from {path!r} ({reason_of(error)}); give the folder or hub name "
            "of one, in safetensors."
        ) from error
