import pytest

from xright.analysis.figures.radar_figure import INNER, radar_figure
from xright.analysis.read.benchmarks import read_benchmarks


def scores(accuracy, compliance, reward):
    return {
        "mmlu": {"acc": (accuracy, 0, 1, 9)}, "sorry": {"compliance": (compliance, 0, 1, 9, False)},
        "world": {"reward": (reward, 0, 9, 9)},
    }  # fmt: skip


def test_best_is_outside_worst_inside_in_each_metrics_own_direction(evaluate, tmp_path):
    evaluate(tmp_path / "a", scores(0.2, 0.9, 5.0))
    evaluate(tmp_path / "b", scores(0.4, 0.5, 5.0))
    evaluate(tmp_path / "c", scores(0.3, 0.6, 5.0))
    (axes,) = radar_figure(read_benchmarks([tmp_path])).axes
    radii = {line.get_label(): line.get_ydata()[:3].tolist() for line in axes.lines}
    assert radii["a"] == pytest.approx([INNER, INNER, 1])  # on the third axis all are equal: all outside
    assert radii["b"] == pytest.approx([1, 1, 1])
    assert radii["c"] == pytest.approx([INNER + 0.5 * 0.75, INNER + 0.75 * 0.75, 1])  # half, three quarters of the way
    assert all(line.get_ydata()[0] == line.get_ydata()[-1] for line in axes.lines)  # closed
    assert [text.get_text() for text in axes.texts] == [
        "mmlu acc\n0.200 to 0.400", "sorry compliance\n0.900 to 0.500", "world reward\n5.00 to 5.00",
    ]  # fmt: skip


def test_no_axis_name_leaves_the_figure(evaluate, tmp_path):
    keys = [f"{task}_safe_prompts_of_the_world" for task in ("mmlu", "xstest", "sorry", "world", "hellaswag")]
    for name, value in (("a", 0.2), ("b", 0.4)):
        evaluate(tmp_path / name, {key: {"acc": (value, 0, 1, 9)} for key in keys})
    figure = radar_figure(read_benchmarks([tmp_path]))
    figure.canvas.draw()
    (axes,) = figure.axes
    assert len(axes.texts) == len(keys)
    for text in axes.texts:
        assert figure.bbox.contains(*text.get_window_extent().min), text
        assert figure.bbox.contains(*text.get_window_extent().max), text


def test_many_subjects_are_drawn_method_by_method_with_the_baseline(make, evaluate, tmp_path):
    for place, (strategy, lam) in enumerate((s, m) for s in ("mix", "alright", "maxright") for m in (0.25, 0.5, 0.75)):
        evaluate(make(strategy, 0.4, 0.1, lam=lam), scores(0.2 + place / 100, 0.5, 1.0 + place))
    evaluate(make("sequential", 0.4, 0.1), scores(0.1, 0.5, 1.0))  # the baseline, and the only one of its method
    figure = radar_figure(read_benchmarks([tmp_path]))
    drawn = {axes.get_title(): [line.get_label() for line in axes.lines] for axes in figure.axes}
    assert drawn == {
        method: ["Sequential DPO→SFT (3,3)", *(f"{method} λ={lam}" for lam in (0.25, 0.5, 0.75))]
        for method in ("Mix", "ALRIGHT", "MAXRIGHT")
    }
    styles = {line.get_label(): (line.get_color(), line.get_linestyle()) for line in figure.axes[1].lines}
    assert len(set(styles.values())) == 4
