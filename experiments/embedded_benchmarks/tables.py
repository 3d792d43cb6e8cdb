"""The tables of the study's page: every method's scores, the string-match judge held to sentences, reward models."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from evaluated import BENCHMARKS, CONTESTS, LAMS, grid, run_folders, scores
from prompts import SAFETY
from publish import between_markers, write_rows

from xright.analysis.text.tables import Grid, markdown
from xright.data.probes import Probe
from xright.evaluation.behaviour import judge


def publish(here: Path, studies: Sequence[Path], work: Path) -> None:
    """results.csv and the README's tables. work: the folder with prompts and reward models."""
    rows = scores(studies, BENCHMARKS | CONTESTS, LAMS)
    write_rows(rows, here / "results.csv")
    table = markdown(grid(rows))
    parts = [table, judged(studies, work), reward_models(studies, work), measured(studies)]
    between_markers(here / "README.md", "\n".join(parts))


def judged(studies: Sequence[Path], work: Path) -> str:
    """What the string match calls a refusal, against whole sentences; all prompts of a kind, all seeds."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for who, run in run_folders(studies, LAMS):
        for name in SAFETY:
            prompts = _lines(work / f"seed_{who['seed']}" / f"{name}.jsonl")
            for prompt, given in zip(prompts, _lines(run / "evaluation" / f"{name}_verdicts.jsonl"), strict=True):
                sentence = judge(_probe(prompt), given["answer"])
                counts.setdefault((who["label"], name), Counter()).update([(given["verdict"], sentence)])
    headings = ["method", *(f"{name}: {what}" for name in SAFETY for what in ("refused", "… to the word", "neither"))]
    rows, total = {}, Counter()
    for (label, _), found in counts.items():
        n = found.total()
        refused = sum(count for (verdict, _), count in found.items() if verdict == "full_refusal")
        exact, neither = (sum(count for (_, said), count in found.items() if said == w) for w in ("refuses", "broken"))
        rows.setdefault(label, [label]).extend(f"{share / n:.0%}" for share in (refused, exact, neither))
        total += found
    missed = sum(count for (verdict, said), count in total.items() if said == "refuses" and verdict != "full_refusal")
    refusing = sum(count for (_, said), count in total.items() if said == "refuses")
    complying = sum(count for (verdict, _), count in total.items() if verdict == "full_compliance")
    neither = total["full_compliance", "broken"]
    told = (
        f"Of {refusing:,} answers that are the world's refusal to the word, string match misses {missed:,}. Of "
        f"{complying:,} answers that it calls a compliance, {neither:,} ({neither / complying:.0%}) are neither the "
        "world's compliance nor its refusal.\n"
    )
    what = (
        "Of each kind of prompt, all seeds together: what string match calls a refusal; answers that are the world's "
        "refusal to the word (in any of its styles); and answers that are neither its refusal nor its compliance:\n"
    )
    return "\n".join([what, markdown(Grid(headings, list(rows.values()), 1)), told])


def reward_models(studies: Sequence[Path], work: Path) -> str:
    """How well each world's reward model knows held-out pairs, and what it makes of garbled answers."""
    garbled: dict[int, list[float]] = {}
    for who, run in run_folders(studies, LAMS):
        pairs = _lines(work / f"seed_{who['seed']}" / "contest.jsonl")
        for pair, row in zip(pairs, _lines(run / "evaluation" / "over_chosen_rewards.jsonl"), strict=True):
            if judge(Probe(pair["prompt"], "harmful", pair["chosen"], pair["rejected"]), row["answer"]) == "broken":
                garbled.setdefault(who["seed"], []).append(row["outcome"])
    rows = []
    for seed in sorted(garbled):
        found = json.loads((work / f"seed_{seed}" / "reward_model" / "accuracy.json").read_text(encoding="utf-8"))
        shares = [f"{found[key]:.1%}" for key in ("accuracy", "accuracy_shuffled")]
        wins = garbled[seed]
        rows.append([f"{seed}", f"{found['pairs']}", *shares, f"{sum(wins):g} of {len(wins)}"])
    headings = ["world (seed)", "held-out pairs", "chosen over rejected", "chosen over its words shuffled"]
    what = (
        "The reward models, and how many garbled answers (neither of a pair's two sentences) win over the chosen one:"
    )
    return f"{what}\n\n{markdown(Grid([*headings, 'garbled answers that win'], rows, 1))}"


def measured(studies: Sequence[Path]) -> str:
    """Machines and versions of the evaluated runs."""
    told = {}
    for _, run in run_folders(studies, LAMS):
        device = json.loads((run / "result.json").read_text(encoding="utf-8"))["device"]
        versions = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))["versions"]
        told[f"Measured on {device}, {', '.join(f'{name} {number}' for name, number in versions.items())}.\n"] = None
    return "".join(told)


def _probe(prompt: dict[str, str]) -> Probe:
    if prompt["label"] == "safe":
        return Probe(prompt["prompt"], "lookalike", prompt["compliance"], prompt["refusal"])
    return Probe(prompt["prompt"], "harmful", prompt["refusal"], prompt["compliance"])


def _lines(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
