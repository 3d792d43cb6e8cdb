"""Texts as unit vectors, so that a product is a cosine: counts of tokens, or a model's sentence embeddings.

Shapes: N texts, B of them at a time, T tokens of a text, D dimensions, V tokens in the vocabulary.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import AutoModel

from xright import models
from xright.errors import UserError


def counts(texts: Sequence[str], tokenizer: Any) -> csr_matrix:
    """How often each token occurs in each text, scaled to length 1 (tf vectors): (N, V), zeros for an empty text."""
    tokens = tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
    return normalize(CountVectorizer(analyzer=list, vocabulary=range(len(tokenizer))).transform(tokens).astype(float))


class Embedder:
    """Sentence embeddings: means of a model's last hidden states over a text's tokens, special ones included.

    That is how the common sentence-embedding models (BERT-like, mean pooling) are meant to be used; any model with a
    backbone that transformers loads is taken, a causal LM too. path: its folder or hub name, with its tokenizer.
    max_length: tokens of a text that are looked at. Nothing but rounding depends on batch_size, texts per forward.
    UserError where there is no such model.
    """

    def __init__(self, path: str, batch_size: int = 32, max_length: int = 512) -> None:
        self.batch_size, self.max_length = batch_size, max_length
        self.tokenizer = models.load_tokenizer(path)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = _load(path).to(self.device).eval()

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """(N, D), of length 1; zeros for a text without tokens. Says on stderr how many texts were cut."""
        tokens = self.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
        if cut := sum(len(ids) > self.max_length for ids in tokens):
            print(f"{cut:,} of {len(tokens):,} texts are cut to {self.max_length} tokens", file=sys.stderr)
        order = sorted((i for i, ids in enumerate(tokens) if ids), key=lambda i: len(tokens[i]))  # little padding
        vectors_ND = np.zeros((len(tokens), self.model.config.hidden_size))
        for start in tqdm(range(0, len(order), self.batch_size), desc="embed", disable=None):
            batch = order[start : start + self.batch_size]
            ids_BT = pad_sequence([torch.tensor(tokens[i][: self.max_length]) for i in batch], batch_first=True)
            lengths_B = torch.tensor([min(len(tokens[i]), self.max_length) for i in batch])
            mask_BT = (torch.arange(ids_BT.shape[1]) < lengths_B[:, None]).long().to(self.device)
            hidden_BTD = self.model(input_ids=ids_BT.to(self.device), attention_mask=mask_BT).last_hidden_state.float()
            vectors_ND[batch] = ((hidden_BTD * mask_BT[..., None]).sum(1).cpu() / lengths_B[:, None]).numpy()
        return normalize(vectors_ND)


def _load(path: str) -> Any:
    try:
        model, info = AutoModel.from_pretrained(path, use_safetensors=True, output_loading_info=True)
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0][:200].rstrip(". ")
        raise UserError(f"model={path!r} cannot be loaded ({reason}); give a folder or hub name of a model.") from error
    if absent := sorted(name for name in info["missing_keys"] if "pooler" not in name):  # that head is not used
        raise UserError(f"model={path!r} is no whole model: {absent[:3]} are missing in its weights.")
    return model
