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


def test_both_finished_studies_have_three_seeds_or_more_for_all_five_claims(script):
    rows = pd.read_csv(EXPERIMENTS / "claims.csv")
    assert set(rows["study"]) <= {*script.STUDIES, *script.PUBLISHED}
    rows = rows[(rows["claim"] != script.BY_LAM) & rows["study"].isin([*script.STUDIES])]
    assert set(rows.groupby("study")["claim"].nunique()) == {5}
    assert rows["study"].nunique() == 2
    assert rows["n"].min() >= 3


def test_a_published_study_is_read_from_its_file(script):
    runs, timed = script.at_hand("SmolLM2, safety")
    assert timed is runs
    found = pd.read_csv(EXPERIMENTS / "claims.csv").query("study == 'SmolLM2, safety'")
    assert [row["statement"] for row in script.statements(runs, timed)] == found["statement"].tolist()
