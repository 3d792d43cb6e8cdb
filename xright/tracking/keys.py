"""What a run logs to W&B: every key with its unit, in the sections of a dashboard, all over optimizer steps (STEP).

In a key, <objective> stands for the name of each of the run's objectives, whose units `result.json` says, and * for
anything: the names that a check of behaviour gives, or "<objective>/" where several objectives have a metric of one
name. The callbacks promise the same keys in their docstrings, and docs/howto/wandb.md to people;
`tests/test_loggers.py` holds both, and what is in a run's files, against this.
"""

import re
from collections.abc import Mapping

STEP = "trainer/global_step"  # the step axis of every key: optimizer steps done

OWN = "the objective's unit"
METRICS = {  # what an objective says of pairs: implicit rewards β·log(π/π_ref), and log-probs
    "rewards/chosen": "nats",
    "rewards/rejected": "nats",
    "rewards/margins": "nats",
    "rewards/accuracies": "share of pairs",
    "logps/chosen": "nats",
    "logps/rejected": "nats",
}
SECTIONS = {  # heading: {key: unit}
    "Optimality gaps": {"ideal_distance": "nats", "gap/<objective>": OWN},
    "Evaluation": {"val/<objective>": OWN} | {f"val/*{name}": unit for name, unit in METRICS.items()},
    "Training": {"train/<objective>": OWN} | {f"train/*{name}": unit for name, unit in METRICS.items()},
    "Strategy": {"weight/<objective>": "mean weight", "strategy/pick": "mean weight on the first objective"},
    "Behaviour": {"behaviour/*": "share of prompts"},
    "Machine": {
        "device/utilization_pct": "%",
        "device/peak_memory_gb": "GB (10⁹ bytes)",
        "time/step_s": "seconds per step",
    },
}
LOGGED = {key: unit for keys in SECTIONS.values() for key, unit in keys.items()}

TRAJECTORY = "trajectory"  # the chart; its table is W&B's `trajectory_table`
TABLES = {  # key: columns
    "samples": ("step", "prompt", "kind", "completion"),
    "behaviour/completions": ("step", "prompt", "completion", "verdict"),
    f"{TRAJECTORY}_table": ("run", "label", "lam", "seed", "step", "f_<objective>", "ideal_distance"),
}


def pattern(key: str) -> str:
    """The regular expression of all keys that a key of LOGGED stands for.

    >>> bool(re.fullmatch(pattern("val/<objective>"), "val/sft")), pattern("behaviour/*")
    (True, 'behaviour/.*')
    """
    return re.escape(key).replace("<objective>", "[^/]+").replace(r"\*", ".*")


def of_objectives(keys: Mapping[str, str], objectives: Mapping[str, str]) -> dict[str, str]:
    """The keys of a section where the objectives {name: unit} are known; as they are where none is.

    >>> of_objectives({"gap/<objective>": OWN}, {"sft": "nats per token"})
    {'gap/sft': 'nats per token'}
    """
    known = objectives or {"<objective>": OWN}
    return {
        key.replace("<objective>", name): unit.replace(OWN, own)
        for key, unit in keys.items()
        for name, own in (known.items() if "<objective>" in key else [("", "")])
    }
