"""Other libraries' errors as one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

from xright.errors import UserError, reason_of


@contextmanager
def told(problem: str, remedy: str) -> Iterator[None]:
    """`<problem> (<reason>); <remedy>.` as a UserError for whatever is raised in the block but a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # broken folders and odd models make transformers and peft raise a dozen unrelated types
        if "trust_remote_code" in str(error):
            remedy = "it comes with code of its own; read that, and set model.trust_remote_code=true to run it"
        raise UserError(f"{problem} ({reason_of(error)}); {remedy}.") from error
