"""Every callback and logger that a yaml names can be dropped, or the command says at once that it cannot; and any of
Lightning's own loggers can be added."""

import pandas as pd
import pytest
import yaml

from xright.run import CONF

FAST = [
    "debug=fast", "trainer=cpu", "reference=base", "optima=null", "epochs=2", "model.init.hidden_size=16",
    "model.init.num_hidden_layers=1", "model.init.num_attention_heads=2", "model.init.intermediate_size=32",
]  # fmt: skip
NAMES = list(yaml.safe_load((CONF / "callbacks" / "default.yaml").read_text()))
NEEDED = ("trajectory", "checkpoint")  # what a result is made of, so no yaml names them


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("name", NEEDED)
def test_what_a_result_is_made_of_cannot_be_dropped(tmp_path, cache, command_line, name):
    assert name not in NAMES
    done = command_line.run(tmp_path, *FAST, "logger=csv", f"callbacks.{name}=null", XRIGHT_CACHE=cache)
    assert done.returncode == 2
    assert done.stderr == (
        f"xright: callbacks.{name} is no setting any more: a run always writes these; see checkpoint_every.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_all_the_others_can(tmp_path, cache, command_line):
    without = [f"callbacks.{name}=null" for name in NAMES]
    done = command_line.run(tmp_path, *FAST, "logger=csv", *without, XRIGHT_CACHE=cache)
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.glob("runs/default/strategy-*/")
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["checkpoints", "config.yaml", "model", "result.json", "trajectory.csv"]


@pytest.mark.parametrize("group", ["csv", "wandb"])
def test_another_logger_of_lightnings_is_told_what_ours_is(tmp_path, cache, command_line, group):
    added = "+logger.other={_target_: lightning.pytorch.loggers.CSVLogger, save_dir: logs, flush_logs_every_n_steps: 1}"
    done = command_line.run(tmp_path, *FAST, f"logger={group}", added, XRIGHT_CACHE=cache)
    assert done.returncode == 0, done.stderr
    (metrics,) = tmp_path.glob("logs/*/*/metrics.csv")
    (trajectory,) = tmp_path.glob("runs/default/*/trajectory.csv")
    theirs, ours = pd.read_csv(metrics).dropna(subset="val/dpo"), pd.read_csv(trajectory)
    assert theirs["val/dpo"].tolist() == ours["f_dpo"].tolist()
    assert theirs["step"].tolist() == ours["step"].tolist()


@pytest.mark.parametrize("group", ["csv", "wandb"])
def test_a_logger_that_names_no_folder_writes_into_the_runs(tmp_path, cache, command_line, group):
    added = ["+logger.other={_target_: lightning.pytorch.loggers.CSVLogger, flush_logs_every_n_steps: 1, name: theirs}"]
    added += ["+logger.more={_target_: lightning.pytorch.loggers.CSVLogger, name: more}", "+logger.none=null"]
    done = command_line.run(tmp_path, *FAST, f"logger={group}", *added, XRIGHT_CACHE=cache)
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.glob("runs/default/strategy-*/")
    for name in ("theirs", "more"):
        (metrics,) = folder.glob(f"{name}/*/metrics.csv")
        found = pd.read_csv(metrics).dropna(subset="val/sft")["val/sft"]
        assert found.tolist() == pd.read_csv(folder / "trajectory.csv")["f_sft"].tolist()


def test_what_is_no_logger(tmp_path, cache, command_line):
    added = "+logger.other={_target_: lightning.pytorch.loggers.CSVLoger}"
    done = command_line.run(tmp_path, *FAST, "logger=csv", added, XRIGHT_CACHE=cache)
    assert done.returncode == 2
    assert "xright: " in done.stderr
    assert "CSVLoger" in done.stderr
    assert "Traceback" not in done.stderr
