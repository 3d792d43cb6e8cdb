"""experiments/README.md says of the paper's claims what claims.csv holds, and claims.csv what the runs do."""

import importlib.util
import sys
from pathlib import Path

import pandas as pd
import pytest

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


@pytest.fixture
def script(monkeypatch):
    """The script `experiments/claims.py` as a module."""
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    monkeypatch.setattr(sys, "path", [*sys.path])  # it adds a folder of its own
    spec = importlib.util.spec_from_file_location("claims", EXPERIMENTS / "claims.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in ("publish", "objective_space", "options"):
        sys.modules.pop(name, None)


def test_the_page_is_that_of_the_file(script):
    page = script.page(pd.read_csv(EXPERIMENTS / "claims.csv"))
    assert page in (EXPERIMENTS / "README.md").read_text(encoding="utf-8")


def test_both_finished_studies_have_three_seeds_or_more(script):
    rows = pd.read_csv(EXPERIMENTS / "claims.csv")
    assert set(rows["study"]) <= {*script.RUNS}
    rows = rows[(rows["claim"] != script.BY_LAM) & rows["study"].isin([*script.QUIET])]
    assert rows.groupby("study")["claim"].nunique().min() >= 5
    assert rows["study"].nunique() == 2
    assert rows["n"].min() >= 3


def test_every_claim_has_its_place(script):
    claims = pd.read_csv(EXPERIMENTS / "claims.csv")["claim"].unique()
    for claim in {*claims} - {script.BY_LAM}:
        assert sum(claim.startswith(words) for words in script.ORDER) == 1


def test_answers_are_compared_by_seed_at_the_middle_trade_off(script, tmp_path, monkeypatch):
    kinds = ("sequential", None), ("mix", 0.5), ("mix", 0.75), ("maxright", 0.5), ("orpo", None)
    values = {"mmlu.acc": (0.2, 0.3, 9, 0.4, 0.9), "winrate.win_rate": (0.1, 0.4, 9, 0.2, 0.5)}
    rows = [
        {"label": f"{strategy} {lam}", "strategy": strategy, "lam": lam, "seed": seed, "key": key,
         "value": value + 0.01 * seed, "study": study}
        for study, seed in (("mine", 0), ("mine", 1), ("other", 2))
        for key, own in values.items()
        for (strategy, lam), value in zip(kinds, own, strict=True)
    ]  # fmt: skip
    of_one_seed = {"label": "alright 0.5", "strategy": "alright", "lam": 0.5, "seed": 1, "key": "mmlu.acc", "value": 9}
    rows.append(of_one_seed | {"study": "mine"})  # in the mean of one seed it would be, of the other not
    pd.DataFrame(rows).to_csv(file := tmp_path / "scores.csv", index=False)
    monkeypatch.setitem(script.SCORES, "x", (file, "mine"))
    found = {row["statement"]: (row["mean"], row["n"], row["above"]) for row in script.on_answers("x")}
    assert found == {
        "mmlu.acc of the joint models minus that of Sequential's, at λ=0.5 and equal shares": (
            pytest.approx(0.15),
            2,
            True,
        ),
        "winrate.win_rate of mix minus that of sequential": (pytest.approx(0.3), 2, True),
        "winrate.win_rate of maxright minus that of sequential": (pytest.approx(0.1), 2, True),
        "winrate.win_rate of mix minus that of orpo": (pytest.approx(-0.1), 2, True),
    }  # fmt: skip


def test_a_published_study_is_read_from_its_file(script):
    runs, timed = script.at_hand("SmolLM2, safety")
    assert timed is None  # their machine had other work
    counts = runs.table.groupby("label")["seed"].nunique()
    assert counts.min() == runs.table["seed"].nunique()
    found = pd.read_csv(EXPERIMENTS / "claims.csv").query("study == 'SmolLM2, safety'")
    assert script.rows_of("SmolLM2, safety", found)["statement"].tolist() == found["statement"].tolist()


def test_what_is_not_at_hand_stays_as_it_was(script, monkeypatch):
    for study in script.QUIET:
        monkeypatch.setitem(script.QUIET, study, Path("not/here"))
    monkeypatch.setitem(script.RUNS, "real rows", Path("not/here.csv"))
    old = pd.read_csv(EXPERIMENTS / "claims.csv")
    for study in script.QUIET:
        own = old[old["study"] == study]
        found = script.rows_of(study, own).set_index("statement")
        assert {*found.index} == {*own["statement"]}
        costs = own[own["claim"] == script.COSTS].set_index("statement")
        assert len(costs) == 3
        assert (found.loc[costs.index, "mean"] == costs["mean"]).all()


def test_a_step_is_held_against_the_mean_of_both_single_ones(script, tmp_path, monkeypatch):
    seconds = {"dpo": 1.0, "sft": 3.0, "mix": 4.0, "alright": 2.0, "maxright": 2.5}
    rows = [[number, name, value, "x"] for number in (1, 2) for name, value in seconds.items()]
    pd.DataFrame(rows, columns=["round", "contestant", "cpu", "study"]).to_csv(file := tmp_path / "a.csv", index=False)
    monkeypatch.setattr(script, "TIMES", (file, "x"))
    found = [(row["mean"], row["n"], row["bound"], row["above"]) for row in script.on_costs()]
    assert found == [(1.0, 2, 0.25, True), (0.0, 2, 0.1, False), (0.25, 2, 0.1, False)]
