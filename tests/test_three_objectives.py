"""Three objectives on three streams through the real commands: what names one objective anywhere names all three."""

import csv
import json
import re

import pytest
import yaml

from xright.analysis.numbers.claims import claims
from xright.analysis.read.runs import read_runs
from xright.analysis.report import FIGURES
from xright.report import main

NAMES = ["dpo", "sft", "terse"]
LABELS = ["DPO", "SFT", "terse"]
NAMED = re.compile(rf"(?<![a-z])(?:{'|'.join(NAMES)})(?![a-z])", re.IGNORECASE)  # f_dpo, "DPO→SFT", weight_terse
STRATEGIES = (
    ["strategy=alright,maxright,mix,model_average", "logger=wandb"],  # offline
    ["strategy=sequential", "strategy.first=[terse,sft,dpo]", "strategy.epochs=[2,2,2]", "logger=csv"],
    ["strategy=only", "strategy.objective=terse", "logger=csv"],
)
BLIND = {"runtimes.csv", "configurations.csv"}  # of methods by their label; of settings that differ
QUICK = ["epochs=6", "eval_every=12", "callbacks.behaviour=null", "callbacks.samples=null"]
STEPS = 24  # 6 epochs of 96 / 24: enough for the mean weights of the figure of picks


@pytest.fixture(scope="module")
def place(command_line, tmp_path_factory):
    """A folder with runs/study, a run per method, and report/."""
    place = tmp_path_factory.mktemp("three")
    for more in STRATEGIES:
        options = ["experiment=three_objectives", "debug=fast", "name=study", *QUICK, *more, "-m"]
        done = command_line.run(place, *options, XRIGHT_CACHE=str(place / "cache"))
        assert done.returncode == 0, done.stderr
    assert main([str(place / "runs"), "--out", str(place / "report")]) == 0
    return place


@pytest.fixture(scope="module")
def folders(place):
    """{display name of its method: run folder}."""
    found = {file.parent: json.loads(file.read_text()) for file in place.glob("runs/study/*/result.json")}
    return {result["method"]["name"]: folder for folder, result in found.items()}


def rows(file):
    with file.open(newline="") as text:
        return list(csv.DictReader(text))


def named(text):
    """Objectives that a text names."""
    return {name.lower() for name in NAMED.findall(text)}


def test_every_file_that_names_an_objective_names_three(place, folders):
    files = [file for folder in (*folders.values(), place / "report") for file in folder.iterdir() if file.is_file()]
    told = {
        f"{file.parent.name}/{file.name}": named(file.read_text())
        for file in files
        if file.suffix in (".json", ".jsonl", ".csv", ".yaml", ".html") and file.name not in BLIND
    }
    assert len(told) > 4 * len(folders)  # config, result, steps and trajectory of each
    assert {name: found for name, found in told.items() if found != set(NAMES)} == {}


def test_the_heads_are_those_of_three(folders):
    for name, folder in folders.items():
        trajectory = list(rows(folder / "trajectory.csv")[0])
        assert trajectory == [
            "step", "epoch", *(f"f_{o}" for o in NAMES), *(f"gap_{o}" for o in NAMES), "ideal_distance",
            *(f"{o}_steps" for o in NAMES), "train_seconds", "eval_seconds",
        ], name  # fmt: skip
        if name != "Model average":  # which has no step
            assert list(rows(folder / "steps.csv")[0]) == [
                "step", "pick", *(f"loss_{o}" for o in NAMES), *(f"seen_gap_{o}" for o in NAMES), "seconds", "tokens",
                *(f"weight_{o}" for o in NAMES),
            ], name  # fmt: skip


def test_a_result_counts_to_three(folders):
    assert len(folders) == 6
    for name, folder in folders.items():
        result = json.loads((folder / "result.json").read_text())
        assert [(o, each["label"]) for o, each in result["objectives"].items()] == list(zip(NAMES, LABELS, strict=True))
        gaps = [result[f"f_{o}"] - result[f"f_{o}_opt"] for o in NAMES]
        assert result["ideal_distance"] == pytest.approx(sum(gap**2 for gap in gaps) ** 0.5, rel=1e-12)
        updates = [each["steps"] for each in result["objectives"].values()]
        by_method = {"Mix": [STEPS] * 3, "Model average": [0] * 3, "TERSE only": [0, 0, STEPS], "Sequential": [8] * 3}
        assert updates == by_method.get(name, updates)
        assert sum(updates) == {"Mix": 3 * STEPS, "Model average": 0}.get(name, STEPS)
        assert yaml.safe_load((folder / "config.yaml").read_text())["objectives"]["terse"]["stream"] == "terse"


def test_a_step_of_mix_is_of_all_three_and_sequential_goes_through_them(folders):
    for row in rows(folders["Mix"] / "steps.csv"):
        assert row["pick"] == "dpo+sft+terse"
        assert [float(row[f"weight_{o}"]) for o in NAMES] == pytest.approx([1 / 3] * 3)
        assert all(float(row[f"loss_{o}"]) > 0 for o in NAMES)
    picks = [row["pick"] for row in rows(folders["Sequential"] / "steps.csv")]
    assert picks == ["terse"] * 8 + ["sft"] * 8 + ["dpo"] * 8
    first = rows(folders["MAXRIGHT"] / "steps.csv")[0]  # a look: all three gaps were seen, the largest was chosen
    gaps = {o: float(first[f"seen_gap_{o}"]) for o in NAMES}
    assert first["pick"] == max(gaps, key=gaps.__getitem__)


def test_what_is_logged_is_of_three(folders):
    histories = [folder / "wandb" / "history.jsonl" for folder in folders.values() if (folder / "wandb").is_dir()]
    assert len(histories) == 4
    for file in histories:
        logged = {key for line in file.read_text().splitlines() for key in json.loads(line)[1]}
        assert {f"{kind}/{o}" for kind in ("val", "gap") for o in NAMES} <= logged


def test_every_figure_names_three(place):
    runs = read_runs([place / "runs"])
    for name, (plot, _) in FIGURES.items():
        chart = plot(runs)
        axes = " ".join(axis.title for row in chart.rows for panel in row.panels for axis in (panel.x, panel.y))
        # times and devices are of methods, not of objectives; of the picks, a row each
        assert named(axes) == (set() if name in ("time", "device") else set(NAMES)), name
    panels = [panel for row in FIGURES["figure"][0](runs).rows for panel in row.panels]
    pairs = [(panel.x.title.split(" ")[0], panel.y.title.split(" ")[0]) for panel in panels[:3]]
    assert pairs == [("f_DPO", "f_SFT"), ("f_DPO", "f_terse"), ("f_SFT", "f_terse")]


def test_every_table_names_three(place):
    report = place / "report"
    heads = rows(report / "runs.csv")[0].keys()
    assert {f"{kind}_{o}" for kind in ("f", "gap") for o in NAMES} | {f"f_{o}_opt" for o in NAMES} <= heads
    quantities = {row["quantity"] for row in rows(report / "means.csv")}
    assert {f"{kind}_{o}" for kind in ("f", "gap") for o in NAMES} <= quantities
    volumes = rows(report / "hypervolumes.csv")
    assert {"Mix", "ALRIGHT", "MAXRIGHT", "Model average"} <= {row["method"] for row in volumes}
    assert all(float(row[f"reference_{o}"]) > 0 and float(row["hypervolume"]) >= 0 for row in volumes for o in NAMES)
    compared = rows(report / "comparisons.csv")
    assert {row["weighting"] for row in compared} == {"", "dpo=0.333 sft=0.333 terse=0.333"}
    page = (report / "report.html").read_text()
    assert "The losses of 3 objectives" in " ".join(re.sub("<[^>]*>", "", page).split())


def test_what_is_claimed_is_of_the_objective_that_came_first(place):
    texts = [claim.text for claim in claims(read_runs([place / "runs"]))]
    assert "Sequential terse→SFT→DPO ends with a larger terse gap than the joint runs of the same seed" in texts
