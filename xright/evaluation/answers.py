"""Answers of a model to prompts, kept in a file as they come: a kill costs one batch, and what is there is not redone.

The file is jsonl. Its first line says whose answers these are: model, template, dtype, max_new_tokens, temperature,
seed. Each further line is one answer: `{"id", "prompt", "answer", "tokens"}`. Batches are cut from the whole list of
prompts, whatever is done already, so that a resumed file equals an uninterrupted one to the bit, even where rounding
depends on a batch's shape. An answer is a function of (seed, prompt's text); greedy ones do not depend on the seed.
"""

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xright.errors import UserError, check_number
from xright.evaluation.generate import Sampled, continuations, encode, positions
from xright.evaluation.subject import Subject

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prompt:
    """id: unique in its list. text: bare, without the template. about: what a task wants to know (category, label)."""

    id: str
    text: str
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """id and prompt: the Prompt's. answer: text, without special tokens. tokens: how many were generated before the
    end; max_new_tokens where the answer was cut off."""

    id: str
    prompt: str
    answer: str
    tokens: int


def answers(
    subject: Subject, prompts: Sequence[Prompt], file: Path, max_new_tokens: int, temperature: float = 0.0
) -> list[Answer]:
    """One answer per prompt, in their order; greedy with temperature 0, else sampled.

    A prompt that leaves the model less room than max_new_tokens gets what room there is. UserError for bad
    numbers, no prompts, an id that comes twice, a file that holds other answers than these, and prompts that leave no
    room at all. Does not load the model if nothing is missing.
    """
    check_number("max_new_tokens", max_new_tokens, lambda x: isinstance(x, int) and x >= 1, "a whole number >= 1")
    check_number("temperature", temperature, lambda x: x >= 0, "a number >= 0")
    if not prompts:
        raise UserError(f"{file.stem} has no prompts, so there is nothing to answer; give at least one.")
    often, times = Counter(prompt.id for prompt in prompts).most_common(1)[0]
    if times > 1:
        raise UserError(f"{file.stem} has {times} prompts of the id {often!r}; give each an id of its own.")
    about = {
        "model": subject.fingerprint, "template": subject.template.spec, "dtype": subject.dtype,
        "max_new_tokens": max_new_tokens, "temperature": temperature, "seed": subject.seed if temperature else None,
    }  # fmt: skip
    found = _kept(file, about)
    _check_prompts(file, prompts, found)
    if any(prompt.id not in found for prompt in prompts):
        file.parent.mkdir(parents=True, exist_ok=True)
        for answer in _missing(subject, prompts, found, file, about=about):
            found[answer.id] = answer
    return [found[prompt.id] for prompt in prompts]


def _kept(file: Path, about: Mapping[str, Any]) -> dict[str, Answer]:
    """The answers in the file, by id. What a kill has left of a line is cut off; UserError if they are of others."""
    if not file.is_file():
        return {}
    content = file.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    try:
        header, *lines = (json.loads(line) for line in whole.split(b"\n")[:-1] or [json.dumps(about).encode()])
        then, found = dict(header), [Answer(**line) for line in lines]
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{file} is no file of answers ({error}); move it away.") from error
    changed = [
        f"{key}: {then.get(key)!r} there, {value!r} now" for key, value in about.items() if then.get(key) != value
    ]
    if changed:
        raise UserError(
            f"{file} holds answers of another model or setting ({'; '.join(changed)}); move it away to begin anew."
        )
    if len(whole) < len(content):
        with file.open("r+b") as cut:
            cut.truncate(len(whole))
    return {answer.id: answer for answer in found}


def _check_prompts(file: Path, prompts: Sequence[Prompt], found: Mapping[str, Answer]) -> None:
    for prompt in prompts:
        if prompt.id in found and found[prompt.id].prompt != prompt.text:
            raise UserError(
                f"{file} answers another prompt under the id {prompt.id!r}; move it away, or give another id."
            )


def _missing(
    subject: Subject, prompts: Sequence[Prompt], found: Mapping[str, Answer], file: Path, about: Mapping[str, Any]
) -> Iterator[Answer]:
    """Generates what is not in `found`, batch by batch; each batch is in the file before it is yielded."""
    encoded, room = _encoded(subject, prompts, about["max_new_tokens"])
    started, generated, missing = time.perf_counter(), 0, len(prompts) - sum(p.id in found for p in prompts)
    bar = tqdm(
        total=len(prompts), initial=len(prompts) - missing, desc=file.stem, unit="prompt", dynamic_ncols=True,
        disable=None,
    )  # fmt: skip
    with bar, file.open("a", encoding="utf-8") as kept:
        if not kept.tell():
            kept.write(json.dumps(about) + "\n")
        for batch in batches_of(room, subject.batch_size):
            if all(prompts[i].id in found for i in batch):
                continue
            new = _batch(subject, [prompts[i] for i in batch], [encoded[i] for i in batch], room[batch[0]], about=about)
            fresh = [answer for answer in new if answer.id not in found]
            kept.write("".join(json.dumps(asdict(answer), ensure_ascii=False) + "\n" for answer in fresh))
            kept.flush()
            generated += sum(answer.tokens for answer in new)
            bar.update(len(fresh))
            bar.set_postfix_str(f"{generated / (time.perf_counter() - started):.0f} tokens/s")
            yield from fresh
    seconds = time.perf_counter() - started
    log.info("%s: %d prompts, %d tokens, %.0f tokens/s", file.stem, missing, generated, generated / seconds)


def _encoded(subject: Subject, prompts: Sequence[Prompt], max_new_tokens: int) -> tuple[list[list[int]], list[int]]:
    """Token ids of the prompts, written out in the subject's template, and how many new tokens each may get."""
    template, limit = subject.template, positions(subject.policy)
    texts = [template.render(subject.tokenizer, prompt.text) for prompt in prompts]
    encoded = encode(subject.tokenizer, texts, template.is_chat)
    room = [max_new_tokens if limit is None else min(max_new_tokens, limit - len(ids)) for ids in encoded]
    full = [prompt.id for prompt, left in zip(prompts, room, strict=True) if left < 1]
    if full:
        raise UserError(
            f"{len(full)} of {len(prompts)} prompts, such as {full[0]!r}, fill the model's {limit} positions and leave "
            "no room for an answer; leave them out."
        )
    if short := sum(left < max_new_tokens for left in room):
        log.info(
            "%d of %d prompts leave the model less room than max_new_tokens=%d", short, len(prompts), max_new_tokens
        )
    return encoded, room


def batches_of(room: Sequence[int], batch_size: int) -> list[list[int]]:
    """Places of the prompts that are answered together: neighbours, but who has less room than others is alone."""
    most = max(room)
    alike = [i for i, left in enumerate(room) if left == most]
    batches = [alike[start : start + batch_size] for start in range(0, len(alike), batch_size)]
    return sorted(batches + [[i] for i, left in enumerate(room) if left < most])


def _batch(
    subject: Subject, prompts: Sequence[Prompt], encoded: list[list[int]], room: int, about: Mapping[str, Any]
) -> list[Answer]:
    seeds = [seed_of(subject.seed, prompt.text) for prompt in prompts]
    sampled = Sampled(about["temperature"], seeds) if about["temperature"] else None
    new = continuations(subject.policy, subject.tokenizer, encoded, room, sampled=sampled)
    texts = [str(subject.tokenizer.decode(ids, skip_special_tokens=True)) for ids in new]
    return [Answer(p.id, p.text, text, len(ids)) for p, text, ids in zip(prompts, texts, new, strict=True)]


def seed_of(seed: int, text: str) -> int:
    """63 bits that belong to this text, under this seed."""
    return int.from_bytes(hashlib.sha256(f"{seed} {text}".encode()).digest()[:8], "big") >> 1
