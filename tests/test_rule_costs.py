"""experiments/rule_costs: its page follows from its rows, and each study can be measured alone."""

import pandas as pd
import pytest

from tests.beside import EXPERIMENTS, importable

COSTS = EXPERIMENTS / "rule_costs"


@pytest.fixture(scope="module", autouse=True)
def modules():
    """The experiment's modules can be imported, for as long as these tests run."""
    with importable("", "speed", "rule_costs"):
        yield


def test_the_published_page_follows_from_its_rows():
    from run import page

    begin = "<!-- results: written by the command above -->"
    assert f"{begin}\n{page()}<!-- end" in (COSTS / "README.md").read_text()


def test_a_ratio_is_of_all_rounds_together():
    """Two rounds of 3 and 5 seconds against Mix's 2 and 6: 8 / 8."""
    from run import ratios

    rows = [("mix", 1, 2.0), ("mix", 2, 6.0), ("own", 1, 3.0), ("own", 2, 5.0)]
    middle, low, high = ratios(pd.DataFrame(rows, columns=["contestant", "round", "cpu"]), "own")
    assert middle == 1.0
    assert (low, high) == (5 / 6, 1.5)  # of either round alone


def test_the_real_model_trains_as_in_its_study(monkeypatch, tmp_path):
    import run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XRIGHT_DATA", str(tmp_path))
    assert [*run.studies()] == ["embedded"]
    (tmp_path / "models" / "smollm2").mkdir(parents=True)
    studies = run.studies()
    assert [*studies] == ["embedded", "real"]
    assert {"dpo", "sft", "alright", "maxright", "mix", "stch", "famo", "upgrad", "raco", "pcd"} <= {
        *studies["real"].rules
    }
    assert {*studies["real"].rules} <= {*run.EVERY}
    assert studies["real"].options[0] == "experiment=smollm2_safety"
