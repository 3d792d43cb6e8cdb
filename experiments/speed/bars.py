"""The bars: from measured steps to a claim, a target, a figure, and whether it holds.

Every figure is the median over rounds of a ratio (or difference) within a round, with the quartiles in brackets; in a
round all contestants work on the same rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

LONG = 0.5  # seconds; bar 1's ratio is for steps at least as long
LORA, LARGE, FULL, TINY = "LoRA, 8k", "LoRA, 50k", "full, 8k", "overhead"
REAL, REAL_FULL, EVALUATION = "SmolLM2, LoRA", "SmolLM2, full", "evaluation"  # of a real model
NEAR, NEAR_FULL = f"limit: {REAL}", f"limit: {REAL_FULL}"  # more rounds of the two that are close
OBJECTIVES = ("dpo", "sft")


@dataclass(frozen=True)
class Bar:
    """One line of the table."""

    number: int
    claim: str
    target: str
    measured: str
    holds: bool


class Measured:
    """The steps of all races by name: `seconds[race]` has a row per round and a column per contestant."""

    def __init__(self, steps: pd.DataFrame, found: Mapping[str, Any], time: str) -> None:
        counted = steps[steps["round"] > 0]
        self.steps, self.found = counted, found
        self.seconds = {
            str(race): group.pivot(index="round", columns="contestant", values=time)
            for race, group in counted.groupby("race")
        }

    def ratio(self, race: str, over: str, under: str) -> pd.Series:
        """Per round in which both took part."""
        return (self.seconds[race][over] / self.seconds[race][under]).dropna()

    def always(self, race: str, contestant: str) -> bool:
        """Did it take part in every round?"""
        seconds = self.seconds[race]
        return contestant in seconds and bool(seconds[contestant].notna().all())

    def peak(self, over: str, under: str) -> pd.Series:
        """Per batch."""
        return pd.Series(self.found["peaks"][over]) / pd.Series(self.found["peaks"][under])


def shown(values: pd.Series, form: str = "{:.2f}", unit: str = "") -> str:
    """Median (quartiles).

    >>> shown(pd.Series([1.0, 2.0, 3.0]), unit="×")
    '2.00× (1.50–2.50)'
    """
    low, middle, high = (form.format(values.quantile(q)) for q in (0.25, 0.5, 0.75))
    return f"{middle}{unit} ({low}–{high})"


def bars(measured: Measured) -> list[Bar]:
    """All of them, in the order of the design."""
    found = [*overhead(measured), *against_naive(measured), *against_trl(measured)]
    if "peaks" in measured.found:
        found += memory(measured)
    found += [*strategies(measured), *maxright(measured), *parity(measured)]
    return found + (sweep(measured.found["sweep"]) if "sweep" in measured.found else [])


def real_bars(measured: Measured) -> list[Bar]:
    """Those of the real model, of what has been measured of it."""
    found, both = [], [race for race in (REAL, REAL_FULL) if race in measured.seconds]
    for race in both:
        near = {REAL: NEAR, REAL_FULL: NEAR_FULL}[race]
        for objective in OBJECTIVES:
            ours, bare = f"{objective}/ours", f"{objective}/bare"
            ratio = measured.ratio(near if near in measured.seconds else race, ours, bare)
            claim = f"{objective.upper()} step over the bare loop, {race}"
            found.append(Bar(1, claim, "≤ 1.03×", shown(ratio, "{:.3f}", "×"), ratio.median() <= 1.03))
    compact = ("TRL compact", "TRL with head compaction forced")
    found += [faster(measured, 2, race, name, *compact, 2.3) for race in both for name in OBJECTIVES]
    if EVALUATION in measured.seconds:
        found += [faster(measured, 3, EVALUATION, name, *compact, 2.0) for name in OBJECTIVES]
    return [*found, *strategies(measured, REAL), *maxright(measured, REAL), *parity(measured, both)]


def overhead(measured: Measured) -> list[Bar]:
    """Bar 1."""
    lines = []
    for objective in OBJECTIVES:
        seconds = measured.seconds[TINY]
        extra = 1e3 * (seconds[f"{objective}/ours"] - seconds[f"{objective}/bare"])
        length = 1e3 * seconds[f"{objective}/bare"].median()
        claim = f"{objective.upper()} step over the bare loop, a model of one layer (bare: {length:.0f} ms)"
        lines.append(Bar(1, claim, "≤ 1.5 ms", shown(extra, unit=" ms"), extra.median() <= 1.5))
    for race in (LORA, LARGE, FULL):
        for objective in OBJECTIVES:
            bare = measured.seconds[race][f"{objective}/bare"].median()
            if bare >= LONG:
                ratio = measured.ratio(race, f"{objective}/ours", f"{objective}/bare")
                claim = f"{objective.upper()} step over the bare loop, {race} (bare: {1e3 * bare:.0f} ms)"
                lines.append(Bar(1, claim, "≤ 1.02×", shown(ratio, "{:.3f}", "×"), ratio.median() <= 1.02))
    return lines


def against_naive(measured: Measured) -> list[Bar]:
    """Bars 2 and 3."""
    wanted = [(2, "dpo", LORA, 3.0), (2, "dpo", LARGE, 5.0), (2, "dpo", FULL, 2.3)]
    wanted += [(3, "sft", LORA, 2.2), (3, "sft", LARGE, 4.0)]
    return [faster(measured, number, race, objective, "naive", "naive", at) for number, objective, race, at in wanted]


def against_trl(measured: Measured) -> list[Bar]:
    """Bar 4."""
    rivals = [("TRL stock", "TRL", 4.0, 3.0), ("TRL compact", "TRL with head compaction forced", 2.3, 2.0)]
    return [
        faster(measured, 4, race, objective, rival, title, {"dpo": dpo, "sft": sft}[objective])
        for rival, title, dpo, sft in rivals
        for race in (LORA, LARGE)
        for objective in OBJECTIVES
        if measured.always(race, f"{objective}/{rival}")
    ]


def faster(measured: Measured, number: int, race: str, objective: str, rival: str, title: str, at_least: float) -> Bar:
    """How many times faster our step is than a rival's."""
    ratio = measured.ratio(race, f"{objective}/{rival}", f"{objective}/ours")
    claim = f"{objective.upper()} {'step ' if race != EVALUATION else ''}against {title}, {race}"
    return Bar(number, claim, f"≥ {at_least:g}×", shown(ratio, unit="×"), ratio.median() >= at_least)


def memory(measured: Measured) -> list[Bar]:
    """Bar 5."""
    lines = []
    for objective, most in (("dpo", 0.15), ("sft", 0.18)):
        ratio = measured.peak(f"{objective}/ours", f"{objective}/naive")
        claim = f"{objective.upper()} peak memory above the model, of naive, {LARGE}"
        lines.append(Bar(5, claim, f"≤ {most:g}", shown(ratio, "{:.3f}"), ratio.median() <= most))
    return lines


def strategies(measured: Measured, race: str = LORA) -> list[Bar]:
    """Bar 6."""
    seconds, steps = measured.seconds[race], measured.steps
    own = steps[(steps["race"] == race) & (steps["contestant"] == "ALRIGHT")].set_index("round")
    pure = seconds["sft/ours"].where(own["dpo"].isna(), seconds["dpo/ours"])
    alright = 100 * (seconds["ALRIGHT"] / pure - 1)
    mix = seconds["Mix"] / (seconds["dpo/ours"] + seconds["sft/ours"])
    claim = "ALRIGHT over a pure step of the objective it drew"
    lines = [Bar(6, claim, "≤ +1 %", shown(alright, "{:+.1f}", " %"), alright.median() <= 1)]
    lines += [Bar(6, "Mix over an SFT and a DPO step", "≤ 1.05×", shown(mix, unit="×"), mix.median() <= 1.05)]
    if "peaks" in measured.found:
        peaks = {name: pd.Series(measured.found["peaks"][name]) for name in ("Mix", "dpo/ours", "sft/ours")}
        ratio = peaks["Mix"] / peaks["dpo/ours"].combine(peaks["sft/ours"], max)
        claim = f"Mix's peak memory over the larger of the two, {LARGE if race == LORA else race}"
        lines.append(Bar(6, claim, "≤ 1.15", shown(ratio), ratio.median() <= 1.15))
    return lines


def maxright(measured: Measured, race: str = LORA) -> list[Bar]:
    """Bar 7: each objective wins as often as the other, and ALRIGHT draws each as often."""
    seconds = measured.seconds[race]

    def extra(kind: str) -> pd.Series:
        own = sum(seconds[f"MAXRIGHT {kind}, {name} wins"] for name in OBJECTIVES)
        return 100 * (own / sum(seconds[f"{name}/ours"] for name in OBJECTIVES) - 1)

    looks, between = extra("look"), extra("between looks")
    lines = [Bar(7, "MAXRIGHT over ALRIGHT, k = 1", "≤ +60 %", shown(looks, "{:+.0f}", " %"), looks.median() <= 60)]
    for k, most in ((10, 7.0), (100, 1.0)):
        part = looks / k
        claim = f"… k = {k}: one look in {k} steps (a step between looks: {shown(between, '{:+.1f}', ' %')})"
        lines.append(Bar(7, claim, f"≤ +{most:g} %", shown(part, "{:+.1f}", " %"), part.median() <= most))
    if "MAXRIGHT look without gradient, dpo wins" in seconds:
        claim = "… k = 1, the authors' way (both without gradient, the winner again)"
        lines.append(Bar(7, claim, "–", shown(extra("look without gradient"), "{:+.0f}", " %"), True))
    return lines


def parity(measured: Measured, races: Sequence[str] = (LORA, LARGE, FULL)) -> list[Bar]:
    """Bar 8, over the settings of these races."""
    apart = {race: losses_apart(measured, race) for race in races}
    gradients = [(name, value) for race in races for name, value in measured.found["gradients"][race].items()]
    trl = max(value for name, value in gradients if "TRL" in name)
    layouts = max(value for name, value in gradients if "TRL" not in name)
    loss_trl = max(value for race in races for name, value in apart[race].items() if "TRL" in name)
    loss = max(value for race in races for name, value in apart[race].items() if "TRL" not in name)
    return [
        Bar(8, "largest difference of a loss: TRL and ours", "≤ 1e-4", f"{loss_trl:.1e}", loss_trl <= 1e-4),
        Bar(8, "… of a gradient, relative: TRL and naive", "≤ 1e-3", f"{trl:.1e}", trl <= 1e-3),
        Bar(8, "… of a loss: all other steps and ours, relative", "≤ 5e-5", f"{loss:.1e}", loss <= 5e-5),
        Bar(8, "… of a gradient: all other steps (ours too) and naive", "≤ 5e-5", f"{layouts:.1e}", layouts <= 5e-5),
    ]


def losses_apart(measured: Measured, race: str) -> dict[str, float]:
    """Largest difference to our loss on the same rows, by contestant: absolute for TRL, relative for others."""
    steps = measured.steps[measured.steps["race"] == race]
    apart = {}
    for objective in OBJECTIVES:
        losses = steps.pivot(index="round", columns="contestant", values=objective)
        own = losses[f"{objective}/ours"]
        for name in losses:
            difference = losses[name].sub(own).abs().div(1.0 if "TRL" in str(name) else own)
            apart[f"{name} {objective}"] = float(difference.max())  # NaN where it did not compute this loss
    return {name: value for name, value in apart.items() if value == value}


def sweep(cells: list[Mapping[str, Any]]) -> list[Bar]:
    """Bar 9."""
    first, *rest = cells
    built = sum(cell["built"] for cell in rest)
    seconds = ", ".join(f"{cell['seconds']:.1f}" for cell in cells)
    claim = f"a λ sweep: stages built by the 2nd, … run (the 1st builds {first['built']})"
    return [Bar(9, claim, "0", f"{built}; seconds until all is there: {seconds}", built == 0 < first["built"])]
