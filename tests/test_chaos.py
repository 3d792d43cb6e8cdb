"""experiments/reliability/chaos.py with a few aimed kills (slow: all), and that it would tell of any difference."""

import json
import shutil

import pytest
import torch

from tests.beside import EXPERIMENTS, importable

RELIABILITY = EXPERIMENTS / "reliability"
STRATEGIES = {file.stem for file in (RELIABILITY.parents[1] / "conf" / "strategy").glob("*.yaml")}
LORA = "maxright, LoRA with dropout, micro-batches"
SEQUENTIAL = "sequential, SFT first, streams of different lengths"


@pytest.fixture(scope="module", autouse=True)
def beside_chaos():
    """The experiment's modules can be imported, for as long as these tests run."""
    with importable("reliability"):
        yield


@pytest.fixture(scope="module")
def forks(beside_chaos):
    from chaos import two_forks

    with two_forks(seed=0) as forks:
        yield forks


@pytest.fixture(scope="module")
def few(forks, tmp_path_factory):
    """Chaos after eight kills in two configurations: of a stage, and of the joint run in each kind of file."""
    import chaos

    stages, all_of = chaos.AIMED[SEQUENTIAL], chaos.AIMED
    aims = {SEQUENTIAL: (*stages[:2], stages[3], *all_of["dpo"]), LORA: all_of[LORA][3:5]}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(chaos, "AIMED", aims)
        return chaos.unleash(sum(map(len, aims.values())), 0, tmp_path_factory.mktemp("few"), forks)


@pytest.fixture(scope="module", params=["few", pytest.param("all", marks=pytest.mark.slow)])
def chaos(request, forks, tmp_path_factory):
    if request.param == "few":
        return request.getfixturevalue("few")
    from chaos import unleash

    return unleash(20, 0, tmp_path_factory.mktemp("chaos"), forks)


def test_every_killed_run_ends_as_if_nothing_had_happened(chaos):
    assert chaos.different == []


def test_kills_land_where_they_are_aimed(chaos):
    assert chaos.missed == []
    assert len(chaos.kills) >= 8
    assert sum(bool(kill.lost) for kill in chaos.kills) > 0  # in a power cut
    killed = {(kill.owner, kill.doing) for kill in chaos.kills}
    assert killed >= {("joint run", "evaluation"), ("joint run", "checkpoint"), ("stage base", "training step")}


def test_all_aims_and_the_random_kills_are_of_every_strategy():
    from configurations import AIMED, CONFIGURATIONS

    assert sum(map(len, AIMED.values())) >= 20
    overrides = [CONFIGURATIONS[name] for name in AIMED]
    assert {x.removeprefix("strategy=") for xs in overrides for x in xs if x.startswith("strategy=")} == STRATEGIES - {
        "only"
    }


def test_half_a_checkpoint_is_half_a_checkpoint(few, tmp_path):
    """The aim that ends a process in the middle of a write leaves the file it was writing, cut short."""
    from places import Aim

    trial = interrupted(few, SEQUENTIAL, tmp_path, Aim("half", "training > *checkpoint > torch.save", 2))
    whole, half = (trial.run_folder / "checkpoints" / f"{name}.ckpt" for name in ("last", "writing"))
    assert 0.4 * whole.stat().st_size < half.stat().st_size < 0.6 * whole.stat().st_size


def interrupted(chaos, name, folder, aim):
    """A trial that has been killed once."""
    from trial import Trial

    trial = Trial(chaos.forks, name, folder / "trial", chaos.wholes[name].cache)
    assert trial.kill_at(aim) is not None
    return trial


def compared(chaos, name, trial):
    """What differs once it has ended, by file."""
    from compare import differences

    trial.finish()
    return {line.split(":")[0].split(",")[0] for line in differences(chaos.wholes[name].run_folder, trial.run_folder)}


def test_a_tampered_checkpoint_is_seen_in_every_file(few, tmp_path):
    from places import Aim

    trial = interrupted(few, LORA, tmp_path, Aim("before", "training > step 8"))
    file = trial.run_folder / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    next(iter(checkpoint["state_dict"].values())).add_(1e-3)
    torch.save(checkpoint, file)
    different = compared(few, LORA, trial)
    assert different >= {"steps.csv", "trajectory.csv", "result.json", "model/adapter_model.safetensors"}


def test_a_row_that_is_there_twice_is_seen(few, tmp_path):
    from compare import differences

    whole = few.wholes[SEQUENTIAL].run_folder
    for name in ("steps.csv", "trajectory.csv", "samples.jsonl"):
        copy = shutil.copytree(whole, tmp_path / name)
        with (copy / name).open("a") as file:
            file.write((whole / name).read_text().splitlines()[-1] + "\n")
        assert [line.split(":")[0] for line in differences(whole, copy)] == [name]


def test_a_last_bit_and_a_file_left_behind_are_seen_and_times_are_not(few, tmp_path):
    from compare import differences

    whole, copy = few.wholes[SEQUENTIAL].run_folder, tmp_path / "copy"
    shutil.copytree(whole, copy)
    result = json.loads((copy / "result.json").read_text())
    result["train_seconds"] += 100
    result["peak_memory_gb"] += 1
    (copy / "result.json").write_text(json.dumps(result))
    assert differences(whole, copy) == []
    weights = copy / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    (copy / "model" / "writing.tmp").touch()
    assert [line.split(":")[0] for line in differences(whole, copy)] == ["model/writing.tmp", "model/model.safetensors"]
