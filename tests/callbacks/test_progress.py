"""The bar as a terminal shows it, of a real training of a model of one weight."""

import io
import sys

import lightning as L
import pytest
import torch

from xright.callbacks.progress import Progress


class Weight(L.LightningModule):
    def __init__(self, fails_at=None):
        super().__init__()
        self.weight, self.fails_at = torch.nn.Parameter(torch.ones(())), fails_at

    def training_step(self, batch, t):
        if t == self.fails_at:
            raise ValueError("at a step")
        return {"loss": self.weight * batch.sum(), "step": t}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def shown(steps, monkeypatch, tmp_path, terminal=True, resumed=None, fails_at=None, screen=None):
    """What goes to stderr, and the trainer."""
    screen = screen or io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    trainer = L.Trainer(
        accelerator="cpu", max_steps=steps, callbacks=[Progress("optimum_x")], logger=False,
        enable_checkpointing=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    try:
        trainer.fit(Weight(fails_at), torch.utils.data.DataLoader(torch.ones(9, 1)), ckpt_path=resumed)
    finally:
        monkeypatch.undo()
    return screen.getvalue(), trainer


def test_one_bar_over_all_steps_that_goes_on_where_a_run_was(monkeypatch, tmp_path):
    text, trainer = shown(3, monkeypatch, tmp_path)
    last = text.split("\r")[-1]
    assert last.startswith("optimum_x: 100%")
    assert "3/3" in last
    assert last.endswith("\n")
    trainer.save_checkpoint(tmp_path / "kept.ckpt")
    resumed, _ = shown(5, monkeypatch, tmp_path, resumed=tmp_path / "kept.ckpt")
    bars = [part for part in resumed.split("\r") if part.startswith("optimum_x")]
    assert "3/5" in bars[0]
    assert "5/5" in bars[-1]


def test_nothing_where_nobody_watches(monkeypatch, tmp_path):
    assert "optimum_x" not in shown(3, monkeypatch, tmp_path, terminal=False)[0]


def test_an_exception_leaves_the_cursor_below(monkeypatch, tmp_path):
    screen = io.StringIO()
    with pytest.raises(ValueError, match="at a step"):
        shown(3, monkeypatch, tmp_path, fails_at=1, screen=screen)
    assert "1/3" in screen.getvalue()
    assert screen.getvalue().endswith("\n")
