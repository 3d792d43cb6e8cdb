"""The judge of the win rates: a reward model, made here of pairs that no policy is trained on (`contests.py`).

The first layers of SmolLM2 as they are, and a linear head over what they hold at a text's last token: Bradley and
Terry's likelihood, which for a linear reward is logistic regression on differences. How many layers, and how strong its
penalty, is chosen by cross-validation on the learnt pairs. The paper's judge is UltraRM-13b, which has learnt pairs of
the same kinds.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from contests import ANSWER, PROMPT, PROMPTS, TESTED, TEXT, contests, home, rows, seen, sets
from publish import join_rows
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from xright.data.messages import words
from xright.evaluation.judged_text import Pair, said
from xright.evaluation.task import share
from xright.evaluation.winrate import RewardModel

SIDES = ("chosen", "rejected")
LENGTH = 1024  # most tokens of a pair's longer text, as it is shown: prompt, answer, what is around them
FIRST = ("tackle box", "penmanship")  # the paper's examples (D.1) come before other prompts
LAYERS = (10, 14, 18)  # of 30
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2)  # scikit-learn's C
FOLDS = 5
Row = dict[str, str]


def ready(model: Path, hub: bool) -> None:
    """Write the contests' prompts, make and test the judge, unless that is done. model: whose layers it has."""
    where = home(hub)
    if (where / "tested.csv").is_file():
        return
    where.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(model)
    for data, contest in contests(hub).items():
        asked = prompts(rows(contest.path, contest.part, hub), tokenizer, seen(contest, hub))
        lines = [json.dumps({"prompt": row["prompt"], "reference": row["chosen"]}) + "\n" for row in asked]
        (where / f"{data}.jsonl").write_text("".join(lines), encoding="utf-8")
    learnt = {name: short(rows(own.path, own.learnt, hub), tokenizer) for name, own in sets(hub).items()}
    kept = {name: short(rows(own.path, own.tested, hub), tokenizer) for name, own in sets(hub).items()}
    layers = learn(model, tokenizer, [*chain.from_iterable(learnt.values())], where / "model")
    found = [
        {"pairs": name, "learnt": len(learnt[name]), "layers": layers, **tested(where / "model", kept[name])}
        for name in learnt
    ]
    table = pd.DataFrame(found).assign(source="hub" if hub else "folder")
    join_rows(table, TESTED, ["source", "pairs"])
    table.to_csv(where / "tested.csv", index=False)  # last: all the others are there


def short(pairs: Iterable[Row], tokenizer: Any) -> list[Row]:
    """Those pairs whose texts, as the judge is shown them, have at most LENGTH tokens."""
    return [row for row in pairs if max(count(tokenizer, text) for text in texts(row, tokenizer)) <= LENGTH]


def texts(row: Row, tokenizer: Any) -> list[str]:
    """A pair as the judge is shown it: its chosen and its rejected answer, each behind the prompt."""
    return [Pair(TEXT).write(tokenizer, row["prompt"], row[side]) for side in SIDES]


def prompts(pairs: Iterable[Row], tokenizer: Any, without: set[str]) -> list[Row]:
    """The first PROMPTS rows whose prompt and chosen answer are short, but for prompts in `without`."""
    fit = [
        row
        for row in pairs
        if count(tokenizer, row["prompt"]) <= PROMPT
        and 0 < count(tokenizer, said(row["chosen"])) <= ANSWER
        and words(row["prompt"]) not in without
    ]
    fit.sort(key=lambda row: not any(some in row["prompt"] for some in FIRST))
    return fit[:PROMPTS]


def count(tokenizer: Any, text: str) -> int:
    """Its tokens."""
    return len(ids(tokenizer, text))


def ids(tokenizer: Any, text: str) -> list[int]:
    """Its tokens' numbers."""
    return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]


def learn(model: Path, tokenizer: Any, pairs: Sequence[Row], to: Path) -> int:
    """Make the judge of these pairs in the folder `to`; return how many layers it has."""
    judge = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, dtype=torch.float32).eval()
    judge.model.layers = judge.model.layers[: max(LAYERS)]
    differences_LPD = seen_by(judge.model, tokenizer, pairs)
    signs_P = np.where(np.arange(len(pairs)) % 2, 1, -1)  # a pair the other way round says the same
    found = {layers: fitted(own * signs_P[:, None], signs_P) for layers, own in differences_LPD.items()}
    layers = max(found, key=lambda layers: found[layers].best_score_)
    scale, regression = (step for _, step in found[layers].best_estimator_.steps)
    judge.model.layers = judge.model.layers[:layers]
    judge.config.num_hidden_layers = layers
    judge.score.weight.data = torch.from_numpy(regression.coef_ / scale.scale_).float()
    judge.save_pretrained(to)
    tokenizer.save_pretrained(to)
    return layers


@torch.inference_mode()
def seen_by(model: Any, tokenizer: Any, pairs: Sequence[Row]) -> dict[int, np.ndarray]:
    """For each of LAYERS, what the model's last norm makes of it at the last token of a chosen text, minus that of
    the rejected one: (P, D) of P pairs."""
    states = {layers: np.empty((len(pairs), len(SIDES), model.config.hidden_size)) for layers in LAYERS}
    for place, row in enumerate(tqdm(pairs, "pairs of the judge", unit="pair")):
        for side, text in enumerate(texts(row, tokenizer)):
            asked = torch.tensor([ids(tokenizer, text)])
            seen = model(asked, output_hidden_states=True, use_cache=False).hidden_states
            for layers, state in states.items():  # the last has been through the norm
                own = seen[layers][0, -1]
                state[place, side] = own if layers == len(model.layers) else model.norm(own)
    return {layers: state[:, 0] - state[:, 1] for layers, state in states.items()}


def fitted(differences_PD: np.ndarray, signs_P: np.ndarray) -> GridSearchCV:
    """Logistic regression without intercept on scaled differences, with the best of PENALTIES."""
    regression = make_pipeline(StandardScaler(with_mean=False), LogisticRegression(fit_intercept=False, max_iter=500))
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    search = GridSearchCV(regression, {"logisticregression__C": PENALTIES}, scoring="neg_log_loss", cv=folds)
    return search.fit(differences_PD, signs_P)


def tested(judge: Path, pairs: Sequence[Row]) -> dict[str, Any]:
    """How often it prefers the chosen answer of held-out pairs, with Wilson's interval."""
    asked = [(row["prompt"], row[side]) for side in SIDES for row in pairs]
    rewards, _ = RewardModel(str(judge), TEXT).rewards(asked)
    right = sum(a > b for a, b in zip(rewards[: len(pairs)], rewards[len(pairs) :], strict=True))
    found = share(right, len(pairs), higher_is_better=True)
    return {"n": len(pairs), "accuracy": found.value, "low": found.low, "high": found.high}
