"""The convex results: recomputes them, and puts numbers and figures beside this file. `make theory`."""

import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from xright.theory.__main__ import main
from xright.theory.expectation import expected_gap
from xright.theory.forgetting import bound
from xright.theory.recompute import FINE_HORIZONS

sys.path.insert(0, str(Path(__file__).parents[1]))
from publish import between_markers

HERE = Path(__file__).parent
OUT = Path("report") / "theory"


def one_parameter(results: dict) -> Iterable[str]:
    """Gaps against T as Markdown."""
    alright, expected, mix = (results[name]["10"] for name in ("alright", "alright_expected", "mix"))
    yield from (line("T", alright), "| --- |" + " ---: |" * len(alright))
    for schedule, rows in results["sequential"].items():
        yield line(f"Sequential, α = {schedule}", (f"{rows[T]['gap']:.5f}" for T in alright))
    yield line("Mix, α = 10/sqrt(T)", (f"{mix[T]['gap']:.1e}" for T in alright))
    yield line("ALRIGHT, α = 10/sqrt(T): E[G]", (f"{expected[T]:.5f}" for T in alright))
    means = (f"{row['mean_gap']:.5f} ± {row['standard_error']:.5f} ({row['seeds']})" for row in alright.values())
    yield line("… mean ± standard error (seeds)", means)
    yield line("… bound of theorem 4.1, corrected", (f"{row['bound']:.3f}" for row in alright.values()))


def the_bound(results: dict) -> str:
    """Slope, and how both forms of the bound fare."""
    cells = [(alpha, horizon) for alpha in (0.01, 0.1, 1.0, 10.0) for horizon in FINE_HORIZONS]
    factor = min(bound(*cell) / expected_gap(*cell) for cell in cells)
    printed = bound(0.01, 100) + 25 / 20 * (0.01 - 1 / 0.01)  # its first term times α0² : 25 = ‖θ1 − θ*‖², √T = 10
    return (
        f"Slope of log E[G] against log T over 10² … 10⁵: {results['alright_slope']['10']:.4f}. The corrected bound "
        f"holds by a factor of at least {factor:.1f} for α0 = 0.01, 0.1, 1, 10 and T = 10 … 10⁵. The printed one does "
        f"not: for α0 = 0.01, T = 100 it is {printed:.4f}, below E[G] = {expected_gap(0.01, 100):.4f}."
    )


def two_parameters(results: dict) -> Iterable[str]:
    """End points as Markdown."""
    yield from (line("table 2", ("method", "λ", "θ", "f_DPO", "f_SFT", "ideal distance")), "| --- " * 7 + "|")
    sections = [(variant, "0.5", methods) for variant, methods in results["toy"].items()]
    sections += [("swapped", lam, methods) for lam, methods in results["toy_lam"].items()]
    for variant, lam, methods in sections:
        for method, end in methods.items():
            theta = ", ".join(f"{value:.3f}" for value in end["theta"])
            spread = f" ± {end['ideal_distance_sd']:.4f} ({end['seeds']} seeds)" if "seeds" in end else ""
            numbers = (
                f"({theta})",
                f"{end['f_dpo']:.4f}",
                f"{end['f_sft']:.4f}",
                f"{end['ideal_distance']:.4f}{spread}",
            )
            yield line(variant, (method, lam, *numbers))


def line(first: str, rest: Iterable[str]) -> str:
    """One row."""
    return f"| {first} | {' | '.join(rest)} |"


def measured(about: dict) -> str:
    """Machine and versions."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    machine = f"CPU {about['machine']['cpu']} × {about['machine']['cores']}"
    return f"Measured on {machine}, {versions}; {about['seconds']:.0f} s."


if __name__ == "__main__":
    if code := main([str(OUT), *sys.argv[1:]]):
        sys.exit(code)
    for file in (OUT / "theory.json", *OUT.glob("*.png")):
        shutil.copy(file, HERE)
    found = json.loads((HERE / "theory.json").read_text(encoding="utf-8"))
    parts = [*one_parameter(found), "", the_bound(found), "", *two_parameters(found), "", measured(found["about"]), ""]
    between_markers(HERE / "README.md", "\n".join(parts))
