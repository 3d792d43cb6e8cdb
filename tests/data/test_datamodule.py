from types import SimpleNamespace

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from xright.data.datamodule import JointData, batch_sizes, steps_per_epoch
from xright.data.rows import Rows
from xright.data.sampler import TokenBudget
from xright.data.stream import Stream, streams_of
from xright.errors import UserError

BATCH_SIZE = {"sft": 4, "preference": 2}
STEPS = 10  # two epochs of the longer stream: 20 rows by 4


class Recorder(L.LightningModule):
    """Keeps the ids of every step's rows; one parameter, so that steps are counted."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = torch.nn.Parameter(torch.zeros(())), []

    def training_step(self, batch, batch_idx):
        self.seen.append({name: [row.id for row in rows] for name, rows in batch.items()})
        return self.weight

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def streams(make_rows):
    return {"sft": Rows.of(make_rows(20)), "preference": Rows.of(make_rows(7, responses=2))}


def fit(streams, folder, checkpoint=None):
    """The batches a real training sees; it leaves a checkpoint after step 3."""
    recorder, data = Recorder(), JointData(streams, BATCH_SIZE, STEPS, seed=5)
    save = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=3, save_top_k=-1)
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=1, max_steps=STEPS, callbacks=[save], logger=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(recorder, data, ckpt_path=checkpoint, weights_only=True)
    return recorder.seen


def read(seen, stream):
    return [row for batch in seen for row in batch[stream]]


def test_both_streams_advance_every_step(streams, tmp_path):
    seen = fit(streams, tmp_path)
    assert len(seen) == STEPS
    longer, shorter = read(seen, "sft"), read(seen, "preference")
    for epoch in (longer[:20], longer[20:]):  # one epoch: the longer stream once
        assert sorted(epoch) == list(range(20))
    assert longer[:20] != longer[20:]
    assert sorted(shorter[:7]) == sorted(shorter[7:14]) == list(range(7))  # cycles, in a fresh order
    assert shorter[:7] != shorter[7:14]


def test_goes_on_from_a_checkpoint_s_step(streams, tmp_path):
    whole = fit(streams, tmp_path / "whole")
    for step in (3, 9):
        checkpoint = tmp_path / "whole" / f"step={step}.ckpt"
        assert fit(streams, tmp_path / f"resumed {step}", checkpoint) == whole[step:]


def test_ranks_rows_are_disjoint_and_complete(streams):
    def batches(rank, world_size):
        data = JointData(streams, BATCH_SIZE, STEPS, seed=5)
        data.trainer = SimpleNamespace(global_step=0, global_rank=rank, world_size=world_size)
        return [batch for batch, _, _ in data.train_dataloader()]

    for whole, *ranks in zip(batches(0, 1), batches(0, 2), batches(1, 2), strict=True):
        for name, rows in whole.items():
            shares = [row.id for rank in ranks for row in rank[name]]
            assert sorted(shares) == sorted(row.id for row in rows)
            assert len(set(shares)) == BATCH_SIZE[name]


def test_rows_are_those_of_the_list_they_are_made_of(streams):
    def batches(streams):
        data = JointData(streams, BATCH_SIZE, STEPS, seed=5)
        data.trainer = SimpleNamespace(global_step=3, global_rank=0, world_size=1)
        return [batch for batch, _, _ in data.train_dataloader()]

    assert batches(streams) == batches({name: list(rows) for name, rows in streams.items()})


def test_a_batch_larger_than_its_stream(streams):
    with pytest.raises(UserError, match=r"preference\.batch_size=8 is larger than the 7 rows"):
        JointData(streams, {"sft": 4, "preference": 8}, STEPS, seed=0)


def test_an_epoch_is_one_pass_over_the_longer_loader(streams):
    assert steps_per_epoch(streams, {"sft": 4, "preference": 2}) == 5  # 20/4 = 5 against 7/2, rounded up: 4
    assert steps_per_epoch(streams, {"sft": 8, "preference": 2}) == 4  # 20/8, rounded up: 3, against 4


@pytest.mark.parametrize("size", [0, -1, 2.0, True, "8", None])
def test_batch_sizes_are_whole_numbers(size):
    with pytest.raises(UserError, match=r"data\.streams\.sft\.batch_size="):
        streams_of({"sft": {"kind": "completions", "batch_size": size}})
    if size is not None:
        with pytest.raises(UserError, match=r"data\.streams\.sft\.batch_tokens="):
            streams_of({"sft": {"kind": "completions", "batch_tokens": size}})


def test_a_token_budget_takes_the_place_of_a_number_of_rows(streams):
    declared = {
        "sft": Stream("sft", "completions", batch_size=4, batch_tokens=40),
        "preference": Stream("preference", "pairs", batch_size=2),
    }
    sizes = batch_sizes(declared)
    assert sizes == {"sft": TokenBudget(40), "preference": 2}
    data = JointData(streams, sizes, STEPS, seed=0)
    data.trainer = SimpleNamespace(global_step=0, global_rank=0, world_size=1)
    for batch, _, _ in data.train_dataloader():
        assert sum(len(row.prompt) + len(row.responses[0]) for row in batch["sft"]) <= 40
        assert len(batch["preference"]) == 2
    tokens = sum(len(row.prompt) + len(row.responses[0]) for row in streams["sft"])
    assert steps_per_epoch({"sft": streams["sft"]}, sizes) == -(-tokens // 40)
