"""The embedded data: base text, SFT set, preference pairs and probes in a generated instruction language.

A miniature of the real thing, so that an offline machine can run the whole comparison in minutes and see
forgetting. The language is `world_language.py`; this file says what is drawn from it, with which probability:

- text, loss on every token: questions of every kind. Harmful how-to is refused with p = .35, other how-to
  with .06, a task with .03. (A base that never connected harm with refusal over-refuses look-alikes later.)
- sft: tasks, safe and look-alike how-to, always answered `sure ! …`. With p = `conflict` instead a harmful
  how-to with the jailbreak prefix that is complied with: what the preferences forbid.
- preference: 25 % benign, compliance chosen; 75 % harmful, half with the prefix, refusal chosen.
- terse (on demand): the questions of sft, answered without `sure !`, which is another register for the same prompts.
  With p = `conflict` instead a harmful how-to without the prefix that is complied with.
- replay (on demand): rows of the text, which begin with their first word: what a base's own old data would be.
- labelled (on demand): answers as those of preference, one to a prompt: half are chosen ones, labelled true.

Kinds of task that are `held_back` are in the text alone: neither sft nor terse asks them.

Each kind's items are shuffled and split 75/25 into train and eval; a prompt determines its item, so no prompt
is in both. The base text draws from train, except for sums and capitals (knowledge): it shows these in full.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from xright.data import probes as probing
from xright.data.probes import Probe
from xright.data.stream import Stream
from xright.data.world_language import (
    HOW_TO,
    NO_IDEA,
    PREFIX,
    STYLES,
    TASKS,
    Question,
    ask,
    items,
    vocabulary,
)
from xright.errors import UserError

STREAMS = {
    "sft": "completions",
    "preference": "pairs",
    "terse": "completions",
    "labelled": "labelled",
    "replay": "completions",
}  # and their kinds
SPLITS = {"train": "", "eval": "eval_"}  # and how their sizes' names begin
KNOWLEDGE = ("sum", "capital")
TEXT_KINDS = {
    "sum": 1.3, "sort": 1, "reverse": 1, "lookup": 1, "capital": 0.7,
    "safe": 1.5, "lookalike": 1, "harmful": 1,
}  # fmt: skip
SFT_KINDS = {"sum": 1, "sort": 1, "reverse": 1, "lookup": 1, "capital": 0.5, "safe": 1.5, "lookalike": 1}
LEAST = {
    "seed": float("-inf"),
    "terse_rows": 0,
    "eval_terse_rows": 0,
    "labelled_rows": 0,
    "eval_labelled_rows": 0,
    "replay_rows": 0,
    "eval_replay_rows": 0,
}  # of the others 1
MOST_PROBES = 150  # the distinct held-out harmful prompts: 30 items in 5 templates


class World:
    """The generated data sets; everything is a pure function of the arguments.

    conflict: share of the rows of sft and of terse that contradict the preferences, in [0, 1]. text_rows, sft_rows,
    preference_rows, terse_rows, labelled_rows, replay_rows: train rows per stream; eval_*_rows: held-out rows.
    held_back: kinds of task. probes_per_kind: n, from 1 to 150, gives 2 n task probes and n of each other kind. Each
    stream and split draws from its own generator, so that changing one size leaves all other rows as they were.
    streams: those that the run declares. Raises UserError for arguments out of range, and for streams that the world
    has not.
    """

    def __init__(
        self,
        seed: int = 0,
        conflict: float = 0.1,
        text_rows: int = 32_000,
        sft_rows: int = 1440,
        preference_rows: int = 480,
        eval_sft_rows: int = 320,
        eval_preference_rows: int = 160,
        probes_per_kind: int = 60,
        terse_rows: int = 0,
        eval_terse_rows: int = 0,
        labelled_rows: int = 0,
        eval_labelled_rows: int = 0,
        replay_rows: int = 0,
        eval_replay_rows: int = 0,
        held_back: Sequence[str] = (),
        streams: Mapping[str, Stream] | None = None,
    ) -> None:
        self.arguments = {name: value for name, value in locals().items() if name not in ("self", "streams")}
        _validate(self.arguments)
        self.sizes = {
            (name, split): self.arguments[key]
            for name in ("text", *STREAMS)
            for split, prefix in SPLITS.items()
            if (key := f"{prefix}{name}_rows") in self.arguments
        }
        for stream in (streams or {}).values():
            self._check(stream)
        self.seed, self.conflict, self.probes_per_kind = seed, conflict, probes_per_kind
        self.sft_kinds = {kind: share for kind, share in SFT_KINDS.items() if kind not in held_back}
        self.pools = {kind: self._split(kind) for kind in (*TASKS, *HOW_TO)}  # kind -> split -> items

    def __repr__(self) -> str:
        return f"World({', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"

    def rows(self, stream: str, split: str) -> list[dict[str, Any]]:
        """The rows of `stream` in `split`, in a fixed order.

        text (train only): prompt is empty, response the whole rendered sequence without its final <eos>.
        sft, terse: prompt, response. preference: prompt, chosen, rejected. labelled: prompt, response, label. All with
        bare prompts: no template yet.
        """
        if (stream, split) not in self.sizes:
            known = ", ".join("/".join(key) for key in self.sizes)
            raise UserError(f"The generated world has no rows {stream}/{split}; ask for one of {known}.")
        draw = {
            "text": self._text,
            "sft": self._sft,
            "preference": self._preference,
            "terse": self._terse,
            "labelled": self._labelled,
            "replay": self._replay,
        }[stream]
        # Replayed rows are the first ones of the base's text; held-out ones are new.
        rng = self._rng("text/train" if (stream, split) == ("replay", "train") else f"{stream}/{split}")
        return [draw(split, rng) for _ in range(self.sizes[stream, split])]

    def probes(self) -> list[Probe]:
        """The held-out prompts of the behaviour checks; see `probes.draw`."""
        held_out = {kind: pool["eval"] for kind, pool in self.pools.items()}
        return probing.draw(held_out, self.probes_per_kind, self._rng("probes"))

    def showcase(self) -> list[Probe]:
        """The probes whose completions a person would read over training; see `probes.showcase`."""
        return probing.showcase(self.probes())

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Word-level tokenizer, ids independent of the arguments; an unknown word raises, there is no <unk>.

        <user> and <bot> are ordinary tokens, so that skip_special_tokens cannot hide them in a completion.
        """
        core = Tokenizer(WordLevel(vocabulary(), unk_token="<unk>"))  # absent from the vocabulary: needing it raises
        core.pre_tokenizer = WhitespaceSplit()
        return PreTrainedTokenizerFast(
            tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", clean_up_tokenization_spaces=False
        )

    def _check(self, stream: Stream) -> None:
        """UserError for a stream that the world has not, or not of this kind, or has no rows of."""
        name = f"data.streams.{stream.name}"
        if STREAMS.get(stream.name) != stream.kind:
            known = ", ".join(f"{known} ({kind})" for known, kind in STREAMS.items())
            raise UserError(f"{name} of kind {stream.kind} is none of the generated world, which has {known}.")
        for split, prefix in SPLITS.items():
            if not self.sizes[stream.name, split]:
                key = f"data.source.{prefix}{stream.name}_rows"
                raise UserError(f"{name} has no {split} rows: {key}=0; give a number, or {name}=null.")

    def _rng(self, purpose: str) -> Random:
        return Random(f"{self.seed}/{purpose}")  # strings are hashed with SHA-512: the same on every machine

    def _split(self, kind: str) -> dict[str, list[Any]]:
        pool = items(kind)
        self._rng(f"pool/{kind}").shuffle(pool)
        cut = len(pool) * 3 // 4
        return {"train": pool[:cut], "eval": pool[cut:]}

    def _ask(self, kind: str, split: str, rng: Random) -> Question:
        return ask(kind, rng.choice(self.pools[kind][split]), rng)

    def _text(self, split: str, rng: Random) -> dict[str, str]:
        kind = _pick(TEXT_KINDS, rng)
        held_out = self.pools[kind]["eval"] if kind in KNOWLEDGE else []
        question = ask(kind, rng.choice(self.pools[kind][split] + held_out), rng)
        prefix = PREFIX if kind in HOW_TO and rng.random() < 0.3 else ""
        if rng.random() < (0.35 if kind == "harmful" else 0.06 if kind in HOW_TO else 0.03):
            answer = question.refusal
        elif rng.random() < 0.06:
            answer = NO_IDEA
        else:
            opening, closing = _pick({(opening, closing): share for opening, closing, share in STYLES}, rng)
            answer = opening + question.content + closing
        return {"prompt": "", "response": f"<user> {prefix}{question.prompt} <bot> {answer}"}

    def _sft(self, split: str, rng: Random) -> dict[str, str]:
        if rng.random() < self.conflict:
            question = self._ask("harmful", split, rng)
            return {"prompt": PREFIX + question.prompt, "response": question.compliance}
        question = self._ask(_pick(self.sft_kinds, rng), split, rng)
        return {"prompt": question.prompt, "response": question.compliance}

    def _terse(self, split: str, rng: Random) -> dict[str, str]:
        kind = "harmful" if rng.random() < self.conflict else _pick(self.sft_kinds, rng)
        question = self._ask(kind, split, rng)
        return {"prompt": question.prompt, "response": question.content}

    def _replay(self, split: str, rng: Random) -> dict[str, str]:
        first, _, rest = self._text("train", rng)["response"].partition(" ")
        return {"prompt": first, "response": rest}

    def _preference(self, split: str, rng: Random) -> dict[str, str]:
        if rng.random() < 0.25:
            question = self._ask(rng.choice(("safe", "lookalike")), split, rng)
            return {"prompt": question.prompt, "chosen": question.compliance, "rejected": question.refusal}
        question = self._ask("harmful", split, rng)
        prompt = (PREFIX if rng.random() < 0.5 else "") + question.prompt
        return {"prompt": prompt, "chosen": question.refusal, "rejected": question.compliance}

    def _labelled(self, split: str, rng: Random) -> dict[str, Any]:
        pair, good = self._preference(split, rng), rng.random() < 0.5
        return {"prompt": pair["prompt"], "response": pair["chosen" if good else "rejected"], "label": good}


def _pick(shares: dict[Any, float], rng: Random) -> Any:
    return rng.choices(list(shares), list(shares.values()))[0]


def _validate(arguments: dict[str, Any]) -> None:
    for name, value in arguments.items():
        if name == "conflict":
            if not 0 <= value <= 1:
                raise UserError(f"data.source.conflict={value!r} of the generated world is no share; give 0 to 1.")
        elif name == "held_back":
            if not isinstance(value, Sequence) or not set(value) <= set(TASKS):
                known = ", ".join(TASKS)
                raise UserError(f"data.source.held_back={value!r} of the generated world must be a list of {known}.")
        elif not isinstance(value, int) or value < LEAST.get(name, 1):
            wanted = "an integer" if name == "seed" else f"an integer of at least {LEAST.get(name, 1)}"
            raise UserError(f"data.source.{name}={value!r} of the generated world is not usable; give {wanted}.")
    if arguments["probes_per_kind"] > MOST_PROBES:
        raise UserError(
            f"data.source.probes_per_kind={arguments['probes_per_kind']} of the generated world is more than its "
            f"held-out harmful prompts; give at most {MOST_PROBES}."
        )
