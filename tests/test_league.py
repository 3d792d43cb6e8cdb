"""experiments/league: its page follows from its rows, and says who is nearer, who ties and who is farther."""

import pandas as pd
import pytest

from tests.beside import EXPERIMENTS, importable
from xright.pipeline.checks import check_config

LEAGUE = EXPERIMENTS / "league"


@pytest.fixture(scope="module", autouse=True)
def modules():
    """The experiment's modules can be imported, for as long as these tests run."""
    with importable("", "league"):
        yield


def rows(budget="steps", **distances):
    """Rows of results.csv: the ideal distances of each rule in worlds 0, 1, …"""
    return pd.DataFrame(
        {
            "rule": rule, "method": rule.upper(), "settings": "optim.lr=1e-4", "seed": seed, "budget": budget,
            "epochs": 6, "ideal_distance": value, "hypervolume": 0.5,
        }
        for rule, values in distances.items()
        for seed, value in enumerate(values)
    )  # fmt: skip


def test_a_rule_is_nearer_only_where_the_whole_interval_is():
    """Differences to Mix: −.1, −.1, −.12 is sure; −.3, .1, .2 is not; +.3 ± a little is farther."""
    from page import in_words, over

    table = rows(mix=[0.2, 0.3, 0.4], good=[0.1, 0.2, 0.28], wild=[-0.1, 0.4, 0.6], bad=[0.5, 0.61, 0.7])
    assert in_words(table, "mix") == "Beside **MIX**, nearer: GOOD; ties: WILD; farther: BAD."
    assert over(table, "mix")["good"].mean == pytest.approx(-0.32 / 3)


def test_one_world_gives_no_verdict():
    from page import in_words

    assert (
        in_words(rows(mix=[0.2], own=[0.1]), "mix")
        == "Beside **MIX**, nearer: none; ties: none; farther: none; open: OWN."
    )


def test_what_one_world_lacks_is_compared_in_the_others():
    from page import standings

    table = rows(mix=[0.2, 0.3, 0.4], new=[0.1, 0.25])
    (first, second) = standings(table).rows
    assert first[0] == "NEW"
    assert first[-1] == "2"  # worlds
    assert second[0] == "MIX"
    assert first[5].startswith("1.00")  # its rank, in the two worlds that both have run
    assert "−0.0750" in first[4]  # the mean of −.1 and −.05


def test_without_mix_it_is_a_sentence():
    from page import publish

    with pytest.raises(SystemExit, match="give --rule mix first"):
        publish(rows(new=[0.1]))


def test_the_published_page_follows_from_its_rows(tmp_path, monkeypatch):
    import page
    import run

    (tmp_path / "README.md").write_text((LEAGUE / "README.md").read_text())
    monkeypatch.setattr(page, "HERE", tmp_path)
    run.show({})
    assert (tmp_path / "README.md").read_text() == (LEAGUE / "README.md").read_text()
    assert (tmp_path / "figure.png").stat().st_size < 100_000


def test_a_rule_of_ones_own_gets_as_many_configurations():
    from run import TRIALS, rates

    assert {len(trials) for trials in TRIALS.values()} == {4} == {len(rates())}
    tuned = pd.read_csv(LEAGUE / "tuning.csv").groupby("rule")["settings"].agg(set)
    assert {rule: {*trials} for rule, trials in TRIALS.items()} == tuned.to_dict()


def test_a_world_is_three_trade_offs():
    from run import trade_offs

    assert trade_offs("optim.lr=4e-4") == ["optim.lr=4e-4", "lam=0.25,0.5,0.75"]
    assert trade_offs("strategy.epsilon=0.1 optim.lr=4e-4") == ["strategy.epsilon=0.2,0.1,0.05", "optim.lr=4e-4"]
    assert trade_offs("strategy.steps={dpo:10,sft:10} optim.lr=4e-4") == [
        "strategy.steps={dpo:5,sft:15},{dpo:10,sft:10},{dpo:15,sft:5}",
        "optim.lr=4e-4",
    ]


def test_every_rule_has_four_configurations_that_may_begin(compose):
    from run import TRIALS

    for rule, trials in TRIALS.items():
        assert len(trials) == 4
        for settings in trials:
            check_config(compose(f"strategy={rule}", "trainer=cpu", *settings.split()))
