import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xright.metrics import delta_m, gap, hypervolume, ideal_distance, pareto_front

points_2d = st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), max_size=8)


def test_gap_is_not_clipped():
    assert gap(0.5, 0.25) == 0.25
    assert gap(0.25, 0.5) == -0.25


def test_ideal_distance_takes_any_number_of_objectives():
    assert ideal_distance({"dpo": 3.0, "sft": -4.0}) == 5.0  # a negative gap counts by its size
    assert ideal_distance({"dpo": 1.0, "sft": 2.0, "orpo": 2.0}) == 3.0  # sqrt(1 + 4 + 4)
    assert ideal_distance({"dpo": 0.7}) == 0.7


def test_pareto_front_keeps_equal_points_and_drops_dominated_ones():
    #         front   front   front   (2,2) is better  front (equal to no. 1)  (1,4) is better in one
    points = [(1, 4), (2, 2), (4, 1), (3, 3), (2, 2), (1, 5)]
    assert pareto_front(points) == [0, 1, 2, 4]
    assert pareto_front([]) == []
    assert pareto_front([(1, 1, 3), (1, 2, 2), (1, 2, 3)]) == [0, 1]


def test_hypervolume_by_rectangles():
    # below (4, 4): (1,3) gives 3x1, (2,2) adds 2x1, (3,1) adds 1x1
    assert hypervolume([(3, 1), (1, 3), (2, 2)], (4, 4)) == 6.0
    assert hypervolume([(2, 2), (3, 3), (2, 2)], (4, 4)) == 4.0  # dominated and equal points add nothing
    assert hypervolume([(5, 0), (0, 4)], (4, 4)) == 0.0  # not below the reference point in both
    assert hypervolume([], (4, 4)) == 0.0


@given(points_2d, st.tuples(st.floats(0, 5), st.floats(0, 5)))
def test_hypervolume_grows_exactly_when_the_front_does(points, new):
    before, after = hypervolume(points, (5, 5)), hypervolume([*points, new], (5, 5))
    assert after >= before - 1e-9
    if any(x <= new[0] and y <= new[1] for x, y in points):
        assert after == pytest.approx(before)


def test_hypervolume_refuses_three_objectives():
    with pytest.raises(ValueError, match="two objectives"):
        hypervolume([(1, 2, 3)], (4, 4, 4))
    with pytest.raises(ValueError, match="shape"):
        hypervolume([1, 2], (4, 4))


def test_delta_m_counts_each_direction():
    # a loss from 4 to 2 is +1/2; an accuracy from 20 to 25 is +1/4
    assert delta_m([2, 25], [4, 20], [True, False]) == pytest.approx((0.5 + 0.25) / 2)
    assert delta_m([4, 20], [4, 20], [True, False]) == 0.0
    assert delta_m([6], [4], [True]) == pytest.approx(-0.5)


@pytest.mark.parametrize(("values", "baseline", "lower"), [([1], [0], [True]), ([1, 2], [1], [True]), ([], [], [])])
def test_delta_m_refuses_what_has_no_meaning(values, baseline, lower):
    with pytest.raises(ValueError, match="delta_m"):
        delta_m(values, baseline, lower)


def test_nan_stays_nan():
    assert math.isnan(ideal_distance({"dpo": math.nan, "sft": 1.0}))
