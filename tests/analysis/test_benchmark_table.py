import math

import pytest

from xright.analysis.read.benchmarks import read_benchmarks
from xright.analysis.text.benchmark_table import benchmark_csv, benchmark_grid, benchmark_notes, compared, delta_ms

# B: accuracy 0.40, compliance 0.80 (lower is better). A: 0.50 and 0.60.
# Δm(A, B) = ((0.50 − 0.40) / 0.40 − (0.60 − 0.80) / 0.80) / 2 = (0.25 + 0.25) / 2
BASE = {"mmlu": {"acc": (0.4, 0.38, 0.42, 900)}, "sorry": {"compliance": (0.8, 0.76, 0.84, 300, False)}}
BETTER = {"mmlu": {"acc": (0.5, 0.48, 0.52, 900)}, "sorry": {"compliance": (0.6, 0.54, 0.66, 300, False)}}


@pytest.fixture
def two(evaluate, tmp_path):
    """two(base, better, …) -> Benchmarks of the subjects "b" (named first, so the baseline) and "x"."""

    def read(base=BASE, better=BETTER, **options):
        evaluate(tmp_path / "b", base)
        evaluate(tmp_path / "x", better)
        return read_benchmarks([tmp_path], **options)

    return read


def test_delta_m_by_hand_with_its_interval(two):
    delta = delta_ms(two())
    assert delta.loc["b"].tolist() == [0, 0, 0]
    assert delta.at["x", "delta_m"] == pytest.approx(0.25)
    # half widths in place of standard errors (both are 1.96 of them), relative to B:
    # acc: A .02 / .4 = .05, B .5 · .02 / .4² = .0625; compliance: A .06 / .8 = .075, B .6 · .04 / .8² = .0375
    reach = math.sqrt(0.05**2 + 0.0625**2 + 0.075**2 + 0.0375**2) / 2
    assert delta.at["x", "low"] == pytest.approx(0.25 - reach)
    assert delta.at["x", "high"] == pytest.approx(0.25 + reach)


def test_the_other_way_round_is_not_minus_the_same(two):
    # ((.4 − .5) / .5 − (.8 − .6) / .6) / 2 = (−.2 − .3333) / 2
    assert delta_ms(two(baseline="x")).at["b", "delta_m"] == pytest.approx(-0.26667, abs=1e-5)


def test_what_cannot_be_compared_is_left_out_and_said(two):
    extra = {"xstest": {"over_refusal": (0.0, 0.0, 0.1, 50, False), "safe/full_refusal": (0.5, 0.4, 0.6, 50, False)}}
    base = BASE | extra | {"world": {"reward": (-1.0, -2.0, 0.0, 9)}, "only_b": {"acc": (0.3, 0.2, 0.4, 9)}}
    found = two(base, BETTER | extra | {"world": {"reward": (1.0, 0.5, 1.5, 9)}})
    assert compared(found) == ["mmlu.acc", "sorry.compliance"]
    assert delta_ms(found).at["x", "delta_m"] == pytest.approx(0.25)
    assert any("leaves out xstest.over_refusal, world.reward, only_b.acc:" in note for note in benchmark_notes(found))


def test_metrics_asked_for_are_all_there_is_even_parts_of_a_task(two):
    part = {"xstest": {"safe/full_refusal": (0.5, 0.4, 0.6, 50, False)}}
    better = {"xstest": {"safe/full_refusal": (0.25, 0.2, 0.3, 50, False)}}
    found = two(BASE | part, BETTER | better, metrics=["xstest.safe/full_refusal"])
    assert delta_ms(found).at["x", "delta_m"] == pytest.approx(0.5)
    assert "xstest safe/full refusal ↓" in benchmark_grid(found).headings


def test_no_metric_to_compare_is_no_delta_m(two):
    found = two({"mmlu": {"acc": (0.0, 0.0, 0.1, 9)}}, {"mmlu": {"acc": (0.1, 0.0, 0.3, 9)}})
    assert delta_ms(found).isna().all(axis=None)
    assert [row[1] for row in benchmark_grid(found).rows] == ["baseline", "–"]
    assert benchmark_notes(found)[0] == "There is no Δm: b has no positive score that every subject has."


def test_the_table_for_people(two):
    part = {"sorry": BETTER["sorry"] | {"unsafe/full_refusal": (0.1, 0.0, 0.2, 300)}}
    grid = benchmark_grid(two(better=BETTER | part))
    assert grid.headings == ["subject", "Δm ↑", "mmlu acc ↑", "sorry compliance ↓"]
    assert grid.rows[0] == ["b", "baseline", "0.400 (0.380 to 0.420)", "0.800 (0.760 to 0.840)"]
    assert grid.rows[1][0] == "x"
    assert grid.rows[1][1] == "0.250 (0.192 to 0.308)"  # 0.058 to either side, see above


def test_the_table_for_programs(two):
    part = {"sorry": BETTER["sorry"] | {"unsafe/full_refusal": (0.1, 0.0, 0.2, 300)}}
    table = benchmark_csv(two(better=BETTER | part)).set_index("subject")
    assert table.loc["x", ["mmlu.acc", "mmlu.acc.low", "mmlu.acc.high", "mmlu.acc.n"]].tolist() == [
        0.5,
        0.48,
        0.52,
        900,
    ]
    assert table["sorry.unsafe/full_refusal"].isna().tolist() == [True, False]
    assert table["baseline"].tolist() == ["b", "b"]
    assert table["delta_m"].tolist() == pytest.approx([0, 0.25])


def test_notes_tell_judges_and_what_makes_scores_unlike(two):
    judged = {"sorry": BASE["sorry"] | {"details": {"judge": "string match"}, "settings": {"limit": 300, "seed": 0}}}
    other = {"sorry": {"compliance": (0.6, 0.5, 0.7, 100, False)}}
    other["sorry"] |= {"details": {"judge": "classifier c"}, "settings": {"limit": 100, "seed": 0}}
    notes = benchmark_notes(two(BASE | judged, BETTER | other))
    assert notes == [
        "sorry is judged by string match, classifier c.",
        "Δm (eq 52) is relative to b, over mmlu.acc, sorry.compliance.",
        "sorry.compliance is from 100 to 300 prompts, not the same for all.",
        "sorry was not run in the same way for all (differing in limit): compare with care.",
    ]
