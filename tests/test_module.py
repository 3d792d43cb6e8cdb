"""The joint step, trained for real: a GPT-NeoX of 6,000 parameters, a few steps, on the CPU."""

import copy
import weakref
from dataclasses import replace
from functools import partial

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch.utils._python_dispatch import TorchDispatchMode

from xright import models
from xright.config.settings import LoopSettings
from xright.data.datamodule import JointData
from xright.errors import UserError
from xright.forward.collate import LAYOUTS, collate
from xright.forward.order import chunks
from xright.forward.packing import choose_layout
from xright.objectives import DPO, ORPO, SFT, Objective
from xright.optim import Optim
from xright.strategies import ALRIGHT, MAXRIGHT, Mix, Only, Phase, Schedule, Sequential
from xright.theory.problems import NAMES, trade_off
from xright.training.fit import Plan, make_trainer, train
from xright.training.means import NonFinite
from xright.training.module import JointModule

ROWS, BATCH_SIZE = 5, {"sft": 5, "preference": 5}  # each step takes all rows: a seed is only their order
TRAINER = OmegaConf.create({
    "_target_": "lightning.Trainer", "accelerator": "cpu", "devices": 1, "enable_model_summary": False,
    "enable_progress_bar": False, "logger": False,
})  # fmt: skip
ADAM = Optim(lr=1e-2)


class SGD(Optim):
    """Plain gradient descent. AdamW would hide a gradient of the wrong scale, and blow up rounding where it is zero."""

    def build(self, parameters):
        return torch.optim.SGD(parameters, lr=self.lr)


class Watch(L.Callback):
    """Every step's outputs, and what `watch(trainer, module)` sees after it."""

    def __init__(self, watch=None):
        self.watch, self.outputs, self.seen = watch, [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, *_):
        self.outputs.append(outputs)
        self.seen.append(self.watch(trainer, pl_module) if self.watch else None)


class Spied(Objective):
    """An objective that writes its name and whether a gradient is wanted into `calls`, and what `note(policy, loss)`
    returns into `notes`."""

    def __init__(self, name, objective, calls, note=None):
        self.name, self.objective, self.calls, self.stream = name, objective, calls, objective.stream
        self.note, self.notes = note, []

    def size(self, batch):
        return self.objective.size(batch)

    def __call__(self, policy, batch):
        self.calls.append((self.name, torch.is_grad_enabled()))
        loss, metrics = self.objective(policy, batch)
        self.notes.append(self.note(policy, loss) if self.note else None)
        return loss, metrics


@pytest.fixture
def streams(make_rows):
    return {"sft": make_rows(ROWS), "preference": make_rows(ROWS, responses=2)}


@pytest.fixture
def fit(streams, tiny_model):
    """fit(a rule or a schedule, …): a trained policy and its Watch."""

    def run(
        selector, steps=3, optim=ADAM, micro_batch=None, seed=0, policy=None, objectives=None, evaluation=None,
        eval_every=100, watch=None, lay_out=None, checkpoint=None, rows=streams, layout="padded", look="auto",
        sizes=None,
    ):  # fmt: skip
        policy, watch = policy or tiny_model(), Watch(watch)
        lay_out = lay_out or partial(collate, pad_id=0, layout=choose_layout(policy, layout))
        schedule = Schedule.of(selector).steps(steps_per_epoch=steps, epochs=1)
        module = JointModule(
            policy, objectives or {"sft": SFT(), "dpo": DPO(), "orpo": ORPO()}, schedule, optim, collate=lay_out,
            evaluation=evaluation or {}, eval_every=eval_every, seed=seed, micro_batch=micro_batch, look=look,
        )  # fmt: skip
        total = sum(length for _, length in schedule)
        trainer = make_trainer(TRAINER, callbacks=[watch], max_steps=total)
        data = JointData(rows, sizes or BATCH_SIZE, total, seed)
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
        return policy, watch

    return run


def difference(first, second):
    """Largest difference of two policies' parameters."""
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return max(float((p - q).detach().abs().max()) for p, q in pairs)


def more_padding(rows, pad_id=39, columns=7):
    """The usual batch with another pad id and padding nobody asked for."""
    batch = collate(rows, pad_id)
    return replace(
        batch,
        input_ids_LT=F.pad(batch.input_ids_LT, (0, columns), value=pad_id),
        attention_mask_LT=F.pad(batch.attention_mask_LT, (0, columns)),
    )


@pytest.mark.parametrize("selector", [Only("sft"), Only("dpo"), Only("orpo"), Mix(trade_off(0.3))], ids=repr)
@pytest.mark.parametrize("optim", [SGD(lr=0.1), SGD(lr=0.1, clip=None)], ids=["clipped", "unclipped"])
def test_the_update_depends_on_the_rows_alone(fit, tiny_model, selector, optim):
    policy, watch = fit(selector, optim=optim)
    assert difference(policy, tiny_model()) > 1e-2
    for other in [
        {"micro_batch": 1}, {"micro_batch": 2}, {"micro_batch": 3}, {"lay_out": more_padding}, {"seed": 1},
        {"layout": "packed"}, {"layout": "packed", "micro_batch": 2},
    ]:  # fmt: skip
        again, seen = fit(selector, optim=optim, **other)
        assert difference(policy, again) < 1e-5, other
        for ours, theirs in zip(watch.outputs, seen.outputs, strict=True):
            assert theirs["losses"] == pytest.approx(ours["losses"], rel=1e-4)
            for name, metrics in ours["metrics"].items():
                assert theirs["metrics"][name] == pytest.approx(metrics, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("selector", "only"),
    [
        (Mix(trade_off(0)), "sft"),
        (Mix(trade_off(1)), "dpo"),
        (ALRIGHT(trade_off(1), seed=0), "dpo"),
        (ALRIGHT(trade_off(0), seed=0), "sft"),
    ],
    ids=repr,
)
def test_the_ends_of_lam_are_single_objectives_to_the_bit(fit, selector, only):
    assert difference(fit(selector)[0], fit(Only(only))[0]) == 0


def test_mix_descends_the_weighted_sum(fit, tiny_model):
    """One plain step: θ_mix − θ = λ (θ_dpo − θ) + (1−λ) (θ_sft − θ)."""
    optim, start = SGD(lr=0.1, clip=None), tiny_model()
    mix, dpo, sft = (fit(s, steps=1, optim=optim)[0] for s in (Mix(trade_off(0.3)), Only("dpo"), Only("sft")))
    for p, m, d, s in zip(*(model.parameters() for model in (start, mix, dpo, sft)), strict=True):
        assert torch.allclose(m - p, 0.3 * (d - p) + 0.7 * (s - p), atol=1e-6)


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_only_the_chosen_objectives_are_computed(fit, micro_batch):
    calls = []
    objectives = {"sft": Spied("sft", SFT(), calls), "dpo": Spied("dpo", DPO(), calls)}
    _, watch = fit(ALRIGHT(trade_off(0.5), seed=1), steps=8, objectives=objectives, micro_batch=micro_batch)
    picks = [name for outputs in watch.outputs for name in outputs["weights"]]
    assert set(picks) == {"sft", "dpo"}
    forwards = 1 if micro_batch is None else 3  # 5 rows by 2
    assert calls == [(pick, True) for pick in picks for _ in range(forwards)]


@pytest.mark.parametrize(
    ("look", "micro_batch", "forwards", "kept"),
    [
        ("auto", None, 1, True),
        ("auto", 5, 1, True),  # the rows of a step
        ("auto", 2, 3, False),  # the graphs of all micro-batches at once are what a micro-batch avoids
        ("grad", None, 1, True),
        ("grad", 2, 3, True),
        ("no_grad", None, 1, False),
        ("no_grad", 2, 3, False),
    ],
)
def test_maxright_looks_at_both_every_k_steps(fit, look, micro_batch, forwards, kept):
    calls = []
    objectives = {"sft": Spied("sft", SFT(), calls), "dpo": Spied("dpo", DPO(), calls)}
    selector = MAXRIGHT(trade_off(0.5), {"dpo": 0.0, "sft": 0.0}, k=2)
    _, watch = fit(selector, steps=4, objectives=objectives, look=look, micro_batch=micro_batch)
    both = [("dpo", kept)] * forwards + [("sft", kept)] * forwards
    picks = [[(name, True)] * forwards for outputs in watch.outputs for name in outputs["weights"]]
    used = [[] if kept else picks[step] for step in (0, 2)]  # a kept forward is not computed again
    assert calls == [*both, *used[0], *picks[1], *both, *used[1], *picks[3]]
    for outputs in watch.outputs:  # the chosen gap is the step's own loss; f* = 0
        ((name, loss),) = outputs["losses"].items()
        assert outputs["seen_gaps"][name] == loss
    first = watch.outputs[0]["seen_gaps"]
    _, mix = fit(Mix(trade_off(0.5)), steps=1)
    assert first == pytest.approx(mix.outputs[0]["losses"], rel=1e-5)  # looked at the same batches


@pytest.mark.parametrize("look", ["grad", "no_grad"])
def test_a_look_leaves_no_trace_in_the_update(fit, look):
    looked, watch = fit(MAXRIGHT(trade_off(0.5), {"dpo": -1e9, "sft": 0.0}, k=1), look=look)  # DPO always
    assert [list(outputs["weights"]) for outputs in watch.outputs] == [["dpo"]] * 3
    assert difference(looked, fit(Only("dpo"))[0]) == 0


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("micro_batch", [None, 2])
def test_both_kinds_of_look_choose_and_train_alike(fit, layout, micro_batch):
    def trained(look):
        # which of the two is larger changes on the way
        selector = MAXRIGHT(trade_off(0.5), {"dpo": 0.0, "sft": 2.5}, k=2)
        return fit(selector, steps=8, look=look, layout=layout, micro_batch=micro_batch, optim=SGD(lr=0.2))

    (first, kept), (second, again) = trained("grad"), trained("no_grad")
    picks = [list(outputs["weights"]) for outputs in kept.outputs]
    assert {name for (name,) in picks} == {"dpo", "sft"}
    assert picks == [list(outputs["weights"]) for outputs in again.outputs]
    for ours, theirs in zip(kept.outputs, again.outputs, strict=True):
        for key in ("losses", "seen_gaps"):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-6)
    assert difference(first, second) < 1e-6


def test_a_look_without_gradient_is_without_dropout(fit, adapter):
    """The authors' look is an evaluation; the kept forward is the training's own."""

    def seen(look, dropout):
        policy = adapter(dropout=dropout)
        with torch.no_grad():
            for parameter in policy.parameters():
                if parameter.requires_grad:
                    parameter.fill_(0.1)  # LoRA's B starts at zero, and hides what is dropped
        _, watch = fit(MAXRIGHT(trade_off(0.5), {"dpo": -1e9, "sft": 0.0}), steps=1, policy=policy, look=look)
        return watch.outputs[0]["seen_gaps"]["sft"]  # looked at, not chosen

    assert seen("no_grad", 0.5) == pytest.approx(seen("no_grad", 0.0), rel=1e-6)
    assert seen("grad", 0.0) == pytest.approx(seen("no_grad", 0.0), rel=1e-6)
    assert seen("grad", 0.5) != pytest.approx(seen("grad", 0.0), rel=1e-3)


@pytest.mark.parametrize("micro_batch", [None, 2])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_the_graph_that_was_not_chosen_is_gone_before_the_update(fit, tiny_model, adapter, lora, micro_batch):

    def note(_, loss):
        return weakref.ref(loss)

    def alive(spy):
        return [graph() is not None for graph in spy.notes]

    class Watched(SGD):
        def build(self, parameters):
            optimizer = super().build(parameters)
            optimizer.register_step_pre_hook(lambda *_: at_update.append(any(alive(other))))
            return optimizer

    at_update = []
    chosen, other = Spied("dpo", DPO(), [], note), Spied("sft", SFT(), [], note)
    selector = MAXRIGHT(trade_off(0.5), {"dpo": -1e9, "sft": 0.0}, k=1)
    fit(
        selector, steps=2, policy=adapter() if lora else tiny_model(), look="grad",
        objectives={"dpo": chosen, "sft": other}, optim=Watched(lr=0.1), micro_batch=micro_batch,
    )  # fmt: skip
    assert at_update == [False, False]
    forwards = 2 * (1 if micro_batch is None else 3)
    assert alive(chosen) == alive(other) == [False] * forwards


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_mix_backpropagates_one_objective_after_the_other(fit, micro_batch):
    """When the second forward runs, the first one's graph is gone and its gradient is in the parameters."""

    def note(policy, loss):
        before = [graph() is not None for graph in graphs]
        graphs.append(weakref.ref(loss))
        return any(p.grad is not None and bool(p.grad.any()) for p in policy.parameters()), before

    graphs, calls = [], []
    sft, dpo = Spied("sft", SFT(), calls, note), Spied("dpo", DPO(), calls, note)
    fit(Mix(trade_off(0.3)), steps=1, objectives={"sft": sft, "dpo": dpo}, micro_batch=micro_batch)
    forwards = 1 if micro_batch is None else 3
    assert [name for name, _ in calls] == ["dpo"] * forwards + ["sft"] * forwards
    assert [accumulated for accumulated, _ in dpo.notes + sft.notes] == [False] + [True] * (2 * forwards - 1)
    assert sft.notes[0][1] == [False] * forwards


TRAJECTORIES = [
    Only("sft"),
    Only("dpo"),
    Only("orpo"),
    Mix(trade_off(0.3)),
    MAXRIGHT(trade_off(0.5), {"dpo": 0.0, "sft": 2.5}, k=2),
]


@pytest.mark.parametrize("selector", TRAJECTORIES, ids=repr)
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_both_layouts_give_the_same_trajectory(fit, tiny_model, adapter, make_rows, selector, lora):
    rows = {"sft": make_rows(3, seed=1), "dpo": make_rows(3, responses=2, seed=1)}
    evaluation = {name: [chunk] for name, chunk in rows.items()}

    def trained(layout):
        policy, optim = (adapter() if lora else tiny_model()), SGD(lr=0.1)
        chosen = copy.deepcopy(selector)
        return fit(chosen, steps=4, policy=policy, optim=optim, layout=layout, evaluation=evaluation, eval_every=1)

    (first, padded), (second, packed) = trained("padded"), trained("packed")
    assert difference(first, second) < 1e-5
    for ours, theirs in zip(packed.outputs, padded.outputs, strict=True):
        assert ours["weights"] == theirs["weights"]
        assert ours["tokens"] == theirs["tokens"]
        for key in ("losses", "evaluation", "seen_gaps"):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-5), key


def test_each_phase_has_a_fresh_optimizer_and_schedule(fit):
    def state(trainer, module):
        (optimizer,) = trainer.optimizers
        moments = [(float(s["step"]), s["exp_avg"].clone(), s["exp_avg_sq"].clone()) for s in optimizer.state.values()]
        return optimizer.param_groups[0]["lr"], moments

    optim = Optim(lr=0.01, schedule="cosine")
    _, watch = fit(Sequential("sft", (1, 2), NAMES), steps=2, optim=optim, watch=state)
    assert [list(outputs["weights"]) for outputs in watch.outputs] == [["sft"]] * 2 + [["dpo"]] * 4
    # (1 + cos(π t/n))/2 with n = 2, then n = 4
    factors = [1, 0.5, 1, 0.853553, 0.5, 0.146447]
    assert [lr for lr, _ in watch.seen] == pytest.approx([0.01 * factor for factor in factors], rel=1e-5)
    steps = [{step for step, _, _ in moments} for _, moments in watch.seen]
    assert steps == [{1}, {2}, {1}, {2}, {3}, {4}]
    for _, mean, square in watch.seen[2][1]:  # moments from zero: m = 0.1 g, v = 0.05 g²
        assert torch.allclose(square, 0.05 * (mean / 0.1) ** 2, rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("clip", [0.01, 1.0])
def test_gradients_are_clipped_to_their_norm(fit, tiny_model, clip):
    def moved(clip):
        policy, _ = fit(Only("sft"), steps=1, optim=SGD(lr=1.0, clip=clip))
        pairs = zip(policy.parameters(), tiny_model().parameters(), strict=True)
        return float(torch.cat([(p - q).detach().flatten() for p, q in pairs]).norm())

    assert moved(None) > 1.5  # else there is nothing to clip
    assert moved(clip) == pytest.approx(clip, rel=1e-3)


@pytest.fixture
def bad_streams(streams):
    """One pair whose stored reference is not a number."""
    good = streams["preference"]
    return streams | {"preference": [replace(good[0], reference=(float("nan"), -1.0)), *good[1:]]}


def test_a_loss_that_is_not_finite_stops_before_the_update(fit, tiny_model, bad_streams):
    policy = tiny_model()
    with pytest.raises(NonFinite, match="the dpo loss of step 2 is not finite"):
        fit(Sequential("sft", (1, 1), NAMES), steps=2, policy=policy, rows=bad_streams)
    assert difference(policy, fit(Only("sft"), steps=2)[0]) == 0
    with pytest.raises(NonFinite, match="the dpo loss of step 0"):
        fit(MAXRIGHT(trade_off(0.5), {"dpo": 0.0, "sft": 0.0}), policy=policy, rows=bad_streams)  # in a look
    with pytest.raises(NonFinite, match="the dpo loss of step 0"):
        fit(Mix(trade_off(0.5)), policy=policy, rows=bad_streams)
    assert difference(policy, fit(Only("sft"), steps=2)[0]) == 0


def test_the_user_is_told_objective_and_step(tiny_model, word_tokenizer, bad_streams):
    trainer = {key: value for key, value in TRAINER.items() if key not in ("enable_progress_bar", "logger")}
    loop = LoopSettings(
        trainer, eval_every=10, eval_batch_size=4, checkpoint_every=10, layout="packed", look="auto", micro_batch=None
    )
    schedule = Sequential("sft", (1, 1), NAMES).steps(2, 1)
    plan = Plan("test", {"sft": SFT(), "dpo": DPO()}, bad_streams, BATCH_SIZE, schedule, ADAM, seed=0)
    with pytest.raises(UserError, match=r"the dpo loss became NaN or infinite at step 2 .*w\d+"):
        train(plan, tiny_model(), word_tokenizer, loop)


def means_by_hand(policy, rows, pairs):
    """f_SFT and f_DPO, row by row without padding, from the model's own full logits."""

    def logp(row, response):
        ids = torch.tensor([row.prompt + response])
        with torch.no_grad():
            logps = policy(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
        return float(logps.gather(1, ids[0, 1:, None])[len(row.prompt) - 1 :].sum())

    tokens = sum(len(row.responses[0]) for row in rows)
    sft = -sum(logp(row, row.responses[0]) for row in rows) / tokens
    margins = [
        logp(row, row.responses[0]) - row.reference[0] - logp(row, row.responses[1]) + row.reference[1] for row in pairs
    ]
    losses = [-F.logsigmoid(torch.tensor(0.1 * margin)) for margin in margins]
    return {"sft": sft, "dpo": float(sum(losses) / len(pairs))}


def test_evaluation_is_the_exact_mean_whatever_the_chunks(fit, make_rows):
    rows, pairs = make_rows(7, seed=1), make_rows(6, responses=2, seed=1)
    for size in (1, 4, 100):
        evaluation = {"sft": chunks(rows, size, "packed"), "dpo": chunks(pairs, size, "padded")}
        policy, watch = fit(Mix(trade_off(0.5)), steps=5, evaluation=evaluation, eval_every=2)
        evaluated = [outputs["step"] + 1 for outputs in watch.outputs if "evaluation" in outputs]
        assert evaluated == [1, 2, 4, 5]  # after the first step, every second, and at the end
        assert watch.outputs[-1]["evaluation"] == pytest.approx(means_by_hand(policy, rows, pairs), rel=1e-4)
        accuracy = watch.outputs[-1]["evaluation_metrics"]["dpo"]["rewards/accuracies"]
        assert accuracy * 6 == pytest.approx(round(accuracy * 6))  # of six pairs


def test_evaluation_does_not_change_the_training(fit, make_rows):
    evaluation = {"sft": [make_rows(3, seed=1)], "dpo": [make_rows(3, responses=2, seed=1)]}
    watched, _ = fit(Mix(trade_off(0.5)), evaluation=evaluation, eval_every=1)
    assert difference(watched, fit(Mix(trade_off(0.5)))[0]) == 0


@pytest.fixture
def adapter(tiny_model):
    def make(dropout=0.0):
        lora = {"r": 2, "alpha": 4, "dropout": dropout, "target_modules": ["query_key_value"]}
        return models.trainable(tiny_model(), lora, gradient_checkpointing=False, seed=0)

    return make


def test_evaluation_is_without_dropout(fit, adapter, make_rows):
    rows, pairs = make_rows(7, seed=1), make_rows(6, responses=2, seed=1)
    policy, evaluation = adapter(dropout=0.5), {"sft": [rows], "dpo": [pairs]}
    policy, watch = fit(Mix(trade_off(0.5)), steps=5, policy=policy, evaluation=evaluation, eval_every=5)
    assert policy.training
    expected = means_by_hand(copy.deepcopy(policy).eval(), rows, pairs)
    assert watch.outputs[-1]["evaluation"] == pytest.approx(expected, rel=1e-4)


def test_checkpoints_hold_what_is_trained_and_what_is_remembered(fit, adapter, tmp_path):
    def save(trainer, module):
        trainer.save_checkpoint(tmp_path / f"{trainer.global_step}.ckpt")

    selector = MAXRIGHT(trade_off(0.5), {"dpo": 0.0, "sft": 0.0}, k=4)
    policy, watch = fit(selector, steps=4, policy=adapter(), watch=save)
    checkpoint = torch.load(tmp_path / "4.ckpt", weights_only=True)
    trained = {f"policy.{name}": p for name, p in policy.named_parameters() if p.requires_grad}
    assert checkpoint["state_dict"].keys() == trained.keys()
    assert all("lora_" in name for name in trained)
    assert all(torch.equal(checkpoint["state_dict"][name], p) for name, p in trained.items())
    assert checkpoint["rules"] == [{"gaps": watch.outputs[-1]["seen_gaps"]}]


# Rules that remember, draw and are told; the second counts its steps from the switch.
TWO_RULES = Schedule([
    Phase(ALRIGHT(trade_off(0.5), seed=2)), Phase(MAXRIGHT(trade_off(0.5), {"dpo": 0.0, "sft": 0.0}, k=3)),
])  # fmt: skip


def test_a_phase_s_rule_counts_its_steps_from_the_phase_s_start(fit):
    """Two coins of one seed draw the same in their own steps; so do looks every third step."""
    calls = []
    objectives = {"sft": Spied("sft", SFT(), calls), "dpo": Spied("dpo", DPO(), calls)}
    coins = Schedule([Phase(ALRIGHT(trade_off(0.5), seed=2), 1), Phase(ALRIGHT(trade_off(0.5), seed=2), 2)])
    _, watch = fit(coins, steps=4)
    drawn = [ALRIGHT(trade_off(0.5), seed=2).weights(step) for step in range(8)]
    assert drawn[4:] != drawn[:4]  # else the count would not show
    assert [outputs["weights"] for outputs in watch.outputs] == [*drawn[:4], *drawn]
    assert [outputs["step"] for outputs in watch.outputs] == list(range(12))  # the run's

    _, watch = fit(TWO_RULES, steps=4, objectives=objectives, look="no_grad")
    looked = [name for name, with_gradient in calls if not with_gradient]
    assert looked == ["dpo", "sft"] * 2  # at steps 4 and 7, which are 0 and 3 of the second phase
    assert [bool(outputs["seen_gaps"]) for outputs in watch.outputs] == [False] * 4 + [True] * 4


def test_three_objectives_on_three_streams(fit, tiny_model, make_rows):
    """One plain step of Mix is the weighted sum of the three steps alone."""
    rows = {"sft": make_rows(5), "terse": make_rows(5, seed=1), "preference": make_rows(5, responses=2)}
    given = {"dpo": DPO(), "terse": SFT("terse"), "sft": SFT()}
    shared = {"steps": 1, "optim": SGD(lr=0.1, clip=None), "rows": rows, "objectives": given}
    shared["sizes"] = dict.fromkeys(rows, 5)
    mix, watch = fit(Mix({"dpo": 0.5, "terse": 0.3, "sft": 0.2}), **shared)
    (outputs,) = watch.outputs
    assert list(outputs["losses"]) == ["dpo", "terse", "sft"]
    assert outputs["weights"] == {"dpo": 0.5, "terse": 0.3, "sft": 0.2}
    alone, losses = zip(*(fit(Only(name), **shared) for name in given), strict=True)
    assert {name: loss.outputs[0]["losses"][name] for name, loss in zip(given, losses, strict=True)} == pytest.approx(
        outputs["losses"], rel=1e-6
    )
    for p, m, d, t, s in zip(*(model.parameters() for model in (tiny_model(), mix, *alone)), strict=True):
        assert torch.allclose(m - p, 0.5 * (d - p) + 0.3 * (t - p) + 0.2 * (s - p), atol=1e-6)
    picked, watch = fit(MAXRIGHT({"dpo": 1, "terse": 1, "sft": 1}, {"dpo": 0.0, "terse": -1e9, "sft": 0.0}), **shared)
    assert [outputs["weights"] for outputs in watch.outputs] == [{"terse": 1.0}]
    assert difference(picked, alone[1]) == 0


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
@pytest.mark.parametrize(
    ("selector", "steps"),
    [
        (MAXRIGHT(trade_off(0.5), {"dpo": 0.0, "sft": 0.0}, k=3), 6),
        (Sequential("dpo", (1, 1), NAMES), 3),  # its switch: step 3
        (TWO_RULES, 3),
    ],
    ids=repr,
)
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(fit, adapter, tmp_path, selector, steps, stop):
    def save(trainer, module):
        trainer.save_checkpoint(tmp_path / f"{trainer.global_step}.ckpt")

    first, second = copy.deepcopy(selector), copy.deepcopy(selector)
    whole, seen = fit(first, steps=steps, policy=adapter(dropout=0.2), watch=save)
    checkpoint = tmp_path / f"{stop}.ckpt"
    resumed, rest = fit(second, steps=steps, policy=adapter(dropout=0.2), checkpoint=checkpoint)
    assert len(seen.outputs) == 6
    assert [o["losses"] for o in rest.outputs] == [o["losses"] for o in seen.outputs[stop:]]
    assert difference(whole, resumed) == 0


class Reads(TorchDispatchMode):
    """Counts scalars that are read one by one, each of which would wait for a GPU."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **kwargs or {})


@pytest.mark.parametrize(
    "rule", [Mix(trade_off(0.5)), MAXRIGHT(trade_off(0.5), {"sft": 0.0, "dpo": 0.0}, k=1)], ids=repr
)
@pytest.mark.parametrize("look", ["grad", "no_grad"])
def test_a_step_reads_its_losses_in_one_go(fit, rule, look, monkeypatch):
    steps, inside = [], JointModule.training_step

    def counted(self, batch, batch_idx):
        with Reads() as reads:
            found = inside(self, batch, batch_idx)
        steps.append(reads.count)
        return found

    monkeypatch.setattr(JointModule, "training_step", counted)
    fit(rule, look=look, eval_every=1, micro_batch=2, layout="packed")  # padded, transformers reads its mask
    assert steps == [0, 0, 0]
    with Reads() as reads:
        float(torch.ones(()))
    assert reads.count == 1  # it would have been seen
