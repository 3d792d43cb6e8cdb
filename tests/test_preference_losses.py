"""experiments/preference_losses: every loss takes part, is tuned as all are, and is judged by what they share."""

import pandas as pd
import pytest
from omegaconf import OmegaConf

from tests.beside import EXPERIMENTS, importable
from xright.config.folder import CONF
from xright.pipeline.checks import check_config

ROOM = EXPERIMENTS / "preference_losses"


@pytest.fixture(scope="module", autouse=True)
def modules():
    """The experiment's modules can be imported, for as long as these tests run."""
    with importable("", "league", "preference_losses"):
        yield


def rows(**distances):
    """Rows of results.csv: the distances of each loss in worlds 0, 1, …"""
    return pd.DataFrame(
        {"loss": loss, "settings": "lam=0.1", "seed": seed, "distance": value, "sft": value, "mistakes": value}
        for loss, values in distances.items()
        for seed, value in enumerate(values)
    )


def test_every_loss_of_pairs_or_labels_takes_part():
    from run import LOSSES

    streams = {file.stem: OmegaConf.load(file).get("stream") for file in (CONF / "objective").glob("*.yaml")}
    assert {*LOSSES, "orpo"} == {loss for loss, stream in streams.items() if stream in ("preference", "labelled")}


def test_four_configurations_each():
    from run import trials

    assert trials("dpo") == ("objectives.dpo.beta=0.1,0.4", "lam=0.1,0.4")
    assert trials("simpo") == ("objectives.dpo.beta=2,8", "lam=0.1,0.4")


def test_every_configuration_may_begin(compose):
    from run import LABELLED, LOSSES, spread, trials

    for loss in LOSSES:
        for strength in spread(trials(loss)[0]):
            own = (f"objective@objectives.dpo={loss}", *LABELLED.get(loss, ()), strength)
            check_config(compose("strategy=mix", "trainer=cpu", "optima=null", *own))


def test_measures_are_shares_of_what_the_base_has(monkeypatch):
    """SFT: .1 of a gap of .4 is left. Mistakes: those of the base are .8, .6, 0, and .35 of 1.4 are left."""
    import run
    from worlds import Ends

    behaviour = {"refuses_harmful": 0.2, "refuses_harmful_prefixed": 0.4, "complies_lookalike": 1.0}
    monkeypatch.setattr(run, "ends", lambda seed: Ends({"sft": 0.5}, {"sft": 0.4}, behaviour))
    said = {"refuses_harmful": 0.9, "refuses_harmful_prefixed": 0.8, "complies_lookalike": 0.95, "exact_match": 0.0}
    found = run.measures({"seed": 7, "objectives": {"sft": {"f": 0.6}}, "behaviour": said})
    assert (found["sft"], found["mistakes"]) == (pytest.approx(0.25), pytest.approx(0.25))
    assert found["distance"] == pytest.approx(0.25)
    assert run.measures({"seed": 7, "objectives": {"sft": {"f": 0.9}}, "behaviour": behaviour})[
        "distance"
    ] == pytest.approx(1)


def test_the_best_on_the_worlds_of_tuning_is_what_is_reported():
    from run import chosen

    def tried(loss, settings, *distances):
        return [{"loss": loss, "settings": settings, "seed": 100 + i, "distance": d} for i, d in enumerate(distances)]

    four = [("a", 0.3, 0.3), ("b", 0.1, 0.4), ("c", 0.9, 0.9), ("d", 0.5, 0.5)]
    table = [row for settings, *distances in four for row in tried("dpo", settings, *distances)]
    table += [{"loss": "dpo", "settings": "c", "seed": 0, "distance": 0.0}]  # of a world that nobody tunes on
    assert chosen(pd.DataFrame(table + tried("ipo", "a", 0.1, 0.1))) == {"dpo": "b"}  # ipo's others are to come


def test_what_is_published_is_not_run_again(tmp_path, monkeypatch):
    import run

    table = pd.DataFrame({"loss": ["ipo"] * 2, "settings": ["lam=0.1", "lam=0.4"], "seed": [3, 3], "distance": [1, 2]})
    table.to_csv(tmp_path / "results.csv", index=False)
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results.csv")
    monkeypatch.setattr(run, "ends", lambda seed: pytest.fail("started"))
    run.play("ipo", [3], ["lam=0.1,0.4"])
    with pytest.raises(pytest.fail.Exception, match="started"):
        run.play("ipo", [4], ["lam=0.1"])


def test_a_loss_is_nearer_only_where_the_whole_interval_is():
    from drawing import RIVAL, as_rules, in_words, standings

    table = rows(dpo=[0.2, 0.3, 0.4], good=[0.1, 0.2, 0.28], wild=[-0.1, 0.4, 0.6], bad=[0.5, 0.61, 0.7])
    assert in_words(as_rules(table), RIVAL) == "Beside **dpo**, nearer: good; ties: wild; farther: bad."
    assert [line[0] for line in standings(table).rows] == ["good", "dpo", "wild", "bad"]


def test_without_dpo_it_is_a_sentence():
    from drawing import publish

    with pytest.raises(SystemExit, match="every loss is compared with dpo"):
        publish(rows(ipo=[0.1]))


def test_the_published_page_follows_from_its_rows(tmp_path, monkeypatch):
    import drawing
    import run

    (tmp_path / "README.md").write_text((ROOM / "README.md").read_text())
    monkeypatch.setattr(drawing, "HERE", tmp_path)
    run.show(pd.read_csv(ROOM / "results.csv"))
    assert (tmp_path / "README.md").read_text() == (ROOM / "README.md").read_text()
    assert (tmp_path / "figure.png").stat().st_size < 100_000
