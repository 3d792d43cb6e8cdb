"""experiments/real_model: its cells are settings that pass every check, and what is published is not done again."""

import sys
from pathlib import Path

import pandas as pd
import pytest

from xright.pipeline.checks import check_config

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"


@pytest.fixture(scope="module", autouse=True)
def modules():
    """The experiment's modules can be imported, for as long as these tests run."""
    with pytest.MonkeyPatch.context() as patch:
        for room in ("", "paper", "smollm2", "real_model"):
            patch.syspath_prepend(EXPERIMENTS / room)
        yield
    for name in ("cells", "published", "evaluated", "publish"):
        sys.modules.pop(name, None)


def test_no_two_cells_share_a_folder_and_the_middle_ones_are_asked():
    from cells import SAFETY, STUDIES, cells

    for study in STUDIES:
        every = list(cells([study], range(3)))
        assert len({cell.name for cell in every}) == len(every) == 3 * len(STUDIES[study].cells)
    sequential = next(cells(["smollm2_safety"], [1]))
    assert sequential.name == "seed-1_sequential_first-dpo_epochs-2-2"
    assert sequential.drawn == ["seed=1", "data.source.seed=1"]
    asked = [cell.key for cell in cells(["smollm2_safety"], [0]) if cell.tasks]
    assert asked == [
        "strategy=sequential strategy.first=dpo strategy.epochs=[2,2]",
        *(f"strategy={rule} lam=0.5" for rule in ("alright", "maxright", "mix")),
        "strategy=merge start=base",
        *(f"strategy=merge start={start} lam=0.5" for start in ("average", "ties")),
    ]
    assert sequential.tasks == SAFETY


def test_every_cell_is_a_run_that_may_begin(compose, monkeypatch):
    from cells import FIRST, STUDIES, Cell, cells

    monkeypatch.setenv("XRIGHT_DATA", "data")
    for options in FIRST:
        cell = Cell("smollm2_safety", 0, options)
        cfg = compose(f"experiment={cell.study}", "trainer=cpu", f"name={cell.name}", *cell.drawn, *cell.options)
        check_config(cfg)
        assert cfg.epochs == 2
    for cell in cells([*STUDIES], [0]):
        cfg = compose(f"experiment={cell.study}", "trainer=cpu", f"name={cell.name}", *cell.drawn, *cell.options)
        check_config(cfg)
        assert (cfg.epochs, cfg.eval_on, cfg.probe_share) == (4, "train_probe", 0.5)
        assert cfg.reference == ("sft" if "sft_first" in cell.study else "chosen")


def test_a_finished_cell_is_published(tmp_path, monkeypatch, command_line):
    import published
    from cells import Cell

    for name, place in (("HERE", tmp_path), ("RUNS", tmp_path / "runs"), ("CELLS", tmp_path / "cells.csv")):
        monkeypatch.setattr(published, name, place)
    cell = Cell("smollm2_safety", 3, ("strategy=mix", "lam=0.5"))  # a study's first cell: without a MAXRIGHT run
    small = ["debug=fast", "logger=csv", f"runs_dir={tmp_path / 'runs' / cell.study}", f"name={cell.name}", "seed=3"]
    command_line.run(tmp_path, *small, *cell.options, XRIGHT_CACHE=str(tmp_path / "cache"))
    published.publish(cell, asked=False)
    assert published.is_there(cell)
    rows = pd.read_csv(tmp_path / "smollm2_safety.csv")
    assert rows[["label", "seed"]].iloc[0].tolist() == ["Mix λ=0.5", 3]
    assert rows["f_dpo"].notna().all()


def test_what_is_published_stays_and_is_not_done_again(tmp_path, monkeypatch):
    import published
    from cells import Cell

    monkeypatch.setattr(published, "CELLS", tmp_path / "cells.csv")
    mine, other = (Cell("smollm2_safety", seed, ("strategy=mix", "lam=0.5")) for seed in (0, 1))
    assert not published.is_there(mine)
    for cell, commit in ((mine, "a"), (other, "b"), (mine, "c")):  # the last: run again, on purpose
        row = {"study": cell.study, "cell": cell.key, "seed": cell.seed, "asked": commit == "b", "commit": commit}
        published.join(pd.DataFrame([row]), published.CELLS, published.NAMED)
    assert published.is_there(mine)
    assert published.is_there(other, asked=True)
    assert not published.is_there(mine, asked=True)  # its model is still to be asked
    assert not published.is_there(Cell("smollm2_safety", 0, ("strategy=mix", "lam=0.25")))
    found = pd.read_csv(published.CELLS)
    assert found[["seed", "commit"]].to_numpy().tolist() == [[1, "b"], [0, "c"]]
