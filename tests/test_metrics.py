import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xright.metrics import delta_m, gap, hypervolume, ideal_distance, pareto_front

points_2d = st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), max_size=8)
points_3d = st.lists(st.tuples(*[st.integers(0, 5)] * 3), max_size=8)


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


def swept(points, reference_point):
    """The area as we computed it before: from left to right, each point adds the rectangle below all earlier ones."""
    right, top = reference_point
    area, lowest = 0.0, top
    for x, y in sorted(point for point in points if point[0] < right):
        if y < lowest:
            area += (right - x) * (lowest - y)
            lowest = y
    return area


@given(points_2d, st.tuples(st.floats(0, 5), st.floats(0, 5)))
def test_in_two_dimensions_the_area_is_that_of_the_sweep(points, corner):
    assert hypervolume(points, corner) == pytest.approx(swept(points, corner), rel=1e-12, abs=1e-12)


@given(points_3d)
def test_in_three_dimensions_volume_and_front_are_those_of_counting(points):
    # integer points up to (5, 5, 5): count the unit cubes whose lowest corner some point is at or below
    corners = [(x, y, z) for x in range(5) for y in range(5) for z in range(5)]

    def below(p, q):
        return all(a <= b for a, b in zip(p, q, strict=True))

    assert hypervolume(points, (5, 5, 5)) == sum(any(below(p, corner) for p in points) for corner in corners)
    on_it = [i for i, q in enumerate(points) if not any(below(p, q) and p != q for p in points)]
    assert pareto_front(points) == on_it


def test_boxes_by_hand():
    # below (4, 4, 4): (1,1,3) gives 3·3·1, (3,3,1) gives 1·1·3, of which 1·1·1 is shared
    assert hypervolume([(1, 1, 3), (3, 3, 1)], (4, 4, 4)) == 9 + 3 - 1
    assert hypervolume([(1,), (2,)], (4,)) == 3


def test_a_point_with_a_missing_coordinate_is_not_on_the_front():
    assert pareto_front([(1, 2), (math.nan, 0), (2, 1)]) == [0, 2]


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="length"):
        hypervolume([(1, 2, 3)], (4, 4))
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
