"""What the models of finished runs say: the same prompts, completions side by side."""

from dataclasses import dataclass
from itertools import islice

from xright.analysis.read.runs import Runs
from xright.analysis.style import cut, look

PROMPTS = 24  # that are shown; the runs' samples.jsonl have all
MOST = 300  # completions of a prompt, over training


@dataclass(frozen=True)
class Answers:
    """One prompt: who gave which final completion (`finals`), and every sampled completion (`history`)."""

    prompt: str
    kind: str
    finals: list[tuple[str, list[tuple[str, str]]]]  # (completion, [(label, colour), …])
    history: list[tuple[str, str, int, str]]  # (label, seed, step, completion)
    known: int  # completions there are; the history has at most MOST of them, evenly spread


def answers(runs: Runs) -> list[Answers]:
    """The first PROMPTS prompts of each method's first run (lowest seed), in file order, with their completions."""
    first = runs.table.drop_duplicates("label").set_index("folder")
    samples = runs.samples.fillna({"kind": ""})
    shown = samples[samples["folder"].isin(first.index)]
    order = {folder: place for place, folder in enumerate(runs.table["folder"])}
    by_folder = runs.table.set_index("folder")
    found = []
    for prompt, rows in islice(shown.groupby("prompt", sort=False), PROMPTS):
        last = rows.sort_values("step", kind="stable").drop_duplicates("folder", keep="last")
        last = last.sort_values("folder", key=lambda folder: folder.map(order))
        finals: dict[str, list[tuple[str, str]]] = {}
        for folder, completion in zip(last["folder"], last["completion"], strict=True):
            run = first.loc[folder]
            finals.setdefault(cut(str(completion)), []).append((run["label"], look(run["method"])[0]))
        every = samples[samples["prompt"] == prompt]
        every = every.assign(place=every["folder"].map(order)).sort_values(["place", "step"], kind="stable")
        known = len(every)
        every = every.iloc[:: max(1, -(-known // MOST))]
        history = [
            (
                by_folder.at[row.folder, "label"],
                f"{by_folder.at[row.folder, 'seed']:.0f}",
                int(row.step),
                cut(str(row.completion)),
            )
            for row in every.itertuples()
        ]
        found.append(Answers(cut(str(prompt)), str(rows["kind"].iloc[0]), list(finals.items()), history, known=known))
    return found
