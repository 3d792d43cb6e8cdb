"""Whose rows the studies read: those of XRIGHT_DATA's folder (conf/data/folder), else the hub's data sets (conf/data).

Of the hub a study reads training splits; `held_out.py` what is behind: test splits, and of alpaca-gpt4, which has none,
the last of 52,002 rows. Cells of the two are never in one table: a study of the hub's rows is published as <study>_hub.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cells import SAFETY, STUDIES, Options
from huggingface_hub.utils.logging import set_verbosity_error
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from xright.config.folder import CONF
from xright.data.tables import fingerprint
from xright.errors import UserError

FOLDER = "XRIGHT_DATA"
PREFERENCE = "data.streams.preference"
ALPACA, REST_OF_ALPACA = (f"data.streams.sft.split='train[{part}]'" for part in (":50000", "50000:"))
ALL_PAIRS = f"{PREFERENCE}.split=train"
TRAINED: Mapping[str, Options] = {
    "saferlhf_alpaca": (f"{PREFERENCE}.path.step.judge=null", ALL_PAIRS, ALPACA),  # the labels suffice
    "hh_alpaca": (ALL_PAIRS, ALPACA),
    "ultrafeedback": (ALL_PAIRS,),
}
SET_APART: Mapping[str, Options] = {  # in the place of what is trained on
    "saferlhf_alpaca": (f"{PREFERENCE}.path.split=test", REST_OF_ALPACA),
    "hh_alpaca": (f"{PREFERENCE}.split=test", REST_OF_ALPACA),
    "ultrafeedback": (f"{PREFERENCE}.path.split=test_prefs",),
}
CATQA, XSTEST = ("declare-lab/CategoricalHarmfulQA", "en", None), ("Paul/XSTest", "train", None)
QUESTIONS = (  # of refusals; MMLU and HellaSwag come from the hub where there is no folder
    f"task.sorry.prompts.path={CATQA[0]}", f"task.sorry.prompts.split={CATQA[1]}",
    "task.sorry.prompts.columns={prompt: Question, category: Category}",
    "task.sorry.prompts.without={Category: [Child Abuse]}", f"task.xstest.prompts.path={XSTEST[0]}",
)  # fmt: skip


def is_hub() -> bool:
    """Whether the rows are the hub's: no folder is named."""
    return FOLDER not in os.environ


def settings(study: str, hub: bool) -> Options:
    """What `xright.run` is told of a study's data; nothing for a folder's, which conf/experiment names."""
    data = STUDIES[study].data
    return (f"data={data}", *TRAINED[data]) if hub else ()


def behind(study: str, hub: bool) -> list[str]:
    """The settings by which `xright.profile` reads a study's rows, those it trains on left out."""
    name, data = STUDIES[study].data, composed(study, hub).data
    found = [f"data={name}", *TRAINED[name], *SET_APART[name]] if hub else [f"data=folder/{name}"]
    found.append(f"data.max_length={data.max_length}")
    for stream, own in data.streams.items():
        found.append(f"data.streams.{stream}.template='{own.template}'")
        if not hub:
            end = re.fullmatch(r"train\[:(\d+)\]", own.split)
            assert end, f"{study}: data.streams.{stream}.split={own.split} leaves no rows behind what is trained on"
            found.append(f"data.streams.{stream}.split='train[{end[1]}:]'")
    return found


def composed(study: str, hub: bool) -> DictConfig:
    """The configuration of a study."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [f"experiment={study}", *settings(study, hub)])


def questions(hub: bool) -> Options:
    """What benchmarks are told, as settings of `xright.evaluate`."""
    return QUESTIONS if hub else ()


def ready(studies: Iterable[str]) -> None:
    """Say whose rows the studies read. End the program where they are not at hand."""
    if not is_hub():
        if not (folder := Path(os.environ[FOLDER])).is_dir():
            sys.exit(f"real_model: {FOLDER}={str(folder)!r} is no folder; name that with sft/, pref/ and eval/.")
        print(f"real_model: rows of the folder {folder} ({FOLDER})")
        return

    places = dict.fromkeys(place for study in studies for place in hub_places(study))
    names = dict.fromkeys(name for name, _, _ in places)
    print(f"real_model: {FOLDER} is not set, so rows of the hub: {', '.join(names)}", flush=True)
    set_verbosity_error()  # where there is no network it tells of every attempt
    try:
        for place in places:
            fingerprint(*place)
    except UserError as error:
        reason, _, _ = str(error).rpartition("; ")  # its remedy is not ours
        sys.exit(f"real_model: {reason}; mend the network, or set {FOLDER} to a folder with sft/, pref/ and eval/.")


def hub_places(study: str) -> Iterator[tuple[str, str, str | None]]:
    """(data set, split, subset) of all that a study reads of the hub, but for the harness's."""
    streams: Any = OmegaConf.to_container(composed(study, True).data.streams, resolve=True)
    for stream in streams.values():
        node = stream["path"]
        own = stream if isinstance(node, str) else node  # a prepared one has a split of its own
        yield own["path"], own["split"], own["subset"]
    yield from (CATQA, XSTEST) if STUDIES[study].tasks == SAFETY else ()
