import logging
import shutil

import pytest
import torch

from xright.errors import UserError
from xright.strategies import MAXRIGHT
from xright.theory.problems import trade_off
from xright.training.checkpoint import Checkpoint


def rule():
    return MAXRIGHT(trade_off(0.5), {"dpo": 0.0, "sft": 0.0}, k=3)


def weights(policy):
    return torch.cat([parameter.detach().flatten() for parameter in policy.parameters()])


@pytest.fixture
def trained(train_tiny, tmp_path):
    """train(steps): go on in one folder, saving every two steps; the policy."""

    def train(steps, folder=tmp_path / "checkpoints", identity="mine"):
        return train_tiny(rule(), [Checkpoint(folder, 2, identity)], steps=steps)

    return train


def step_of(path):
    return torch.load(path, weights_only=True)["global_step"]


def test_the_last_and_the_one_before_it_are_kept(trained, tmp_path):
    trained(5)
    folder = tmp_path / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["last.ckpt", "previous.ckpt"]
    assert (step_of(folder / "last.ckpt"), step_of(folder / "previous.ckpt")) == (5, 4)  # the end is saved, too


def test_a_checkpoint_is_gone_on_from_to_the_bit(trained, train_tiny, tmp_path):
    whole = weights(trained(6, folder=tmp_path / "whole"))
    seen = []
    for path in (tmp_path / "whole" / "last.ckpt", tmp_path / "whole" / "previous.ckpt"):
        folder = tmp_path / path.stem
        folder.mkdir()
        shutil.copy(path, folder / "last.ckpt")
        seen.append(step_of(path))
        assert torch.equal(weights(trained(6, folder=folder)), whole)
    assert seen == [6, 4]  # from the very end, and from before it


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped"])
def test_a_damaged_one_is_named_and_the_one_before_it_used(trained, tmp_path, caplog, damage):
    whole = weights(trained(6))
    last = tmp_path / "checkpoints" / "last.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 0xFF
    last.write_bytes({"truncated": content[: len(content) // 2], "empty": b"", "flipped": content}[damage])
    with caplog.at_level(logging.WARNING, logger="xright"):
        assert torch.equal(weights(trained(6)), whole)
    assert f"{last} is damaged" in caplog.text
    assert step_of(last) == 6


def test_between_two_renames_the_one_before_is_there(trained, tmp_path):
    whole = weights(trained(6))
    (tmp_path / "checkpoints" / "last.ckpt").rename(tmp_path / "checkpoints" / "writing.ckpt")  # killed right there
    assert torch.equal(weights(trained(6)), whole)


def test_none_that_can_be_read_is_an_error_not_a_new_beginning(trained, tmp_path):
    trained(4)
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"no checkpoint in .*checkpoints can be read \(last.ckpt, previous.ckpt"):
        trained(4)


def test_a_foreign_one_is_refused(trained, tmp_path):
    trained(4)
    last = tmp_path / "checkpoints" / "last.ckpt"
    with pytest.raises(UserError, match=r"belongs to another run, or the data or model have changed since \(mine"):
        trained(4, identity="another")
    torch.save({"weights": torch.zeros(3)}, last)
    with pytest.raises(UserError, match=r"last.ckpt is no checkpoint of xright's"):
        trained(4)


def test_nothing_there_is_a_beginning(tmp_path):
    assert Checkpoint(tmp_path, 2).latest() is None
