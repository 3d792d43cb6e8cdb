"""The rows of one run as token ids: every stream of a source rendered, tokenised, filtered and counted, once.

Where they are kept is `tokenised.py`. Reference log-probs join the rows by row id (`Rows.with_reference`); a row
without an entry is an error, never a recomputation.
"""

import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import replace
from functools import lru_cache
from typing import Any

from omegaconf import DictConfig, OmegaConf
from transformers import PreTrainedTokenizerBase

from xright.config.build import build
from xright.data.kinds import asked
from xright.data.rows import Rows
from xright.data.stream import TEXT, Stream, streams_of
from xright.data.templates import Template
from xright.data.tokenised import Tokenised, tokenised
from xright.errors import UserError, check_number
from xright.models import load_tokenizer

log = logging.getLogger(__name__)

PROBE = 0.03  # share of the training rows the authors evaluate on: 720 of 24,000 SFT, 240 of 8,000 DPO rows


class Corpus:
    """source: a `Source` of these streams. max_length: tokens of prompt + response. control_tokens: as `Template` takes
    them. Rows of streams that the base writes are made elsewhere: `with_sampled`.

    eval_on: `heldout` (rows never trained on), `train_probe` (the first training rows; probe_share: which part of
    them, in (0, 1]) or `train_sample` (as many, drawn from all of them by the source's seed). Raises UserError for
    anything else.
    """

    def __init__(
        self,
        source: Any,
        streams: Mapping[str, Stream],
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        eval_on: str,
        control_tokens: str = "auto",
        probe_share: float = PROBE,
    ) -> None:
        if eval_on not in ("heldout", "train_probe", "train_sample"):
            raise UserError(f"eval_on={eval_on!r} must be heldout, train_probe or train_sample.")
        self.source, self.streams, self.tokenizer = source, streams, tokenizer
        check_number("probe_share", probe_share, lambda x: 0 < x <= 1, "in (0, 1]: the part of the training rows")
        self.max_length, self.eval_on, self.probe_share = max_length, eval_on, probe_share
        self.templates = {name: Template(stream.template, control_tokens) for name, stream in streams.items()}
        self._splits: dict[tuple[str, str], Tokenised] = {}
        self._sample: Callable[[Stream, str], Rows] | None = None
        self._sampled: dict[tuple[str, str], Rows] = {}
        if "strftime_now" in str(tokenizer.chat_template) and any(t.is_chat for t in self.templates.values()):
            log.warning("the chat template writes today's date; rows in the cache keep the day of their tokenisation")
        plain = [f"data.streams.{name}.template" for name, one in self.templates.items() if one.spec == "plain"]
        if tokenizer.chat_template and plain:
            log.warning("%s is plain, and the tokenizer has a chat template, which chat would use", ", ".join(plain))

    def with_sampled(self, make: Callable[[Stream, str], Rows]) -> "Corpus":
        """Return this corpus with rows for its streams of kind sampled: make(stream, split)."""
        found = copy(self)
        found._sample, found._sampled = make, {}
        return found

    def train(self, stream: str) -> Rows:
        """Return the training rows of a stream, or of "text"."""
        return self.rows(stream, "train")

    def evaluation(self, stream: str) -> Rows:
        """Rows on which the stream's objective is evaluated, by `eval_on`."""
        if self.eval_on == "heldout":
            return self.rows(stream, "eval")
        rows = self.train(stream)
        share = math.ceil(self.probe_share * len(rows))
        return rows[:share] if self.eval_on == "train_probe" else rows.drawn(share, getattr(self.source, "seed", 0))

    def rows(self, stream: str, split: str) -> Rows:
        """The rows of a stream in split "train" or "eval"."""
        own = self.streams.get(stream)
        if own is None or not own.sampled:
            return self._tokenised(stream, split).rows
        assert self._sample is not None
        if (stream, split) not in self._sampled:
            self._sampled[stream, split] = self._sample(own, split)
        return self._sampled[stream, split]

    @property
    def asked(self) -> str:
        """The stream in whose template the model is asked."""
        return asked({name: stream.kind for name, stream in self.streams.items()})

    def showcase(self, streams: Iterable[str] | None = None) -> list[dict[str, Any]]:
        """A few rendered prompts to watch completions of: the source's own, else those of the first rows kept of
        these streams, of the split that is evaluated on."""
        if hasattr(self.source, "showcase"):
            return [self._shown(self.asked, probe.prompt, probe.kind) for probe in self.source.showcase()]
        return [
            self._shown(stream, prompt, stream)
            for stream in (self.streams if streams is None else streams)
            if not self.streams[stream].sampled
            for prompt in self._tokenised(stream, "eval" if self.eval_on == "heldout" else "train").counts.first
        ]

    def _shown(self, stream: str, prompt: Any, kind: str) -> dict[str, Any]:
        template = self.templates[stream]
        return {"prompt": template.render(self.tokenizer, prompt), "kind": kind, "is_chat": template.is_chat}

    def _tokenised(self, stream: str, split: str) -> Tokenised:
        """A split of a stream; said with its counts when first used."""
        if (stream, split) not in self._splits:
            if (own := {**self.streams, TEXT.name: TEXT}.get(stream)) is None:
                raise UserError(f"There is no data.streams.{stream}, only {', '.join(self.streams)}; declare it.")
            found = tokenised(
                self.source, own, split, self.templates, tokenizer=self.tokenizer, max_length=self.max_length
            )
            for note in found.notes:
                log.warning(note)
            log.info(found.counts.sentence(f"{stream}/{split}"))
            if own.labelled:
                found = replace(found, rows=found.rows.with_mismatches(self.max_length))
            self._splits[stream, split] = found
        return self._splits[stream, split]


def corpus_of(cfg: DictConfig) -> Corpus:
    """The corpus a configuration describes; jobs of one sweep in one process share it."""
    data = json.dumps(OmegaConf.to_container(cfg.data, resolve=True))  # resolved once
    own = cfg.model.tokenizer == cfg.model.path  # the model's revision is that of its own tokenizer, of no other
    revision = cfg.model.revision if own else None
    evaluated = (cfg.eval_on, cfg.get("probe_share", PROBE))  # a run folder of before has none
    return _corpus(data, cfg.model.tokenizer, revision, cfg.model.trust_remote_code, evaluated=evaluated)


@lru_cache(maxsize=2)
def _corpus(
    data: str, tokenizer_path: str | None, revision: str | None, trust_remote_code: bool, evaluated: tuple[str, float]
) -> Corpus:
    cfg = json.loads(data)
    streams = streams_of(build(cfg["streams"]))
    source = build(cfg["source"], streams={name: own for name, own in streams.items() if not own.sampled})
    tokenizer = load_tokenizer(tokenizer_path, trust_remote_code, revision) if tokenizer_path else source.tokenizer()
    if tokenizer is None:
        raise UserError("model.tokenizer is not given and the data has none of its own; name a folder or hub model.")
    control_tokens = cfg.get("control_tokens") or "auto"
    on, share = evaluated
    return Corpus(
        source, streams, tokenizer, cfg["max_length"], eval_on=on, control_tokens=control_tokens, probe_share=share
    )
