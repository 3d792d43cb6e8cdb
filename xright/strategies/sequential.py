"""Sequential: T1 epochs of one objective, then T2 of the next, …: the usual practice, which arXiv 2410.15483 shows to
forget. The authors also merge a phase's adapter and start a new one; we keep the adapter."""

from collections.abc import Sequence

from xright.errors import UserError
from xright.strategies.only import Only
from xright.strategies.schedule import Phase, Schedule, is_count


class Sequential(Schedule):
    """first: a name of `objectives`, or several in their order; those not named follow. epochs: one number per
    objective. Raises UserError for others."""

    name = "Sequential"

    def __init__(self, first: str | Sequence[str], epochs: Sequence[int], objectives: Sequence[str]) -> None:
        order = list(first) if isinstance(first, Sequence) and not isinstance(first, str) else [first]
        if unknown := [name for name in order if name not in objectives]:
            raise UserError(
                f"strategy.first={first!r} of Sequential names {', '.join(map(str, unknown))}; it must be one of "
                f"{', '.join(objectives)}, or several in their order."
            )
        names = list(dict.fromkeys([*order, *objectives]))
        if len(epochs) != len(names) or not all(is_count(count) for count in epochs):
            places = ",".join(f"T{place}" for place, _ in enumerate(names, 1))
            raise UserError(
                f"strategy.epochs={list(epochs)} of Sequential must be {len(names)} whole numbers >= 1, one each for "
                f"{', '.join(names)}: '[{places}]'."
            )
        super().__init__([Phase(Only(name), count) for name, count in zip(names, epochs, strict=True)])
