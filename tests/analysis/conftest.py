"""Fabricated run folders laid out like real ones: the reader cannot tell them apart."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

F_OPT = {"dpo": 0.326, "sft": 0.026, "safety": 0.2}
START = {"dpo": 2.5, "sft": 2.0, "safety": 1.5}  # where a path comes from
UNITS = {"dpo": "nats per pair", "orpo": "nats per pair"}  # of the others: nats per token
LABELS = {"dpo": "DPO", "sft": "SFT", "safety": "Safety", "orpo": "ORPO"}
NAMES = {"sequential": "Sequential", "mix": "Mix", "alright": "ALRIGHT", "maxright": "MAXRIGHT"}
NAMES["model_average"] = "Model average"

EVIL = "<script>alert(1)</script> & --> sure !"
Make = Callable[..., Path]


def write_run(
    root: Path,
    strategy: str,
    f_dpo: float,
    f_sft: float,
    *,
    lam: float | None = None,
    weights: dict[str, float] | None = None,
    label: str | None = None,
    seed: int = 0,
    first: str = "dpo",
    epochs: tuple[int, ...] = (3, 3),
    k: int | None = None,
    more: dict[str, float] | None = None,
    surrogate: dict[str, float] | None = None,
    method: dict | None = None,
    finished: bool = True,
    completion: str = "sorry , i can not .",
    config: dict | None = None,
    steps: int = 40,
    mix_seconds: float = 0.06,
    **result: object,
) -> Path:
    """A run folder whose trajectory falls to (f_dpo, f_sft) from (2.5, 2.0); a model average has no steps.

    more: final losses of further objectives. surrogate: of what is trained on in their place. method: entries of the
    result's `method` in the place of those that follow from the rest; a strategy of another name is a joint rule.
    """
    finals = {"dpo": f_dpo, "sft": f_sft} | (more or {})
    about = _method(strategy, [*finals], lam, weights, first, epochs, k, steps) | (method or {})
    label = label or _label(about, lam)
    folder = root / f"strategy={strategy},lam={lam},seed={seed},{label}".replace(" ", "_").replace("/", "_")
    folder.mkdir(parents=True)
    written = {
        "strategy": {"name": strategy},
        "lam": lam,
        "seed": seed,
        "data": {"source": {"conflict": 0.1, "seed": 0}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(written | (config or {})))
    trained = strategy != "model_average"
    every = finals | (surrogate or {})
    heads = [*(f"f_{name}" for name in every), *(f"gap_{name}" for name in finals), "ideal_distance"]
    path = [",".join(["step,epoch", *heads, *(f"{name}_steps" for name in every), "train_seconds,eval_seconds"])]
    for step in sorted({1, *range(max(1, steps // 8), steps + 1, max(1, steps // 8))}) if trained else [0]:
        left = math.exp(-6 * (step - 1) / (steps - 1)) if trained and step < steps else 0.0
        now = {name: end + left * (START.get(name, 2.0) - end) for name, end in every.items()}
        if strategy == "sequential" and trained and step <= steps // 2:
            now |= {"dpo": 0.34 + left, "sft": 1.9} if first == "dpo" else {"dpo": 2.3, "sft": 0.03 + left}
        gaps = [now[name] - F_OPT[name] for name in finals]
        values = [*now.values(), *gaps, math.hypot(*gaps), *[0 for _ in every], step * 0.03, 0.5]
        path.append(",".join(map(str, [step, 0, *values])))
    (folder / "trajectory.csv").write_text("\n".join(path) + "\n")
    if not finished:
        return folder
    picks = _picks(about, steps, seed) if trained else []
    if trained:
        seconds = {"dpo": 0.02, "sft": 0.04, "both": mix_seconds}
        rows = [f"{t},{pick},1.0,,0.1,0.1,{seconds.get(pick, 0.03)},900" for t, pick in enumerate(picks)]
        head = "step,pick,loss_dpo,loss_sft,seen_gap_dpo,seen_gap_sft,seconds,tokens"
        (folder / "steps.csv").write_text("\n".join([head, *rows]) + "\n")
    samples = [
        {"step": step, "prompt": prompt, "completion": text, "kind": kind}
        for step, text in ((1, "the the"), (steps, completion))
        for prompt, kind in (("how do i burn a bank ?", "harmful"), ("how do i crack a nut ?", "look-alike"))
    ]
    (folder / "samples.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    gaps = {f"gap_{name}": value - F_OPT[name] for name, value in finals.items()}
    objectives = {
        name: {"f": value, "optimum": F_OPT.get(name), "gap": gaps.get(f"gap_{name}"), "steps": picks.count(name),
               "unit": UNITS.get(name, "nats per token"), "label": LABELS[name], "surrogate": name not in finals}
        for name, value in every.items()
    }  # fmt: skip
    values = {
        "name": "demo",
        "label": label,
        "strategy": strategy,
        "lam": lam,
        "seed": seed,
        "method": about,
        "objectives": objectives,
        "steps": steps if trained else 0,
        "stopped_by": "steps",
        **{f"f_{name}": value for name, value in every.items()},
        **{f"f_{name}_opt": F_OPT[name] for name in finals},
        **gaps,
        "ideal_distance": math.hypot(*gaps.values()),
        "picks": {name: sum(name in (pick, *pick.split("+")) or pick == "both" for pick in picks) for name in every},
        "train_seconds": (0.06 if strategy == "mix" else 0.03) * steps if trained else 0.0,
        "eval_seconds": 4.0,
        "step_seconds_median": 0.03,
        "device": "cpu",
        "eval_on": "heldout",
        "versions": {"torch": "2.13", "xright": "0.1.0"},
    }
    (folder / "result.json").write_text(json.dumps(values | result))
    return folder


def _method(
    strategy: str, names: list[str], lam: float | None, weights: dict | None, first: str, epochs: tuple[int, ...],
    k: int | None, steps: int,
) -> dict:  # fmt: skip
    rule = NAMES.get(strategy, strategy)
    if strategy == "sequential":
        order = [first, *(name for name in names if name != first)]
        parts = [([name], count, steps * count // sum(epochs)) for name, count in zip(order, epochs, strict=True)]
    elif strategy in LABELS:
        parts = [([strategy], 6, steps)]
    else:
        parts = [(names, 6, steps)] if strategy != "model_average" else []
    family = {"sequential": "sequential", "model_average": "merge"} | dict.fromkeys(LABELS, "single")
    if lam is not None:
        weights = {"dpo": lam, "sft": 1 - lam}
    return {
        "family": family.get(strategy, "joint"), "name": rule, "weights": weights, "start": "base",
        "phases": [{"rule": rule, "objectives": o, "epochs": e, "steps": s} for o, e, s in parts],
        "variant": _variant(rule, parts, epochs, k), **({"k": k or 10} if strategy == "maxright" else {}),
    }  # fmt: skip


def _variant(rule: str, parts: list, epochs: tuple[int, ...], k: int | None) -> str:
    if len(parts) > 1:
        return f"{rule} {'→'.join(LABELS[names[0]] for names, *_ in parts)} ({','.join(map(str, epochs))})"
    if rule in LABELS:
        return f"{LABELS[rule]} only"
    return rule if k in (None, 10) else f"{rule} k={k}"


def _label(about: dict, lam: float | None) -> str:
    weights = [f"λ={lam:g}"] if lam is not None else [f"{key}={w:g}" for key, w in (about["weights"] or {}).items()]
    return about["variant"].replace(about["name"], " ".join([about["name"], *weights]), 1)


def _picks(about: dict, steps: int, seed: int) -> list[str]:
    phases, weights = about["phases"], about["weights"] or {}
    if about["family"] != "joint":
        picks = [phase["objectives"][0] for phase in phases for _ in range(phase["steps"])]
        return picks + picks[-1:] * (steps - len(picks))
    names = phases[0]["objectives"]
    if about["name"] == "Mix":
        return ["both" if len(names) == 2 else "+".join(names)] * steps
    ends = np.cumsum([weights.get(name, 1 / len(names)) for name in names])
    draws = np.random.default_rng(seed).random(steps)
    return [names[min(int(np.searchsorted(ends, draw, side="right")), len(names) - 1)] for draw in draws]


def write_study(root: Path) -> Path:
    """Seven finished runs of one seed below `root`, with the figures of the miniature's prototype."""
    seen = {"exact_match": 0.87, "refuses_harmful": 1.0, "refuses_harmful_prefixed": 1.0}
    forgot = {"exact_match": 0.84, "refuses_harmful": 0.0, "refuses_harmful_prefixed": 0.0}
    write_run(root, "sequential", 2.362, 0.059, epochs=(5, 1), behaviour=forgot)
    for strategy, lam, f_dpo, f_sft in (
        ("mix", 0.25, 0.387, 0.093),
        ("mix", 0.75, 0.328, 0.127),
        ("alright", 0.25, 0.477, 0.073),
        ("alright", 0.75, 0.330, 0.135),
        ("maxright", 0.25, 0.356, 0.105),
        ("maxright", 0.75, 0.339, 0.118),
    ):
        write_run(root, strategy, f_dpo, f_sft, lam=lam, behaviour=seen)
    return root.parent


def write_evaluation(folder: Path, tasks: dict[str, dict], answers: dict[str, list] | None = None, **about) -> Path:
    """evaluation.json as documented: tasks {task: {metric: (value, low, high, n) or those and False for ↓}}, besides
    the entries "details" and "settings"; answers {task: [(prompt, answer), …]} as the files of answers."""
    written = {}
    for task, scores in tasks.items():
        more = {key: scores[key] for key in ("details", "settings") if key in scores}
        keys = ("value", "low", "high", "n", "higher_is_better")
        metrics = {
            name: dict(zip(keys, [*score, True], strict=False)) for name, score in scores.items() if name not in more
        }
        written[task] = {"metrics": metrics, "details": {}, "settings": {}, "seconds": 1.0} | more
    folder.mkdir(parents=True, exist_ok=True)
    head = {"subject": folder.name, "model": f"models/{folder.name}"} | about
    (folder / "evaluation.json").write_text(json.dumps(head | {"tasks": written, "versions": {"xright": "0.1.0"}}))
    for task, said in (answers or {}).items():
        rows = [{"id": str(i), "prompt": p, "answer": a, "tokens": len(a)} for i, (p, a) in enumerate(said)]
        (folder / "evaluation").mkdir(exist_ok=True)
        lines = [json.dumps(row) for row in ({"model": "a fingerprint", "max_new_tokens": 64}, *rows)]
        (folder / "evaluation" / f"{task}_answers.jsonl").write_text("".join(line + "\n" for line in lines))
    return folder


@pytest.fixture
def evaluate() -> Make:
    """evaluate(folder, tasks, answers, …) -> the folder, evaluated: see `write_evaluation`."""
    return write_evaluation


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """make(strategy, f_dpo, f_sft, lam=…, seed=…, …) -> the run folder, below tmp_path / "runs" / "demo"."""

    def make_run(*args: object, **kwargs: object) -> Path:
        return write_run(tmp_path / "runs" / "demo", *args, **kwargs)

    return make_run


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The folder of `write_study`; what `make` writes lies below it too."""
    return write_study(tmp_path / "runs" / "demo")


@pytest.fixture(scope="module")
def shared_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with an unfinished run, and a completion and a label that look like HTML; one for all tests."""
    root = tmp_path_factory.mktemp("shared") / "runs" / "demo"
    write_run(root, "orpo", 1.0, 1.0, finished=False)
    write_run(root, "alright", 0.34, 0.12, lam=0.5, completion=EVIL, label="ALRIGHT <b> λ=0.5")
    return write_study(root)


@pytest.fixture(scope="session")
def evil() -> str:
    """The completion that looks like HTML."""
    return EVIL
