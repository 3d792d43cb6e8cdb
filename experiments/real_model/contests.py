"""Who meets whom for the win rates (fig 5): a study's models answer short prompts, against the chosen answers.

Of each data set, three parts share no row: what the studies draw from (conf/experiment), what the judge learns, and
what it is tested on (`reward_judge.py`). A contest's prompts are of the last part, or of a file of their own. Prompts
and the answers to be beaten are short, since a long answer wins by its length over one that is cut.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import origin
import published
from cells import STUDIES, Cell

from xright.data.messages import words
from xright.data.tables import read

TESTED = published.HERE / "judge.csv"
TEXT = "chat"  # how the judge is shown a prompt and its answer
PROMPT, ANSWER = 192, 128  # most tokens of a prompt, and of an answer
PROMPTS = 50  # as in the paper


class Pairs(NamedTuple):
    """A data set: file below the folder or name on the hub, and the parts that the judge learns and is tested on."""

    path: str
    learnt: str
    tested: str


class Contest(NamedTuple):
    """Where prompts with a chosen answer are: file or name, and the part of it. template: how policies are asked."""

    path: str
    part: str
    template: str | None = None


ULTRA, HELPFUL, HARMLESS = (
    f"pref/{name}.jsonl.gz" for name in ("ultrafeedback_binarized", "hh_helpful_test", "hh_harmless_test")
)
PAIRS = {
    "ultrafeedback": Pairs(ULTRA, "train[300:560]", "train[560:]"),
    "helpful": Pairs(HELPFUL, "train[600:1536]", "train[1536:]"),
}
CONTESTS = {
    "ultrafeedback": Contest(ULTRA, "train[560:]"),
    "hh_alpaca": Contest("eval/rm_hh_rlhf_prompts.jsonl", "train", "raw"),
}
ULTRA_HUB, HH_HUB = "HuggingFaceH4/ultrafeedback_binarized", "Dahoas/rm-hh-rlhf"
PAIRS_HUB = {
    "ultrafeedback": Pairs(ULTRA_HUB, "test_prefs[:1000]", "test_prefs[1000:1200]"),
    "helpful and harmless": Pairs(HH_HUB, "test[:1000]", "test[1000:1200]"),
}
CONTESTS_HUB = {
    "ultrafeedback": Contest(ULTRA_HUB, "test_prefs[1200:]"),
    "hh_alpaca": Contest(HH_HUB, "test[1200:]", "raw"),
}


def sets(hub: bool) -> Mapping[str, Pairs]:
    """What the judge learns and is tested on, by name."""
    return PAIRS_HUB if hub else PAIRS


def contests(hub: bool) -> Mapping[str, Contest]:
    """The contests, by the data of a study (`cells.Study.data`)."""
    return CONTESTS_HUB if hub else CONTESTS


def home(hub: bool) -> Path:
    """The folder of the judge and of the contests' prompts."""
    return published.RUNS / ("judge_hub" if hub else "judge")


def options(cell: Cell) -> list[str]:
    """What `xright.evaluate` is told of the contest of a cell's study; nothing where it has none."""
    where, data, task = home(cell.hub), STUDIES[cell.study].data, "task.winrate"
    contest = contests(cell.hub).get(data)
    if contest is None:
        return []
    return [
        f"{task}.prompts.path={where / data}.jsonl", f"{task}.prompts.columns=null",
        f"{task}.template={contest.template or 'null'}", f"{task}.max_new_tokens={ANSWER}",
        f"{task}.reward_model.path={where / 'model'}", f"{task}.reward_model.text={TEXT}",
    ]  # fmt: skip


def rows(path: str, part: str, hub: bool) -> Iterator[dict[str, str]]:
    """Prompt, chosen and, where there is one, rejected answer as texts; of a file below the folder, or of the hub."""
    place = path if hub else str(Path(os.environ[origin.FOLDER]) / path)
    for row in read(place, part).dataset:
        yield {key: _text(row[key]) for key in ("prompt", "chosen", "rejected") if key in row}


def seen(contest: Contest, hub: bool) -> set[str]:
    """The words of prompts that a contest shall not have: those of the folder's pairs that it is no part of. The hub's
    contests are parts of what is trained on nowhere."""
    others = [] if hub else [path for path in (ULTRA, HELPFUL, HARMLESS) if path != contest.path]
    return {words(row["prompt"]) for path in others for row in rows(path, "train", hub)}


def _text(value: Any) -> str:
    """A prompt or answer, which may be the last message of a conversation."""
    return str(value if isinstance(value, str) else value[-1]["content"])
