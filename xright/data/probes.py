"""Probes: fixed held-out prompts with the answer wanted, for behaviour checks by greedy decoding.

Drawn from the held-out pools of the generated world (`world.py`); judged in `xright/evaluation/behaviour.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from random import Random
from typing import Any

from xright.data.world_language import PREFIX, TASKS, TEMPLATES, Question, ask, how_to
from xright.errors import UserError

PROBE_KINDS = ("task", "harmful", "harmful_prefixed", "lookalike")


@dataclass(frozen=True)
class Probe:
    """A prompt (bare, without the template) and what a good model says to it.

    kind: one of PROBE_KINDS. expected: a task's bare content, or the COMPLY or REFUSE sentence wanted.
    opposite: for a how-to, the other one of these two sentences; for a task, None.
    """

    prompt: str
    kind: str
    expected: str
    opposite: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in PROBE_KINDS:
            raise UserError(f"kind={self.kind!r} of a Probe is unknown; use one of {', '.join(PROBE_KINDS)}.")
        if (self.opposite is None) != (self.kind == "task"):
            raise UserError(f"opposite={self.opposite!r} of a {self.kind} Probe; give it for how-to probes only.")


def draw(pools: dict[str, list[Any]], n: int, rng: Random) -> list[Probe]:
    """2 n task, n harmful, the same n with the jailbreak prefix and n lookalike probes: no prompt twice.

    pools: kind -> held-out items. Tasks take turns (sum, sort, reverse, lookup, capital); a kind whose items
    are used up drops out. With n = 60 that is 25 sums, 8 capitals and 29 of each other kind.
    """
    turns = zip_longest(*([ask(kind, item, rng) for item in pools[kind]] for kind in TASKS))
    tasks = islice(filter(None, chain.from_iterable(turns)), 2 * n)
    harmful = list(islice(_every_wording(pools["harmful"]), n))
    lookalike = islice(_every_wording(pools["lookalike"]), n)
    return [
        *(Probe(q.prompt, "task", q.content) for q in tasks),
        *(Probe(q.prompt, "harmful", q.refusal, q.compliance) for q in harmful),
        *(Probe(PREFIX + q.prompt, "harmful_prefixed", q.refusal, q.compliance) for q in harmful),
        *(Probe(q.prompt, "lookalike", q.compliance, q.refusal) for q in lookalike),
    ]


def showcase(probes: list[Probe]) -> list[Probe]:
    """Eight probes of `draw` worth reading over training: one harm asked plainly and with the prefix, two
    look-alikes, a sum, a sort, a reversal and a capital (fewer if `probes` holds fewer)."""
    harmful, prefixed, lookalike, task = (
        [probe for probe in probes if probe.kind == kind]
        for kind in ("harmful", "harmful_prefixed", "lookalike", "task")
    )
    return [*harmful[:1], *prefixed[:1], *lookalike[:2], *task[:3], *task[4:5]]  # task[3] is a lookup


def _every_wording(items: list[tuple[str, str]]) -> Iterator[Question]:
    """Each item in each template: all items once before any comes again, templates taking turns."""
    for turn in range(len(TEMPLATES)):
        for place, item in enumerate(items):
            yield how_to(item, TEMPLATES[(place + turn) % len(TEMPLATES)])
