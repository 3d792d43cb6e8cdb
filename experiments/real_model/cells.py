"""What the study of a real model consists of: studies, each of cells, a cell being one run of one seed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

Options = tuple[str, ...]
LAMS = ("0.5", "0.25", "0.75")
SPLITS = ("[2,2]", "[1,3]", "[3,1]")  # of four epochs: (first, second), matched to these λ with DPO first
JOINT = ("alright", "maxright", "mix")
RIVALS = ("stch", "famo", "upgrad", "raco", "pcd")  # as they come: the league tunes


class Study(NamedTuple):
    """data: file of conf/data, and below it in folder/. tasks: of each command of `xright.evaluate`, see Cell.tasks."""

    data: str
    cells: Sequence[Options]
    tasks: Sequence[Options] = ()


class Cell(NamedTuple):
    """One run: conf/experiment/<study>.yaml with `options`. hub: with the hub's rows in the place of a folder's."""

    study: str
    seed: int
    options: Options
    hub: bool = False

    @property
    def table(self) -> str:
        """Return what its study is called in csv files and folders."""
        return table_of(self.study, self.hub)

    @property
    def key(self) -> str:
        """Return what it is called in cells.csv."""
        return " ".join(self.options)

    @property
    def name(self) -> str:
        """Return the name of the folder of its run."""
        given = [option.split("=") for option in self.options]
        parts = [f"{key.split('.')[-1]}-{value.strip('[]').replace(',', '-')}" for key, value in given]
        return "_".join([f"seed-{self.seed}", *parts]).replace("strategy-", "")

    @property
    def drawn(self) -> list[str]:
        """The settings by which seeds differ: training and held-out rows, order and adapter are drawn anew."""
        return [f"seed={self.seed}", f"data.source.seed={self.seed}"]

    @property
    def is_middle(self) -> bool:
        """Has it the middle trade-off, or none?"""
        given = dict(option.split("=") for option in self.options)
        return given.get("lam", "0.5") == "0.5" and given.get("strategy.epochs", SPLITS[0]) == SPLITS[0]

    @property
    def is_main(self) -> bool:
        """Is it of the paper's methods, as they come, at the middle trade-off? These are run with every seed first."""
        is_rival = self.options[0] in [f"strategy={rule}" for rule in RIVALS]
        return self.is_middle and not is_rival and self.options not in LOOKS

    @property
    def tasks(self) -> Sequence[Options]:
        """Return what its model is asked, if it is a main one, one command after another. Questions take longer than
        training."""
        return STUDIES[self.study].tasks if self.is_main else ()


def table_of(study: str, hub: bool) -> str:
    """What a study is called in csv files and folders: rows of two sources are never in one."""
    return f"{study}_hub" if hub else study


def sequential(first: str) -> list[Options]:
    """The Sequential runs of one order."""
    return [("strategy=sequential", f"strategy.first={first}", f"strategy.epochs={split}") for split in SPLITS]


def joint(rules: Sequence[str] = JOINT, lams: Sequence[str] = LAMS) -> list[Options]:
    """Rules at several λ, those at λ = .5 before others."""
    return [(f"strategy={rule}", f"lam={lam}") for lam in lams for rule in rules]


def merged(starts: Sequence[str], lams: Sequence[str] = LAMS) -> list[Options]:
    """The base, and merges of the optima's models."""
    return [
        ("strategy=merge", "start=base"),
        *(("strategy=merge", f"start={start}", f"lam={lam}") for start in starts for lam in lams),
    ]


ANSWERS = (  # as those that the judge was held to (judges.py)
    *(f"task.{task}.max_new_tokens=60" for task in ("sorry", "xstest")),
    *(f"judge@task.{task}.judge=phrases" for task in ("sorry", "xstest")),
    "batch_size=55",  # a word of many answers costs little more than of few; a long question's logits are large
)
SAFETY = (
    ("tasks=[sorry,xstest]", "task.sorry.prompts.limit=110", "task.xstest.prompts.limit=150", *ANSWERS),
    ("tasks=[hellaswag,mmlu]", "task.hellaswag.limit=100", "task.mmlu.limit=2", "batch_size=16"),
)
CONTEST = (("tasks=[winrate]", "batch_size=50"),)  # `contests.py` has the rest
SHORT = ("epochs=2", "probe_share=0.25")  # half as many epochs, evaluated on half as many rows: a first look
FIRST = [
    ("strategy=sequential", "strategy.first=dpo", "strategy.epochs=[1,1]", *SHORT),
    *((f"strategy={rule}", "lam=0.5", *SHORT) for rule in ("alright", "maxright")),
    ("strategy=merge", "start=base", *SHORT),
]
FIRST_TASKS = ("tasks=[sorry,xstest]", "task.sorry.prompts.limit=22", "task.xstest.prompts.limit=20", *ANSWERS)
LOOKS = [("strategy=maxright", f"strategy.k={k}", f"lam={lam}") for lam in LAMS for k in (1, 100, 1000)]
STUDIES: Mapping[str, Study] = {
    "smollm2_safety": Study(
        "saferlhf_alpaca", [*sequential("dpo"), *joint(), *merged(["average", "ties"]), *joint(RIVALS, ["0.5"])], SAFETY
    ),
    "smollm2_dpo_first": Study("hh_alpaca", [*sequential("dpo"), *joint(), *LOOKS], CONTEST),
    "smollm2_sft_first": Study("hh_alpaca", [*sequential("sft"), *joint()], CONTEST),
    "smollm2_ultrafeedback": Study(
        "ultrafeedback", [sequential("sft")[0], ("strategy=orpo",), *joint(lams=["0.5"])], CONTEST
    ),
}


def cells(studies: Sequence[str], seeds: Sequence[int], hub: bool = False) -> Iterator[Cell]:
    """Study by study, seed by seed, the main ones first."""
    for study in studies:
        for seed in seeds:
            own = [Cell(study, seed, options, hub) for options in STUDIES[study].cells]
            yield from sorted(own, key=lambda cell: not cell.is_main)
