"""What a run computes, in floating-point operations (FLOP), and how long that takes at a given speed. Plain arithmetic.

A matrix of P parameters takes 2 P FLOP per token forward, 2 P for the gradient of its input, and 2 P for its own
gradient where it is trained. All matrices of the body see every token of a packed line (a pair's prompt once); the
output head sees the tokens that are predicted. Counted as computed: gradient checkpointing repeats the body's forward,
a trained head its own (`xright/forward/logprobs.py`). Left out: attention between tokens (a few per cent at these
lengths), norms, the optimizer, loading.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil

HOUR = 3600  # seconds
EXA = 1e18
GPU = 0.4 * 312e12  # FLOP/s. An assumption, not measured: 40 % of an A100's peak in bf16
MEASURED = "measured"  # the kind of rows that were timed


@dataclass(frozen=True)
class Size:
    """Parameters of a model's matrices. body: all blocks', with the adapter's; trained: those of them that learn; head:
    vocabulary × hidden size."""

    body: float
    trained: float
    head: float
    head_trained: bool = False
    checkpointing: bool = False


@dataclass(frozen=True)
class Length:
    """Mean tokens of one pair or row: on the packed line, and of them those that are predicted."""

    tokens: float
    predicted: float


@dataclass(frozen=True)
class Stream:
    """rows: of training data; batch: rows per step; length: of one."""

    rows: int
    batch: int
    length: Length

    @property
    def steps_per_epoch(self) -> int:
        """The last, partial batch counts."""
        return ceil(self.rows / self.batch)


@dataclass(frozen=True)
class Experiment:
    """One conf/experiment file. streams: `dpo` and `sft`, by the objective that takes them; chosen: length of a pair's
    prompt and chosen response alone."""

    size: Size
    streams: Mapping[str, Stream]
    chosen: Length
    epochs: int
    eval_every: int
    reference: str
    reference_epochs: int
    probe: float = 0.03  # the share of the training rows that an evaluation looks at

    @property
    def steps_per_epoch(self) -> int:
        """Of the longer stream."""
        return max(stream.steps_per_epoch for stream in self.streams.values())

    @property
    def steps(self) -> int:
        """Of a joint run, where nothing stops it early."""
        return self.epochs * self.steps_per_epoch


def forward(size: Size, length: Length) -> float:
    """FLOP of a forward of one row.

    >>> forward(Size(body=10, trained=1, head=5), Length(tokens=3, predicted=2))
    80.0
    """
    return 2.0 * (size.body * length.tokens + size.head * length.predicted)


def update(size: Size, length: Length) -> float:
    """FLOP of forward and backward of one row.

    >>> update(Size(body=10, trained=1, head=5), Length(tokens=3, predicted=2))
    166.0
    """
    body = (2 + size.checkpointing) * size.body + size.trained
    head = (4 if size.head_trained else 2) * size.head
    return 2.0 * (body * length.tokens + head * length.predicted)


def step(experiment: Experiment, objective: str) -> float:
    """FLOP of one optimizer step of an objective."""
    stream = experiment.streams[objective]
    return stream.batch * update(experiment.size, stream.length)


def evaluations(experiment: Experiment, steps: int, objectives: Iterable[str] = ("dpo", "sft")) -> float:
    """FLOP of all evaluations of a run: after the first step, every so many, and at the end."""
    rounds = 1 + ceil(steps / experiment.eval_every)
    streams = (experiment.streams[name] for name in objectives)
    return rounds * sum(
        ceil(experiment.probe * stream.rows) * forward(experiment.size, stream.length) for stream in streams
    )


def run(experiment: Experiment, strategy: str, lam: float, k: int, first: str, epochs: Iterable[int]) -> float:
    """FLOP of one run, evaluation included, stages not. epochs: (T_first, T_second) of Sequential, (T,) of all others.

    MAXRIGHT's picks are not known beforehand: half and half; at a look it makes one forward more, of the objective it
    does not update.
    """
    epochs = tuple(epochs)
    steps = sum(epochs) * experiment.steps_per_epoch
    dpo, sft = (step(experiment, name) for name in ("dpo", "sft"))
    if strategy == "model_average":
        return evaluations(experiment, 0)
    if strategy == "alright":
        training = steps * (lam * dpo + (1 - lam) * sft)
    elif strategy == "mix":
        training = steps * (dpo + sft)
    elif strategy == "orpo":  # on the same pairs; its loss costs what DPO's does
        training = steps * dpo
    elif strategy == "sequential":
        order = (dpo, sft) if first == "dpo" else (sft, dpo)
        training = sum(count * experiment.steps_per_epoch * cost for count, cost in zip(epochs, order, strict=True))
    elif strategy == "maxright":
        looks = [s.batch * forward(experiment.size, s.length) for s in experiment.streams.values()]
        training = steps * ((dpo + sft) / 2 + sum(looks) / 2 / k)
    else:
        raise ValueError(f"the cost of {strategy!r} is not known")
    return training + evaluations(experiment, steps)


def stages(experiment: Experiment) -> dict[str, float]:
    """FLOP of what the runs share: π_ref, its log-probs of every pair, each objective alone for the whole budget."""
    dpo, sft = experiment.streams["dpo"], experiment.streams["sft"]
    stream, length = (dpo, experiment.chosen) if experiment.reference == "chosen" else (sft, sft.length)
    reference = experiment.reference_epochs * stream.steps_per_epoch * stream.batch * update(experiment.size, length)
    optima = {
        f"optimum_{name}": experiment.steps * step(experiment, name) + evaluations(experiment, experiment.steps, [name])
        for name in experiment.streams
    }
    return {"reference": reference, "reference_logps": dpo.rows * forward(experiment.size, dpo.length), **optima}


def hours(flop: float, flop_per_second: float) -> float:
    """At a constant speed."""
    return flop / flop_per_second / HOUR
