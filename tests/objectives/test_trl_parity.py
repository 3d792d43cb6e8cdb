"""The same rows and weights through TRL's own trainers, collators and losses (1.16), in fp32."""

from copy import copy
from dataclasses import replace

import pytest
import torch
from datasets import Dataset, disable_progress_bars
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer

from xright.data.prompts import Row
from xright.forward.collate import LAYOUTS, collate
from xright.forward.logprobs import response_logps, response_token_logps
from xright.forward.packing import choose_layout
from xright.objectives import (
    BCO,
    CPO,
    DFT,
    DPO,
    EXO,
    IPO,
    KTO,
    NCA,
    RPO,
    SFT,
    SPPO,
    APODown,
    APOZero,
    DiscoPOP,
    DPONorm,
    Hinge,
    RobustDPO,
    SimPO,
)
from xright.training.means import anchor_of

PLAIN = {
    "bf16": False, "gradient_checkpointing": False, "use_cpu": True, "report_to": "none", "disable_tqdm": True,
    "per_device_train_batch_size": 4, "max_length": None, "disable_dropout": True,
}  # fmt: skip
EPSILON = 0.2


@pytest.fixture
def trl_loss(tmp_path, word_tokenizer):
    """trl_loss(Trainer, Config, rows of text, model, …): the loss of TRL's `compute_loss` on its own first batch."""
    disable_progress_bars()

    def loss(trainer_class, config_class, texts, model, ref_model=None, **settings):
        settings = PLAIN | settings
        if ref_model is None:  # SFT: no reference, and no such switch
            settings.pop("disable_dropout")
        trainer = trainer_class(
            model, args=config_class(str(tmp_path), **settings), train_dataset=Dataset.from_list(texts),
            processing_class=word_tokenizer, **({"ref_model": ref_model} if ref_model else {}),
        )  # fmt: skip
        batch = next(iter(trainer.get_train_dataloader()))
        assert len(batch["input_ids"]) == len(texts) * (2 if "chosen" in texts[0] else 1)
        return trainer.compute_loss(trainer.model, batch)

    return loss


def words(ids):
    return " ".join("</s>" if i == 0 else f"w{i}" for i in ids)


def as_pairs(rows):
    sides = [(words(row.prompt), *(" " + words(response) for response in row.responses)) for row in rows]
    return [dict(zip(("prompt", "chosen", "rejected"), side, strict=True)) for side in sides]


def chosen_of_one_length(rows):
    """TRL's NLL is a mean over the tokens of a micro-batch, ours one of each answer's own: there they agree."""
    shared = min(len(row.responses[0]) for row in rows)
    return [replace(row, responses=(row.responses[0][-shared:], row.responses[1])) for row in rows]


def assert_same(ours, theirs, model, other):
    """Losses within 1e-4, gradients within 1e-3 of the largest entry of their tensor."""
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-4)
    ours.backward()
    theirs.backward()
    pairs = list(zip(model.named_parameters(), other.parameters(), strict=True))
    assert all(p.grad is not None and q.grad is not None for (_, p), q in pairs)
    scale = max(q.grad.abs().max() for _, q in pairs)
    for (name, p), q in pairs:
        assert (p.grad - q.grad).norm() <= 1e-3 * q.grad.norm() + 1e-6 * scale, name


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("objective", "settings"),
    [
        (DPO(beta=0.3), {"loss_type": ["sigmoid"]}),
        # TRL has no cDPO: its `sigmoid` is ℓ(h) and its `robust` ((1−ε) ℓ(h) − ε ℓ(−h)) / (1−2ε), whatever ε, so
        # (1−ε) ℓ(h) + ε ℓ(−h) = 2(1−ε) sigmoid − (1−2ε) robust.
        (
            DPO(beta=0.3, label_smoothing=EPSILON),
            {
                "loss_type": ["sigmoid", "robust"],
                "loss_weights": [2 * (1 - EPSILON), -(1 - 2 * EPSILON)],
                "label_smoothing": EPSILON,
            },
        ),
        (IPO(beta=0.3), {"loss_type": ["ipo"]}),
        (DPONorm(beta=0.3), {"loss_type": ["sigmoid_norm"]}),
        (RPO(beta=0.3, alpha=0.5), {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]}),
        (Hinge(beta=0.3), {"loss_type": ["hinge"]}),
        (RobustDPO(beta=0.3, label_smoothing=EPSILON), {"loss_type": ["robust"], "label_smoothing": EPSILON}),
        (NCA(beta=0.3), {"loss_type": ["nca_pair"]}),
        (EXO(beta=0.3, label_smoothing=EPSILON), {"loss_type": ["exo_pair"], "label_smoothing": EPSILON}),
        (APOZero(beta=0.3), {"loss_type": ["apo_zero"]}),
        (APODown(beta=0.3), {"loss_type": ["apo_down"]}),
        (SPPO(beta=0.3), {"loss_type": ["sppo_hard"]}),
        (BCO(beta=0.3), {"loss_type": ["bco_pair"]}),
        (DiscoPOP(beta=0.3, tau=0.05), {"loss_type": ["discopop"]}),
    ],
    ids=repr,
)
def test_preference_losses(objective, settings, layout, trl_loss, tiny_model, make_rows):
    rows, reference = make_rows(4, responses=2), tiny_model(seed=1)
    if isinstance(objective, RPO):
        rows = chosen_of_one_length(rows)
    texts = as_pairs(rows)
    theirs_model = tiny_model()
    theirs = trl_loss(DPOTrainer, DPOConfig, texts, theirs_model, reference, beta=0.3, **settings)

    with torch.no_grad():
        logps_RB = response_logps(reference, collate(rows, pad_id=0))[0].view(2, -1)
    rows = [Row(r.id, r.prompt, r.responses, tuple(p)) for r, p in zip(rows, logps_RB.T.tolist(), strict=True)]
    model = tiny_model()
    batch = collate(rows, 0, choose_layout(model, layout))
    ours = objective(model, batch)[0] / objective.size(batch)
    assert_same(ours, theirs, model, theirs_model)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("objective", "settings"),
    [
        # TRL adds NLL to SimPO unless it is told not to.
        (SimPO(beta=2.0, gamma_beta_ratio=0.5), {"loss_type": "simpo", "simpo_gamma": 1.0, "cpo_alpha": 0.0}),
        (CPO(beta=0.3, alpha=0.5), {"loss_type": "sigmoid", "cpo_alpha": 0.5}),
    ],
    ids=repr,
)
def test_preference_losses_without_a_reference(
    objective, settings, layout, tiny_model, make_rows, word_tokenizer, tmp_path
):
    disable_progress_bars()
    rows = chosen_of_one_length(make_rows(4, responses=2))
    theirs_model, tokenizer = tiny_model(), copy(word_tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    args = CPOConfig(str(tmp_path), beta=objective.beta, remove_unused_columns=False, **PLAIN | settings)
    trainer = CPOTrainer(
        theirs_model, args, train_dataset=Dataset.from_list(as_pairs(rows)), processing_class=tokenizer
    )
    theirs = trainer.compute_loss(trainer.model, next(iter(trainer.get_train_dataloader())))

    model = tiny_model()
    batch = collate(rows, 0, choose_layout(model, layout))
    assert_same(objective(model, batch)[0] / objective.size(batch), theirs, model, theirs_model)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("seed", [0, 1])  # of the reference: z is above 0 with one and 0 with the other
def test_labelled_rows(seed, layout, trl_loss, tiny_model, make_rows):
    """TRL's mismatched answers are those of the row before in a batch; here ours are made the same."""
    rows, reference = make_rows(4), tiny_model(seed=2 + seed)
    texts = [
        {"prompt": words(row.prompt), "completion": " " + words(row.responses[0]), "label": i % 3 != 0}
        for i, row in enumerate(rows)
    ]
    objective, theirs_model = KTO(beta=0.1, desirable=1.0, undesirable=1.5), tiny_model()
    settings = {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.5, "dataloader_drop_last": True}
    theirs = trl_loss(KTOTrainer, KTOConfig, texts, theirs_model, reference, **settings)

    before = [rows[-1], *rows[:-1]]
    rows = [replace(row, responses=row.responses + other.responses) for row, other in zip(rows, before, strict=True)]
    with torch.no_grad():
        logps_RB = response_logps(reference, collate(rows, pad_id=0))[0].view(2, -1)
    known = zip(rows, logps_RB.T.tolist(), strict=True)
    rows = [replace(row, reference=tuple(pair), label=i % 3 != 0) for i, (row, pair) in enumerate(known)]
    model = tiny_model()
    batch = collate(rows, 0, choose_layout(model, layout))
    anchor = anchor_of(objective, model, [batch], lambda *sums: sums)
    assert (anchor > 0) == (seed == 0)
    assert_same(objective(model, replace(batch, anchor=anchor))[0] / 4, theirs, model, theirs_model)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("objective", "loss_type"), [(SFT(), "nll"), (DFT(), "dft")], ids=repr)
def test_completions_only(objective, loss_type, layout, trl_loss, tiny_model, make_rows):
    rows = make_rows(4)
    texts = [{"prompt": words(row.prompt), "completion": " " + words(row.responses[0])} for row in rows]
    theirs_model = tiny_model()
    theirs = trl_loss(SFTTrainer, SFTConfig, texts, theirs_model, completion_only_loss=True, loss_type=loss_type)

    model = tiny_model()
    batch = collate(rows, 0, choose_layout(model, layout))
    loss, _ = objective(model, batch)
    if loss_type == "dft":  # our value is that of the function with this gradient; TRL's is Σ p (−log p)
        logps_N = response_token_logps(model, batch).detach()
        loss = loss - loss.detach() - (logps_N.exp() * logps_N).sum()
    assert_same(loss / objective.size(batch), theirs, model, theirs_model)
