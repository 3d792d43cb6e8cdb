"""Results from before a run said what it is (`method` and `objectives` in result.json): completed from config.yaml.

Such a run had two objectives on its way, "dpo" and "sft", and one of these strategies; another's name is taken for
that of a joint rule.
"""

from collections.abc import Mapping
from typing import Any

NAMES = {
    "sequential": "Sequential", "mix": "Mix", "alright": "ALRIGHT", "maxright": "MAXRIGHT",
    "model_average": "Model average",
}  # fmt: skip
TABLE = {"dpo": ("DPO", "nats per pair"), "sft": ("SFT", "nats per token")}
USUAL_K = 10
REQUIRED = tuple(f"f_{name}" for name in TABLE)


def completed(result: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The result, nested as it was written, in the new form. config: flat."""
    strategy, lam, epochs = result["strategy"], result.get("lam"), config.get("epochs")
    picks: Mapping[str, Any] = result.get("picks") or {}
    rule = NAMES.get(strategy, strategy)
    method: dict[str, Any] = {"family": "joint", "name": rule, "weights": None, "start": "base"}
    steps: dict[str, Any] = {}
    if "strategy.first" in config:
        first = config["strategy.first"]
        order = [first, *(name for name in TABLE if name != first)]
        method["family"] = "sequential"
        steps = {name: (length, picks.get(name)) for name, length in zip(order, config["strategy.epochs"], strict=True)}
    elif "strategy.objective" in config:
        only = config["strategy.objective"]
        method |= {"family": "single", "name": f"{only.upper()} only"}
        steps = {only: (epochs, result.get("steps"))}
    elif strategy == "model_average":
        method |= {"family": "merge", "start": "average"}
    phases = [{"rule": rule, "objectives": [name], "epochs": e, "steps": s} for name, (e, s) in steps.items()]
    if method["family"] == "joint":
        phases = [{"rule": rule, "objectives": [*TABLE], "epochs": epochs, "steps": result.get("steps")}]
    if isinstance(lam, int | float):
        method["weights"] = dict(zip(TABLE, (lam, 1 - lam), strict=True))
    method["variant"] = method["name"]
    if method["family"] == "sequential":
        epochs = ",".join(map(str, config["strategy.epochs"]))
        method["variant"] = f"{rule} {'→'.join(name.upper() for name in steps)} ({epochs})"
    if "strategy.k" in config:
        method["k"] = config["strategy.k"]
        method["variant"] += f" k={method['k']}" if method["k"] != USUAL_K else ""
    objectives = {
        name: {"f": result[f"f_{name}"], "optimum": result.get(f"f_{name}_opt"), "gap": result.get(f"gap_{name}"),
               "steps": picks.get(name), "label": label, "unit": unit, "surrogate": False}
        for name, (label, unit) in TABLE.items()
    }  # fmt: skip
    return {**result, "method": method | {"phases": phases}, "objectives": objectives}
