"""The loop by hand on table 1, where ∇f_DPO = ½ σ(θ/2 + 5) and ∇f_SFT = −½ σ(−θ/2)."""

import math
from itertools import pairwise

import numpy as np
import pytest

from xright.strategies import ALRIGHT, MAXRIGHT, Mix, Only, Phase, Schedule, Selector, Sequential
from xright.theory.descent import ball, descend, descend_side_by_side, inverse_sqrt
from xright.theory.objectives import SFT
from xright.theory.problems import NAMES, Problem, table_1, table_2, trade_off

OPTIMA = {"dpo": 0.0, "sft": 0.0}
FIRST_TWO = {1: ("sft", "dpo"), 2: ("dpo", "sft"), 3: ("dpo", "dpo")}  # ALRIGHT's at λ = .5: .512 .332, .262 .895, …


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def gradient(name: str, theta: float) -> float:
    return sigma(theta / 2 + 5) / 2 if name == "dpo" else -sigma(-theta / 2) / 2


def loss(name: str, theta: float) -> float:
    return math.log1p(math.exp(theta / 2 + 5)) if name == "dpo" else math.log1p(math.exp(-theta / 2))


def by_hand(names, theta: float = 0.0, size: float = 1.0, decay: float = 0.0) -> float:
    """Where one-hot steps on these objectives lead."""
    for name in names:
        theta -= size * (gradient(name, theta) + decay * theta)
    return theta


@pytest.mark.parametrize("seed", FIRST_TWO)
def test_alright_steps_on_what_the_coin_says(seed):
    assert [np.random.default_rng((seed, step)).random() < 0.5 for step in (0, 1)] == [
        name == "dpo" for name in FIRST_TWO[seed]
    ]
    end = descend(table_1(), ALRIGHT(trade_off(0.5), seed), steps=2, step_size=0.7).theta
    assert end == pytest.approx([by_hand(FIRST_TWO[seed], size=0.7)], abs=1e-14)


def test_mix_steps_on_the_weighted_sum():
    first = 0 - 2 * (0.25 * gradient("dpo", 0) + 0.75 * gradient("sft", 0))
    second = first - 2 * (0.25 * gradient("dpo", first) + 0.75 * gradient("sft", first))
    # ½ σ(5) = .496654 and ½ σ(0) = .25, so the first step is −2 (.124163 − .1875) = .126673
    assert first == pytest.approx(0.126673, abs=1e-6)
    assert descend(table_1(), Mix(trade_off(0.25)), steps=2, step_size=2.0).theta == pytest.approx([second], abs=1e-14)


@pytest.mark.parametrize(("first", "second"), [("dpo", "sft"), ("sft", "dpo")])
def test_sequential_switches_once(first, second):
    path = descend(table_1(), Sequential(first, (1, 2), NAMES), steps=2, step_size=1.5, visit=[2, 6])
    names = [first] * 2 + [second] * 4
    assert path.theta == pytest.approx([by_hand(names, size=1.5)], abs=1e-13)
    assert path.visited[2] == pytest.approx([by_hand(names[:2], size=1.5)], abs=1e-14)
    assert path.visited[6] is path.theta
    assert list(path.visited) == [2, 6]  # nothing that was not asked for


def test_epochs_multiply_steps():
    once, thrice = (
        descend(table_1(), Mix(trade_off(0.5)), steps, 1.0, epochs=epochs) for steps, epochs in ((6, 1), (2, 3))
    )
    assert thrice.theta.tolist() == once.theta.tolist()


def test_weight_decay_pulls_to_zero():
    end = descend(table_1(start=-4.0), Only("sft"), steps=2, step_size=0.5, decay=0.2).theta
    first = -4 - 0.5 * (-sigma(2) / 2 + 0.2 * -4)  # = −3.379801: .4 from the decay, .220199 from the gradient
    assert first == pytest.approx(-3.379801, abs=1e-6)
    assert end == pytest.approx([by_hand(["sft"] * 2, -4.0, 0.5, 0.2)], abs=1e-14)
    assert end == pytest.approx([first - 0.5 * (-sigma(-first / 2) / 2 + 0.2 * first)], abs=1e-14)


def test_visited_are_the_asked_numbers_of_steps():
    path = descend(table_1(), Only("dpo"), steps=5, step_size=1.0, visit=[0, 3, 9])
    assert {taken: theta.item() for taken, theta in path.visited.items()} == pytest.approx(
        {0: 0.0, 3: by_hand(["dpo"] * 3)}  # 9 is never reached
    )


def test_ball_leaves_the_inside_alone_and_puts_the_rest_on_the_sphere():
    project = ball(2.0, centre=np.array([1.0, 0.0]))
    points = np.array([[1.0, 0.0], [1.5, -1.0], [1.0, 2.0], [1.0, 5.0], [-8.0, 12.0]])
    projected = project(points)
    np.testing.assert_allclose(projected[:3], points[:3], rtol=0, atol=1e-15)
    # (1, 5) is 5 above the centre; (−8, 12) − (1, 0) = (−9, 12) = 15 (−.6, .8)
    np.testing.assert_allclose(projected[3:], [[1.0, 2.0], [1 - 1.2, 1.6]], rtol=0, atol=1e-15)
    assert project(points[4]).tolist() == projected[4].tolist()
    assert ball(3.0)(np.array([-7.0])).tolist() == [-3.0]


def test_a_projected_path_stays_in_the_ball_and_rests_on_its_edge():
    path = descend(table_2(), Only("sft"), 200, 1.0, project=ball(12.0), visit=range(201)).visited
    lengths = np.array([np.linalg.norm(path[step]) for step in range(201)])
    assert lengths.max() <= 12 + 1e-12
    assert lengths[-1] == pytest.approx(12)
    free = descend(table_2(), Only("sft"), 200, 1.0).theta
    assert np.linalg.norm(free) > 12
    inside = int((lengths < 12 - 1e-9).sum())
    assert inside > 5  # until it touches the edge it is the free path
    np.testing.assert_allclose(path[inside - 1], descend(table_2(), Only("sft"), inside - 1, 1.0).theta, atol=1e-12)


def test_a_schedule_starts_afresh_in_each_phase():
    asked = []

    def schedule(step: int) -> float:
        asked.append(step)
        return 1.0 / (step + 1)

    end = descend(table_1(), Sequential("dpo", (1, 1), NAMES), steps=3, step_size=schedule).theta
    assert asked[1:] == [0, 1, 2, 0, 1, 2]  # the first question is for the shape
    theta = 0.0
    for name in ("dpo", "sft"):
        for size in (1, 1 / 2, 1 / 3):
            theta = by_hand([name], theta, size)
    assert end == pytest.approx([theta], abs=1e-14)


def test_a_stage_ends_at_the_first_iterate_below():
    path = descend(table_1(), Only("sft"), 10_000, 1.0, stage_ends_below=0.1, visit=range(10_001))
    steps = max(path.visited)
    assert 10 < steps < 200  # far from the budget
    losses = [loss("sft", path.visited[step].item()) for step in range(steps + 1)]
    assert losses[-1] < 0.1 <= losses[-2]
    assert path.theta.item() == pytest.approx(by_hand(["sft"] * steps), abs=1e-12)


def test_a_stage_that_is_below_already_takes_no_step():
    # f_DPO(−40) = log(1 + e^−15), f_SFT(−40) = 20
    start = table_1(start=-40.0)
    path = descend(start, Sequential("dpo", (1, 1), NAMES), 3, 1.0, stage_ends_below=0.05, visit=range(7))
    assert path.theta == pytest.approx([by_hand(["sft"] * 3, -40.0)], abs=1e-13)
    assert sorted(path.visited) == [0, 1, 2, 3]


def test_only_the_losses_that_are_descended_can_end_a_stage():
    start = table_1(start=10.0)  # f_SFT(10) = .0067, f_DPO(10) = 10
    ends = {
        name: descend(start, rule, 1, 1.0, stage_ends_below=0.05).theta.item()
        for name, rule in (("sft", Only("sft")), ("dpo", Only("dpo")), ("mix", Mix(trade_off(0.5))))
    }
    assert ends["sft"] == 10.0
    assert ends["dpo"] == pytest.approx(by_hand(["dpo"], 10.0))
    assert ends["mix"] == pytest.approx(10 - (gradient("dpo", 10) + gradient("sft", 10)) / 2)  # both must be below


RULES = [
    (Mix(trade_off(0.3)), None),
    (Sequential("sft", (1, 2), NAMES), None),
    (ALRIGHT(trade_off(0.5), seed=4), None),
    (Schedule([]), trade_off(0.25)),  # a model average
    (Mix(trade_off(0.3)), trade_off(0.25)),
    (Schedule([Phase(Only("sft"), 1), Phase(Mix(trade_off(0.3)), 2)]), None),
]


@pytest.mark.parametrize(("rule", "average"), RULES, ids=repr)
@pytest.mark.parametrize("problem", [table_1(), table_2()], ids=["table_1", "table_2"])
def test_several_step_sizes_at_once_equal_one_by_one(problem, rule, average):
    settings = {"decay": 0.01, "average": average}
    sizes = [0.01, 0.1, 1.0, 3.0]
    column = np.array(sizes)[:, None]
    together = descend(problem, rule, 40, column, **settings, visit=[7])
    assert together.theta.shape == (4, len(problem.start))
    alone = [descend(problem, rule, 40, size, **settings, visit=[7]) for size in sizes]
    np.testing.assert_allclose(together.theta, [path.theta for path in alone], rtol=0, atol=1e-12)
    assert together.visited.keys() == alone[0].visited.keys()
    for step, theta in together.visited.items():
        np.testing.assert_allclose(theta, [path.visited[step] for path in alone], rtol=0, atol=1e-12)
    called = descend(problem, rule, 40, lambda _: column, **settings)
    assert called.theta.tolist() == together.theta.tolist()


def test_a_rule_that_looks_drives_one_run():
    with pytest.raises(ValueError, match=r"^MAXRIGHT\(\{.*\) looks at losses, so it drives one run, not 2 step"):
        descend(table_1(), MAXRIGHT(trade_off(0.5), OPTIMA), 5, np.array([[0.1], [0.2]]))


@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("lam", [0.25, 0.5])
def test_side_by_side_is_one_by_one(lam, decay):
    for problem, tolerance in ((table_1(), 0), (table_2(), 1e-13)):  # a sum of two products may be rounded otherwise
        together = descend_side_by_side(problem, [ALRIGHT(trade_off(lam), seed) for seed in range(6)], 80, 0.4, decay)
        alone = [descend(problem, ALRIGHT(trade_off(lam), seed), 80, 0.4, decay=decay).theta for seed in range(6)]
        assert together.shape == (6, len(problem.start))
        np.testing.assert_allclose(together, alone, rtol=0, atol=tolerance)
        assert len(np.unique(together[:, 0])) > 2  # different coins


def test_side_by_side_with_several_step_sizes():
    column = np.array([[0.1], [0.5], [2.0]])
    together = descend_side_by_side(
        table_2(), [ALRIGHT(trade_off(0.5), seed) for seed in range(4)], 50, column, decay=0.01
    )
    alone = [descend(table_2(), ALRIGHT(trade_off(0.5), seed), 50, column, decay=0.01).theta for seed in range(4)]
    assert together.shape == (4, 3, 2)
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-13)


def test_side_by_side_takes_any_selector_that_never_looks():
    rules = [Mix(trade_off(0.25)), Only("dpo"), ALRIGHT(trade_off(0.5), 0)]
    together = descend_side_by_side(table_1(), rules, 30, 0.5)
    np.testing.assert_allclose(together, [descend(table_1(), rule, 30, 0.5).theta for rule in rules], atol=1e-13)


def test_model_average_is_the_mean_of_the_two_models():
    problem = table_2()
    settings = {"steps": 30, "step_size": lambda step: 0.5 / (step + 1), "epochs": 3, "decay": 0.05}
    models = {name: descend(problem, Only(name), **settings).theta for name in ("dpo", "sft")}
    assert np.linalg.norm(models["dpo"] - models["sft"]) > 0.1
    averaged = descend(problem, Schedule([]), **settings, average=trade_off(0.25), visit=[0])
    np.testing.assert_allclose(averaged.theta, 0.25 * models["dpo"] + 0.75 * models["sft"], rtol=0, atol=1e-14)
    assert list(averaged.visited) == [0]  # no step of its own


def test_a_phase_counts_its_own_steps():
    """Two coins of one seed draw alike, phase after phase: .512 .332, so at λ = .4 SFT, then DPO, twice."""
    coins = Schedule([Phase(ALRIGHT(trade_off(0.4), seed=1)), Phase(ALRIGHT(trade_off(0.4), seed=1))])
    names = FIRST_TWO[1] * 2
    assert names == ("sft", "dpo") * 2
    assert descend(table_1(), coins, 2, 1.5).theta == pytest.approx([by_hand(names, size=1.5)], abs=1e-13)


class Recorder(MAXRIGHT):
    """MAXRIGHT that writes down what it is asked and told."""

    def __init__(self, k: int) -> None:
        super().__init__(trade_off(0.5), OPTIMA, k)
        self.said: list = []

    def looks(self, step):
        self.said.append(("looks", step))
        return super().looks(step)

    def observe(self, losses):
        self.said.append(("observe", dict(losses)))
        super().observe(losses)

    def weights(self, step):
        self.said.append(("weights", step))
        return super().weights(step)


def test_maxright_looks_chooses_steps_and_observes_in_this_order():
    rule = Recorder(k=3)
    path = descend(table_1(start=-10.5), rule, steps=5, step_size=8.0, visit=range(6))
    thetas = [path.visited[step].item() for step in range(6)]
    chosen = ["sft" if after > before else "dpo" for before, after in pairwise(thetas)]
    expected = []
    for step, (theta, name) in enumerate(zip(thetas[:5], chosen, strict=True)):
        expected.append(("looks", step))
        if step in (0, 3):
            expected.append(("observe", {each: pytest.approx(loss(each, theta)) for each in OPTIMA}))
        expected.append(("weights", step))
        expected.append(("observe", {name: pytest.approx(loss(name, theta))}))  # its loss before the update
    assert rule.said == expected
    assert path.theta == pytest.approx([by_hand(chosen, -10.5, 8.0)], abs=1e-13)
    # −10.5, −6.5, −2.7: f_DPO has grown from .6 to 3.8, but before the look at step 3 nobody knows
    assert chosen == ["sft", "sft", "sft", "dpo", "dpo"]
    exact = descend(table_1(start=-10.5), Recorder(k=1), 3, 8.0, visit=[2]).theta.item()
    assert exact == pytest.approx(by_hand(["sft", "sft", "dpo"], -10.5, 8.0), abs=1e-13)


class Lottery(Selector):
    """A coin with any number of sides: each step goes to objective i with probability p_i."""

    def __init__(self, chances: dict[str, float], seed: int) -> None:
        self.chances, self.seed = chances, seed

    @property
    def objectives(self) -> tuple[str, ...]:
        return tuple(self.chances)

    def weights(self, step: int) -> dict[str, float]:
        draw = np.random.default_rng((self.seed, step))
        return {str(draw.choice(self.objectives, p=list(self.chances.values()))): 1.0}


@pytest.fixture
def three() -> Problem:
    """Table 1 and a third objective, "brief": log(1 + e^θ + e^2θ), with .1 for its optimum."""
    third = SFT(features=[[[-2.0], [0.0], [-1.0]]])
    return Problem(table_1().objectives | {"brief": third}, OPTIMA | {"brief": 0.1}, np.zeros(1))


def test_three_objectives_by_name(three):
    chances = {"brief": 0.2, "dpo": 0.15, "sft": 0.65}
    best = three.minimiser(chances)
    assert three.mixture(chances).gradient(best) == pytest.approx([0.0], abs=1e-12)
    pairs = [{name: chances[name] / (1 - chances[gone]) for name in chances if name != gone} for gone in chances]
    assert min(abs(three.minimiser(pair) - best).item() for pair in pairs if "sft" in pair) > 0.3  # each one matters
    ends = [descend(three, Lottery(chances, seed), 3_000, lambda t: 10 / (t + 10)).theta for seed in range(3)]
    assert np.array(ends) == pytest.approx(np.tile(best, (3, 1)), abs=0.1)
    together = descend_side_by_side(three, [Lottery(chances, seed) for seed in range(3)], 50, 0.5)
    alone = [descend(three, Lottery(chances, seed), 50, 0.5).theta for seed in range(3)]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-13)


def test_ideal_distance_of_three(three):
    theta = -1.0
    brief = math.log(1 + math.exp(2 * theta) + math.exp(theta))  # scores 2, 0, 1
    expected = math.sqrt(loss("dpo", theta) ** 2 + loss("sft", theta) ** 2 + (brief - 0.1) ** 2)
    assert three.ideal_distance(np.array([theta])) == pytest.approx(expected)
    assert set(three.losses(np.array([theta]))) == {"dpo", "sft", "brief"}


def test_inverse_sqrt_is_of_the_iterates():
    assert inverse_sqrt(10.0, 100) == 1.0
    assert inverse_sqrt(1.0, 4) == 0.5
