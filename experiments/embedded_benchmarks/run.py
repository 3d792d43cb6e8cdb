"""The embedded comparison's models on prompts of their own world: safety, instructions, win rates. Three seeds.

`make embedded-benchmarks` trains what is missing of the runs (those of `make seeds`, and ORPO), writes the prompts,
trains a reward model for each world, evaluates, and puts the tables into the README. ORPO's runs go to
runs/embedded_win_rate, prompts and reward models to runs/embedded_benchmarks.
"""

import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from evaluated import LAMS
from options import no_options
from prompts import SAFETY, write, write_prompts
from reward_model import TEXT, train_reward_model
from tables import publish

from xright.strategies.maxright import USUAL_K

SEEDS = (0, 1, 2)
WORK, JOINT, ORPO = (Path("runs") / name for name in ("embedded_benchmarks", "embedded", "embedded_win_rate"))
SEQUENTIAL = ["strategy=sequential", "strategy.first=dpo,sft", "strategy.epochs=[3,3]"]
TRAINED = (
    [f"name={JOINT.name}", "reference=chosen", *SEQUENTIAL],
    [f"name={JOINT.name}", "reference=chosen", "strategy=mix,alright,maxright", f"lam={','.join(map(str, LAMS))}"],
    [f"name={ORPO.name}", "reference=chosen", "strategy=orpo"],
)
COMMON = ["batch_size=64", "threads=1"]
TOKENS = 24  # of an answer; the longest right one has 15


def command(module: str, *options: str) -> None:
    """python -m <module> <options>"""
    subprocess.run([sys.executable, "-m", module, *options], check=True)


def study(seed: int) -> None:
    """Everything of one world."""
    for options in TRAINED:
        command("xright.run", *options, "logger=csv", f"seed={seed}", f"data.source.seed={seed}", "-m")
    here, runs, (orpo,) = WORK / f"seed_{seed}", finished(JOINT, seed), finished(ORPO, seed)
    write_prompts(seed, here)
    train_reward_model(orpo, seed, here / "reward_model")
    tasks = ["tasks=[behaviour]"]
    for name in SAFETY:
        node = f"task.{name}"
        tasks += [f"+task@{node}=refusal", f"{node}.prompts.path={here / name}.jsonl"]
        tasks += [f"{node}.max_new_tokens={TOKENS}"]
    evaluated = [str(run) for run in (*runs, orpo)]
    command("xright.evaluate", *evaluated, *tasks, *contest("over_chosen", here, "contest"), *COMMON)
    answers = [json.loads(line) for line in (orpo / "evaluation" / "over_chosen_answers.jsonl").open(encoding="utf-8")]
    own = [{"prompt": row["prompt"], "reference": row["answer"]} for row in answers[1:] if row["answer"].strip()]
    write(here / "contest_orpo.jsonl", own)
    command("xright.evaluate", *evaluated, "tasks=[behaviour]", *contest("over_orpo", here, "contest_orpo"), *COMMON)


def contest(name: str, here: Path, prompts: str) -> list[str]:
    """The options of a win rate over the references in a file, by the world's own reward model."""
    node = f"task.{name}"
    return [
        f"+task@{node}=winrate", f"{node}.prompts.path={here / prompts}.jsonl", f"{node}.template=null",
        f"{node}.prompts.columns=null", f"{node}.max_new_tokens={TOKENS}",
        f"{node}.reward_model.path={here / 'reward_model'}", f"{node}.reward_model.text='{TEXT}'",
    ]  # fmt: skip


def finished(folder: Path, seed: int) -> list[Path]:
    """The runs that this study looks at."""
    found = []
    for file in sorted(folder.glob("*/result.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        method = result["method"]
        wanted = result["strategy"] in ("mix", "alright", "orpo") or method.get("k") == USUAL_K
        wanted |= method["family"] == "sequential" and [phase["epochs"] for phase in method["phases"]] == [3, 3]
        if wanted and result["seed"] == seed and result["lam"] in (None, *LAMS):
            found.append(file.parent)
    return found


if __name__ == "__main__":
    no_options(__doc__)
    for seed in SEEDS:
        study(seed)
    publish(Path(__file__).parent, [JOINT, ORPO], WORK)
