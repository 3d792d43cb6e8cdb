"""`trainer=fsdp` through the real command line, on the CPU: two processes with a part of the model each are one process
with all of it, and go on from each other's checkpoints."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

SMALL = ["model.init.hidden_size=16", "model.init.num_hidden_layers=2", "model.init.num_attention_heads=2"]
FAST = ["debug=fast", *SMALL, "model.init.intermediate_size=32", "logger=csv", "callbacks=probes"]
SHARDED = ["trainer=fsdp", "trainer.accelerator=cpu"]
LONG = ["strategy=mix", "epochs=8", "eval_every=6", "checkpoint_every=3", "optima={dpo: 0.1, sft: 0.1}"]
LORA = ["model.lora.r=2", "model.lora.target_modules=null"]


def folder(place: Path, name: str) -> Path:
    (found,) = [path for path in (place / "runs" / name).iterdir() if path.is_dir()]
    return found


def weights(run: Path) -> dict[str, torch.Tensor]:
    (file,) = (run / "model").glob("*.safetensors")
    return load_file(file)


def assert_same(one: Path, other: Path) -> None:
    """The same numbers up to rounding, the same picks and the same words."""
    for file in ("trajectory.csv", "steps.csv", "behaviour.csv"):
        ours, theirs = (pd.read_csv(run / file) for run in (one, other))
        times = [column for column in ours if column.endswith("seconds")]
        pd.testing.assert_frame_equal(ours.drop(columns=times), theirs.drop(columns=times), rtol=1e-5, atol=1e-6)
    assert (one / "samples.jsonl").read_text() == (other / "samples.jsonl").read_text()
    ours, theirs = (json.loads((run / "result.json").read_text()) for run in (one, other))
    assert [ours[key] for key in ("picks", "behaviour")] == [theirs[key] for key in ("picks", "behaviour")]
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-5


def assert_equal(one: Path, other: Path) -> None:
    """To the bit, but for times."""
    assert_same(one, other)
    for file in ("trajectory.csv", "steps.csv"):
        ours, theirs = (pd.read_csv(run / file) for run in (one, other))
        times = [column for column in ours if column.endswith("seconds")]
        pd.testing.assert_frame_equal(ours.drop(columns=times), theirs.drop(columns=times), check_exact=True)
    ours, theirs = weights(one), weights(other)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    "options",
    [
        ["strategy=alright", "model.micro_batch=3"],
        pytest.param(["strategy=mgda", *LORA, "model.gradient_checkpointing=true"], marks=pytest.mark.slow),
        pytest.param(["strategy=maxright", "certificate=0.5", "layout=padded"], marks=pytest.mark.slow),
        pytest.param(["experiment=memory", "strategy=mix", "certificate=null"], marks=pytest.mark.slow),
        pytest.param(["experiment=unpaired", "strategy=mix", "optim.clip=0.01"], marks=pytest.mark.slow),
        pytest.param(["strategy=model_average"], marks=pytest.mark.slow),
    ],
    ids=lambda options: options[0],
)
def test_two_parts_are_one_whole(options, tmp_path, command_line):
    """Stages, training, evaluation, samples, export: each with a cache of its own."""
    for name, trainer in (("one", ["trainer=cpu"]), ("two", SHARDED)):
        done = command_line.run(tmp_path, *FAST, *options, *trainer, f"name={name}", XRIGHT_CACHE=name, timeout=400)
        assert done.returncode == 0, done.stderr
    assert_same(folder(tmp_path, "two"), folder(tmp_path, "one"))


@pytest.fixture(scope="module")
def place(tmp_path_factory, command_line):
    """A run by two parts (`whole`), and one of which a rank was killed after some checkpoints (`killed`)."""
    place = tmp_path_factory.mktemp("sharded")
    done = command_line.run(place, *FAST, *LONG, *SHARDED, "name=whole", XRIGHT_CACHE="cache", timeout=240)
    assert done.returncode == 0, done.stderr
    job = started(place, command_line, "killed")
    os.kill(second_of(job), signal.SIGKILL)
    ended = job.wait(60)
    assert ended.returncode == 1, ended.stderr
    assert "xright: rank 1 was killed by signal 9, and the run with it" in ended.stderr
    return place


def started(place, command_line, name):
    """A run by two parts that has written two checkpoints."""
    job = command_line.start(place, *FAST, *LONG, *SHARDED, f"name={name}", XRIGHT_CACHE="cache")
    job.until(lambda: any(place.glob(f"runs/{name}/*/checkpoints/previous.ckpt")), 120)
    return job


def second_of(job) -> int:
    found = subprocess.run(["pgrep", "-P", str(job.pid), "-f", "xright.launch.one_run"], capture_output=True, text=True)
    return int(found.stdout.split()[0])


def gone_on(place, command_line, trainer, tmp_path) -> Path:
    shutil.copytree(place, tmp_path / "place", ignore=shutil.ignore_patterns("whole"))
    done = command_line.run(
        tmp_path / "place", *FAST, *LONG, *trainer, "name=killed", XRIGHT_CACHE="cache", timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert "going on from" in done.stderr
    return folder(tmp_path / "place", "killed")


def test_a_checkpoint_is_in_parts_and_ranks_go_on_exactly_there(place, command_line, tmp_path):
    checkpoint = folder(place, "killed") / "checkpoints" / "last.ckpt"
    assert {file.name for file in checkpoint.iterdir()} == {"0-of-2.pt", "1-of-2.pt"}
    assert_equal(gone_on(place, command_line, SHARDED, tmp_path), folder(place, "whole"))


@pytest.mark.parametrize(
    "trainer",
    [
        ["trainer=cpu"],
        pytest.param([*SHARDED, "trainer.devices=1"], marks=pytest.mark.slow),
        pytest.param([*SHARDED, "trainer.devices=3"], marks=pytest.mark.slow),
        pytest.param(["trainer=ddp", "trainer.accelerator=cpu"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_another_number_of_processes_goes_on(trainer, place, command_line, tmp_path):
    assert_same(gone_on(place, command_line, trainer, tmp_path), folder(place, "whole"))


@pytest.mark.slow
def test_parts_go_on_from_a_whole_checkpoint(place, command_line, tmp_path):
    shutil.copytree(place / "cache", tmp_path / "cache")
    job = command_line.start(tmp_path, *FAST, *LONG, "trainer=cpu", "name=whole", XRIGHT_CACHE="cache")
    job.until(lambda: any(tmp_path.glob("runs/whole/*/checkpoints/previous.ckpt")), 60)
    job.kill()
    done = command_line.run(tmp_path, *FAST, *LONG, *SHARDED, "name=whole", XRIGHT_CACHE="cache", timeout=240)
    assert "going on from" in done.stderr
    assert_same(folder(tmp_path, "whole"), folder(place, "whole"))


@pytest.mark.slow
def test_ranks_that_are_asked_to_go_save_together(place, command_line):
    job = started(place, command_line, "asked")
    os.kill(second_of(job), signal.SIGTERM)
    ended = job.wait(60)
    assert ended.returncode == 75, ended.stderr
    assert "xright: asked to go (" in ended.stderr
    done = command_line.run(place, *FAST, *LONG, *SHARDED, "name=asked", XRIGHT_CACHE="cache", timeout=240)
    assert done.returncode == 0, done.stderr
    assert_equal(folder(place, "asked"), folder(place, "whole"))


def test_a_damaged_part_is_told_and_the_checkpoint_before_it_serves(place, command_line, tmp_path):
    shutil.copytree(place, tmp_path / "place", ignore=shutil.ignore_patterns("whole"))
    part = folder(tmp_path / "place", "killed") / "checkpoints" / "last.ckpt" / "1-of-2.pt"
    part.write_bytes(part.read_bytes()[:-100])
    trainer = ["trainer=cpu", "name=killed"]
    done = command_line.run(tmp_path / "place", *FAST, *LONG, *trainer, XRIGHT_CACHE="cache")
    assert done.returncode == 0, done.stderr
    assert "last.ckpt is damaged" in done.stderr
    assert_same(folder(tmp_path / "place", "killed"), folder(place, "whole"))


@pytest.fixture
def nodes():
    """Two network namespaces with a cable between them: [(how to run there, address, device)]."""
    names = [f"xright{os.getpid()}{side}" for side in "ab"]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "xa", "netns", names[0], "type", "veth", "peer", "name", "xb", "netns", names[1])
        for name, device, address in zip(names, ("xa", "xb"), ("10.77.0.1", "10.77.0.2"), strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", device)
            for up in ("lo", device):
                ip("-n", name, "link", "set", up, "up")
        yield [(["ip", "netns", "exec", name], device) for name, device in zip(names, ("xa", "xb"), strict=True)]
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespaces here: {error}")
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.mark.slow
def test_two_nodes_with_a_network_between_them_are_one_process(nodes, tmp_path, command_line):
    """Each node has a part of the model; what is gathered goes through the cable."""
    options = [*FAST, "strategy=alright", "optima={dpo: 0.1, sft: 0.1}"]
    done = command_line.run(tmp_path, *options, "trainer=cpu", "name=one", XRIGHT_CACHE="one")
    assert done.returncode == 0, done.stderr
    meet = ["--nnodes=2", "--nproc-per-node=1", "--master-addr=10.77.0.1", "--master-port=29400"]
    program = ["-m", "xright.run", *SHARDED, "trainer.devices=1", "trainer.num_nodes=2", *options, "name=two"]
    ranks = [
        subprocess.Popen(
            [*there, sys.executable, "-m", "torch.distributed.run", *meet, f"--node-rank={number}", *program],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"XRIGHT_CACHE": "two", "GLOO_SOCKET_IFNAME": device, "OMP_NUM_THREADS": "1"},
        )
        for number, (there, device) in enumerate(nodes)
    ]  # fmt: skip
    for rank in ranks:
        said, _ = rank.communicate(timeout=400)
        assert rank.returncode == 0, said
    assert_same(folder(tmp_path, "two"), folder(tmp_path, "one"))


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A model of 55 million parameters, 211 MiB."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 512, "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 16}
    shape = LlamaConfig(**sizes, num_attention_heads=8, max_position_embeddings=128, tie_word_embeddings=False)
    folder = tmp_path_factory.mktemp("large")
    LlamaForCausalLM(shape).save_pretrained(folder)
    return folder


def peaks(model: Path, place: Path, world: int, limit: int | None = None) -> list[dict[str, float] | str]:
    """MiB by what a rank does, all of it trained, or why it ended. malloc is told to give back what is freed, as it
    does for larger matrices. limit: MiB that each rank may take beside what it began with."""
    place.mkdir()
    files = [place / str(rank) for rank in range(world)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    malloc = {"MALLOC_MMAP_THRESHOLD_": "1000000", "MALLOC_ARENA_MAX": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.one_peak", str(rank), str(world), port, str(limit or 0), model, file],
            cwd=Path(__file__).resolve().parents[1], stderr=subprocess.PIPE, text=True, env=os.environ | malloc,
        )
        for rank, file in enumerate(files)
    ]  # fmt: skip
    errors = [rank.communicate(timeout=400)[1] for rank in ranks]
    return [
        json.loads(file.read_text()) if rank.returncode == 0 else error
        for rank, file, error in zip(ranks, files, errors, strict=True)
    ]


@pytest.mark.slow
def test_two_ranks_take_little_more_than_half_of_the_memory(large, tmp_path):
    found = {world: peaks(large, tmp_path / str(world), world) for world in (1, 2)}
    most = {world: max(max(own.values()) for own in ranks) for world, ranks in found.items()}
    assert most[2] <= 0.6 * most[1], found


@pytest.mark.slow
def test_what_does_not_fit_one_process_is_trained_by_two(large, tmp_path):
    """Weights, gradients and AdamW's moments of the model are 845 MiB."""
    (alone,) = peaks(large, tmp_path / "1", 1, limit=800)
    assert "can't allocate memory" in alone
    assert all(own["training"] < 800 for own in peaks(large, tmp_path / "2", 2, limit=800))
