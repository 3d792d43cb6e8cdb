import pytest

from xright.errors import UserError
from xright.strategies import ALRIGHT, MAXRIGHT, Mix, Only, Phase, Schedule
from xright.strategies.schedule import current

HALF = {"dpo": 0.5, "sft": 0.5}


def test_a_rule_alone_is_one_phase_of_the_run_s_epochs():
    rule = Mix(HALF)
    schedule = Schedule.of(rule)
    assert schedule.phases == (Phase(rule, None),)
    assert schedule.steps(steps_per_epoch=5, epochs=6) == [(rule, 30)]
    assert Schedule.of(schedule) is schedule


def test_each_phase_has_its_rule_and_its_length():
    first, second, third = Only("sft"), Mix(HALF), Only("safety")
    schedule = Schedule([Phase(first, 1), {"rule": second, "epochs": 3}, {"rule": third}])  # yaml gives mappings
    assert schedule.steps(steps_per_epoch=4, epochs=2) == [(first, 4), (second, 12), (third, 8)]
    assert schedule.objectives == ("sft", "dpo", "safety")  # each once, as they come


def test_no_phase_trains_nothing():
    assert Schedule([]).steps(steps_per_epoch=4, epochs=2) == []
    assert Schedule([]).objectives == ()


@pytest.mark.parametrize("epochs", [0, -1, 1.5, True, "2"])
def test_epochs_must_be_whole_numbers(epochs):
    with pytest.raises(UserError, match=r"strategy\.epochs=.* must be a whole number >= 1 for each phase"):
        Schedule([Phase(Mix(HALF), epochs)])


@pytest.mark.parametrize("rule", [None, "mix", {"objective": "sft"}])
def test_a_phase_needs_a_rule(rule):
    with pytest.raises(UserError, match=r"strategy\.phases: a phase's rule must be one of strategies/, not "):
        Schedule([{"rule": rule}])


def test_where_a_step_lies():
    first, second = Only("sft"), Mix(HALF)
    rules = [(first, 3), (second, 2)]
    assert [current(rules, step)[:2] for step in range(5)] == [(first, 0)] * 3 + [(second, 3)] * 2
    assert [current(rules, step).steps for step in (0, 2, 3, 4)] == [3, 3, 2, 2]
    with pytest.raises(IndexError, match="step 5 lies behind the 5 steps"):
        current(rules, 5)


def test_two_phases_of_one_rule_keep_their_own_memory_and_count():
    looks = [MAXRIGHT(HALF, {"dpo": 0.0, "sft": 0.0}, k=10) for _ in range(2)]
    rules = Schedule([Phase(rule, 1) for rule in looks]).steps(steps_per_epoch=4, epochs=1)
    asked = [bool(found.rule.looks(step - found.start)) for step in range(8) for found in [current(rules, step)]]
    assert asked == [True, False, False, False] * 2  # each phase looks at its own step 0


def test_it_shows_its_phases():
    assert repr(Schedule([Phase(ALRIGHT(HALF, 0), 2)])) == "Schedule(ALRIGHT({'dpo': 0.5, 'sft': 0.5}): 2)"
