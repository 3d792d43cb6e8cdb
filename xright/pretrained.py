"""A model by its name: a folder, or a hub model at one revision.

What is trained on, what a cache's key says and what an exported adapter names as its base must be the same weights. So
the three parts of the answer (where, which revision, which identity) travel together.
"""

from typing import NamedTuple

from torch import nn

from xright import models
from xright.cache import cache_root
from xright.places import place


class Pretrained(NamedTuple):
    """path: a folder, or a hub name. revision: the commit of a hub model, of a folder None."""

    path: str
    revision: str | None = None

    @classmethod
    def named(cls, path: str, revision: str | None = None) -> "Pretrained":
        """What a user means by a folder (which has no revisions) or a hub name; revision: a branch, tag or commit, or
        None for the default branch. It becomes a commit here, once: a branch may move while a run goes on."""
        folder = place(path)
        return cls(str(folder)) if folder.is_dir() else cls(path, models.commit(path, revision))

    @property
    def identity(self) -> str:
        """A cached stage's model is known by the stage's hash, any other by its fingerprint. UserError as that."""
        folder = place(self.path)
        return folder.parent.name if cache_root() in folder.parents else models.fingerprint(*self)

    def load(self, dtype: str, trust_remote_code: bool) -> nn.Module:
        """As `models.load`."""
        return models.load(self.path, dtype, self.revision, trust_remote_code)

    def __str__(self) -> str:
        return self.path if self.revision is None else f"{self.path} (commit {self.revision})"
