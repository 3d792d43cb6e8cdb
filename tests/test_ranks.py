"""Two processes give what one gives with the same global batch: real DDP and FSDP2 over gloo, in processes of their
own."""

import json
import math
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from xright.errors import UserError
from xright.machine import ranks

WORKER = Path(__file__).with_name("one_rank.py")
CASES, TRAINERS = (list(runpy.run_path(str(WORKER))[name]) for name in ("CASES", "STRATEGIES"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return saw("ddp", 1, tmp_path_factory.mktemp("alone"))[0]


@pytest.fixture(scope="module", params=TRAINERS)
def found(request, alone, tmp_path_factory):
    """[alone, rank 0, rank 1]: what each saw."""
    return [alone, *saw(request.param, 2, tmp_path_factory.mktemp("ranks"))]


def saw(trainer, world, folder):
    """What each rank saw."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    commands = [[sys.executable, WORKER, trainer, str(rank), str(world), str(port)] for rank in range(world)]
    workers = [
        subprocess.Popen([*command, folder / str(rank)], stderr=subprocess.PIPE, text=True)
        for rank, command in enumerate(commands)
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=240)
        assert worker.returncode == 0, errors
    return [json.loads((folder / str(rank)).read_text()) for rank in range(world)]


def flat(value, key=""):
    if isinstance(value, dict):
        return {k: v for name, child in value.items() for k, v in flat(child, f"{key}/{name}").items()}
    return {key: value}


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_train_as_one_process_does(found, case):
    alone, first, second = (ranks[case] for ranks in found)
    assert first["seen"] == second["seen"]  # to the bit: what they decide on is the same number
    assert first["weights"] == second["weights"]
    assert len(alone["seen"]) == len(first["seen"]) > 0
    for one, two in zip(alone["seen"], first["seen"], strict=True):
        assert one["weights"].keys() == two["weights"].keys()  # the picks
        assert one["tokens"] == two["tokens"]
        one, two = flat(one), flat(two)
        assert two.keys() == one.keys()
        assert two == pytest.approx(one, rel=1e-5, abs=1e-6)
    assert first["weights"] == pytest.approx(alone["weights"], abs=2e-5)


@pytest.mark.parametrize("case", CASES)
def test_ranks_see_disjoint_and_complete_rows(found, case):
    alone, first, second = (ranks[case]["rows"] for ranks in found)
    drawn = {"sft": [], "preference": []}
    for whole, *shares in zip(alone, first, second, strict=True):
        for stream, ids in whole.items():
            assert all(share[stream] for share in shares)
            assert sorted(shares[0][stream] + shares[1][stream]) == sorted(ids)
            drawn[stream] += shares[0][stream] + shares[1][stream]
    for stream, size in (("sft", 7), ("preference", 5)):
        epoch = drawn[stream][: 2 * size]  # of 17 and 11 rows
        assert case == "by tokens" or len(set(epoch)) == 2 * size


@pytest.mark.parametrize("case", CASES)
def test_sharded_ranks_keep_their_half(found, case):
    alone, first, second = (ranks[case]["kept"] for ranks in found)
    assert (first, second) in ((alone, alone), (alone // 2, alone // 2))


def test_the_evaluation_is_there_and_finite(found):
    evaluated = [step["evaluation"] for step in found[1]["mix"]["seen"] if "evaluation" in step]
    assert len(evaluated) == 3  # after steps 1, 2 and 4
    assert all(math.isfinite(loss) for losses in evaluated for loss in losses.values())


def test_alone_a_process_is_rank_0_of_1():
    assert (ranks.rank(), ranks.world_size(), ranks.is_first()) == (0, 1, True)
    assert ranks.broadcast("x") == "x"
    assert ranks.gather(3) == [3]
    assert ranks.first(lambda: 5) == 5
    with pytest.raises(UserError, match="no"):
        ranks.first(lambda: (_ for _ in ()).throw(UserError("no")))


def test_a_port_that_is_taken_is_a_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"cannot meet at 127\.0\.0\.1:{port} .*MASTER_PORT"):
            ranks.join(0, 2, "127.0.0.1", port)
    assert ranks.world_size() == 1
