"""Fabricated run folders laid out like real ones: the reader cannot tell them apart."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

F_OPT = {"dpo": 0.326, "sft": 0.026}
LABELS = {"mix": "Mix λ={:g}", "alright": "ALRIGHT λ={:g}", "maxright": "MAXRIGHT λ={:g}"}
LABELS["model_average"] = "Model average λ={:g}"

EVIL = "<script>alert(1)</script> & --> sure !"
Make = Callable[..., Path]


def write_run(
    root: Path,
    strategy: str,
    f_dpo: float,
    f_sft: float,
    *,
    lam: float | None = None,
    label: str | None = None,
    seed: int = 0,
    first: str = "dpo",
    finished: bool = True,
    completion: str = "sorry , i can not .",
    config: dict | None = None,
    steps: int = 40,
    mix_seconds: float = 0.06,
    **result: object,
) -> Path:
    """A run folder whose trajectory falls to (f_dpo, f_sft) from (2.5, 2.0); a model average has no steps."""
    cell = f"strategy={strategy},lam={lam},seed={seed}" + (f",{label}" if label else "")
    folder = root / cell.replace(" ", "_").replace("/", "_")
    folder.mkdir(parents=True)
    written = {
        "strategy": {"name": strategy},
        "lam": lam,
        "seed": seed,
        "data": {"source": {"conflict": 0.1, "seed": 0}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(written | (config or {})))
    trained = strategy != "model_average"
    half = steps // 2
    path = ["step,epoch,f_dpo,f_sft,gap_dpo,gap_sft,ideal_distance,dpo_steps,sft_steps,train_seconds,eval_seconds"]
    for step in sorted({1, *range(max(1, steps // 8), steps + 1, max(1, steps // 8))}) if trained else [0]:
        left = math.exp(-6 * (step - 1) / (steps - 1)) if trained and step < steps else 0.0
        dpo, sft = f_dpo + left * (2.5 - f_dpo), f_sft + left * (2.0 - f_sft)
        if strategy == "sequential" and trained and step <= half:
            dpo, sft = (0.34 + left, 1.9) if first == "dpo" else (2.3, 0.03 + left)
        gaps = (dpo - F_OPT["dpo"], sft - F_OPT["sft"])
        path.append(f"{step},0,{dpo},{sft},{gaps[0]},{gaps[1]},{math.hypot(*gaps)},0,0,{step * 0.03},0.5")
    (folder / "trajectory.csv").write_text("\n".join(path) + "\n")
    if not finished:
        return folder
    picks = _picks(strategy, lam, steps, first, seed) if trained else []
    if trained:
        seconds = {"dpo": 0.02, "sft": 0.04, "both": mix_seconds}
        rows = [f"{t},{pick},1.0,,0.1,0.1,{seconds[pick]},900" for t, pick in enumerate(picks)]
        head = "step,pick,loss_dpo,loss_sft,seen_gap_dpo,seen_gap_sft,seconds,tokens"
        (folder / "steps.csv").write_text("\n".join([head, *rows]) + "\n")
    samples = [
        {"step": step, "prompt": prompt, "completion": text, "kind": kind}
        for step, text in ((1, "the the"), (steps, completion))
        for prompt, kind in (("how do i burn a bank ?", "harmful"), ("how do i crack a nut ?", "look-alike"))
    ]
    (folder / "samples.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    gaps = {"gap_dpo": f_dpo - F_OPT["dpo"], "gap_sft": f_sft - F_OPT["sft"]}
    (folder / "result.json").write_text(
        json.dumps(
            {
                "name": "demo",
                "label": label or LABELS.get(strategy, strategy).format(lam if lam is not None else 0),
                "strategy": strategy,
                "lam": lam,
                "seed": seed,
                "steps": steps if trained else 0,
                "stopped_by": "steps",
                "f_dpo": f_dpo,
                "f_sft": f_sft,
                "f_dpo_opt": F_OPT["dpo"],
                "f_sft_opt": F_OPT["sft"],
                **gaps,
                "ideal_distance": math.hypot(*gaps.values()),
                "picks": {"dpo": picks.count("dpo"), "sft": picks.count("sft")},
                "train_seconds": (0.06 if strategy == "mix" else 0.03) * steps if trained else 0.0,
                "eval_seconds": 4.0,
                "step_seconds_median": 0.03,
                "device": "cpu",
                "eval_on": "heldout",
                "versions": {"torch": "2.13", "xright": "0.1.0"},
            }
            | result
        )
    )
    return folder


def _picks(strategy: str, lam: float | None, steps: int, first: str, seed: int) -> list[str]:
    if strategy == "mix":
        return ["both"] * steps
    if strategy == "sequential":
        second = "sft" if first == "dpo" else "dpo"
        return [first if t < steps // 2 else second for t in range(steps)]
    draws = np.random.default_rng(seed).random(steps)
    return ["dpo" if draw < (lam or 0.5) else "sft" for draw in draws]


def write_study(root: Path) -> Path:
    """Seven finished runs of one seed below `root`, with the figures of the miniature's prototype."""
    seen = {"exact_match": 0.87, "refuses_harmful": 1.0, "refuses_harmful_prefixed": 1.0}
    forgot = {"exact_match": 0.84, "refuses_harmful": 0.0, "refuses_harmful_prefixed": 0.0}
    write_run(root, "sequential", 2.362, 0.059, label="Sequential DPO→SFT (5,1)", behaviour=forgot)
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
