"""What identifies a tokenizer: whatever decides which tokens a text becomes, and nothing else.

Its chat template is apart: that counts only where it is used.
"""

from __future__ import annotations

import hashlib
import inspect
import tempfile
from pathlib import Path
from typing import Any

from xright.data.tokens import Tokens
from xright.machine.files import hash_of


def tokenizer_identity(tokenizer: Any) -> str:
    """A hash that does not depend on where the tokenizer was loaded from, or what it was last called with."""
    tokens = Tokens(tokenizer)
    own = {
        "class": type(tokenizer).__qualname__,
        "eos": tokens.eos,
        "bos": tokens.bos,
        "split_special_tokens": tokenizer.split_special_tokens,
        "rules": _rust(tokenizer) if hasattr(tokenizer, "backend_tokenizer") else _python(tokenizer),
    }
    return hash_of(own)


def chat_identity(tokenizer: Any) -> list[Any]:
    """The chat template, and the special tokens it may write."""
    return [tokenizer.chat_template, {name: str(token) for name, token in tokenizer.special_tokens_map.items()}]


def _rust(tokenizer: Any) -> str:
    """Vocabulary, merges, normaliser, …. Truncation and padding, which are left by the last call, are off: `Tokens` has
    made one."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def _python(tokenizer: Any) -> dict[str, Any]:
    """Vocabulary files, added tokens, and the class's own code, which may have come with the tokenizer."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [*map(Path, tokenizer.save_vocabulary(folder)), Path(inspect.getfile(type(tokenizer)))]
        return {
            "files": [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths],
            "added": tokenizer.get_added_vocab(),
        }
