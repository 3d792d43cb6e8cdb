"""KTO by the command line, on labelled rows of the generated world: alone in DPO's place, cut, killed, on two ranks."""

import json

import pandas as pd
import pytest

RUN = ["experiment=unpaired", "debug=fast", "trainer=cpu", "logger=csv", "strategy=maxright", "checkpoint_every=2"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("kto")


@pytest.fixture(scope="module")
def run(place, command_line):
    def run(name, *overrides, ends=0):
        done = command_line.run(place, *RUN, f"name={name}", *overrides, XRIGHT_CACHE=str(place / "cache"))
        assert done.returncode == ends, done.stderr
        return place / done.stdout.splitlines()[-1] if not ends else done.stderr

    return run


@pytest.fixture(scope="module")
def whole(run):
    return run("whole")


def test_in_the_place_of_dpo(whole, place):
    result = json.loads((whole / "result.json").read_text())
    found = result["objectives"]["dpo"]
    assert (found["unit"], found["label"]) == ("per answer", "KTO")
    assert found["optimum"] < 0.5 > found["f"]  # where policy is reference it is 1/2
    assert (place / "cache" / "reference_logps").is_dir()


@pytest.mark.parametrize(
    "cut", [["model.micro_batch=3"], ["layout=padded"], ["trainer=ddp", "trainer.accelerator=cpu"]], ids=str
)
def test_the_cut_does_not_matter(cut, whole, run):
    ours, theirs = (pd.read_csv(folder / "steps.csv") for folder in (whole, run("cut", *cut, "look=grad")))
    assert list(ours["pick"]) == list(theirs["pick"])
    for name in ("loss_dpo", "loss_sft"):
        pd.testing.assert_series_equal(ours[name], theirs[name], rtol=1e-5)


def test_a_killed_run_resumes_to_the_bit(whole, place, command_line, run, assert_same_run):
    job = command_line.start(place, *RUN, "name=killed", XRIGHT_CACHE=str(place / "cache"))
    job.until(lambda: list(place.glob("runs/killed/*/checkpoints/last.ckpt")))
    job.kill()
    assert not list(place.glob("runs/killed/*/result.json"))
    assert_same_run(run("killed"), whole)


def test_streams_with_and_without_labels_are_told_apart(run, place):
    told = run("bad", "objectives.dpo.stream=sft", ends=2)
    assert "objectives.dpo learns from labels, but the rows of its stream 'sft' are completions; give" in told
    told = run("bad", "objectives.sft.stream=labelled", ends=2)
    assert "objectives.sft learns from good answers, but the rows of its stream 'labelled' are labelled; give" in told
    assert not (place / "runs" / "bad").exists()
