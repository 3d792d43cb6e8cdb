"""A model by its name: a folder, or a hub model at one revision.

What is trained on, what a cache's key says and what an exported adapter names as its base must be the same weights. So
the three parts of the answer (where, which revision, which identity) travel together.
"""

import logging
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from xright import models
from xright.cache import cache_root, cached_stage
from xright.machine.paths import place
from xright.models.adapters import is_adapter

log = logging.getLogger(__name__)


class Pretrained(NamedTuple):
    """path: a folder, or a hub name. revision: the commit of a hub model, of a folder None."""

    path: str
    revision: str | None = None

    @classmethod
    def named(cls, path: str, revision: str | None = None) -> "Pretrained":
        """Return what a user means by a folder (which has no revisions) or a hub name; revision: a branch, tag or
        commit, or None for the default branch. It becomes a commit here, once: a branch may move while a run goes
        on."""
        folder = place(path)
        return cls(str(folder)) if folder.is_dir() else cls(path, models.commit(path, revision))

    @property
    def identity(self) -> str:
        """A cached stage's model is known by the stage's hash, any other by its fingerprint. UserError as that."""
        return place(self.path).parent.name if self.is_cached else models.fingerprint(*self)

    @property
    def is_cached(self) -> bool:
        """Tell whether the model lies in the cache, from where it may be removed at any time."""
        return cache_root() in place(self.path).parents

    @property
    def may_go(self) -> bool:
        """Tell whether the model lies where it may be removed: in the cache, or in an adapter's folder."""
        return self.is_cached or is_adapter(place(self.path).parent)

    @property
    def below(self) -> "Pretrained":
        """The base that an adapter's folder names. UserError where it names none that is there."""
        return Pretrained(*models.base_of(Path(self.path)))

    def load(self, dtype: str, trust_remote_code: bool, quantize: str | None = None) -> nn.Module:
        """Load the model, with the arguments of `models.load`."""
        return models.load(self.path, dtype, self.revision, trust_remote_code, quantize=quantize)

    def load_merged(self, trust_remote_code: bool) -> PreTrainedModel:
        """Load the model in fp32 as `models.load_merged` does: plain weights."""
        return models.load_merged(self.path, "float32", self.revision, trust_remote_code)

    def __str__(self) -> str:
        return self.path if self.revision is None else f"{self.path} (commit {self.revision})"


def merged_base(named: Pretrained, tokenizer: PreTrainedTokenizerBase, trust_remote_code: bool) -> Pretrained:
    """The base that is named; an adapter's folder merged into its own base, once, in the cache: plain weights, to be
    trained in full or through an adapter of their own."""
    if not is_adapter(named.path):
        return named

    def merge(folder: Path) -> dict[str, Any]:
        model = models.load_merged(named.path, trust_remote_code=trust_remote_code)
        models.export(model, tokenizer, folder / "model")
        return {}

    merged = cached_stage("base", {"merged": named.identity, "remote_code": trust_remote_code}, merge).folder
    log.info("base: the adapter in %s, merged into its base: %s", named, merged)
    return Pretrained(str(merged / "model"))
