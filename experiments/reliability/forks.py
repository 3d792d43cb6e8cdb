"""Commands started quickly and ended rudely: a process that has imported everything forks for every command.

Starting Python and importing torch, transformers and W&B takes five seconds, a fork of a process that has done so a
hundredth. What runs in the fork is `xright.run.main()` with an argv, environment, session and log file of its own;
where it is at each moment it says in a page of shared memory (`places.py`).

Every `Forks` has its own PYTHONHASHSEED, as commands started one after the other have: what depends on the order of a
set does not go unnoticed.
"""

import atexit
import gc
import importlib
import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PAGE = 4096  # bytes, for the place
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline",
    "TOKENIZERS_PARALLELISM": "false",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # pyarrow's allocator: a process with threads must not fork
}  # fmt: skip
IMPORTED = (
    "datasets",
    "peft",
    "xright.pipeline.run",
    "xright.launch.sweep",
)  # before the first fork, and what they import


class Forks:
    """Starts commands. hash_seed: of everything started here."""

    def __init__(self, hash_seed: int) -> None:
        environment = os.environ | ENVIRONMENT | {"PYTHONHASHSEED": str(hash_seed)}
        self.server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def start(
        self, overrides: Sequence[str], cwd: Path, cache: Path, log: Path, aim: tuple[Any, ...] | None = None
    ) -> "Run":
        """`python -m xright.run <overrides>` in the folder `cwd`; its words go to the end of `log`. aim: see `Aim`."""
        page = log.with_suffix(".place")
        page.write_bytes(bytes(PAGE))
        request = {
            "argv": list(overrides), "cwd": str(cwd), "cache": str(cache), "log": str(log), "page": str(page),
            "aim": aim,
        }  # fmt: skip
        return Run(self, self.ask(request), page)

    def ask(self, request: dict[str, Any]) -> Any:
        """A line to the server, a line back."""
        assert self.server.stdin
        assert self.server.stdout
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())

    def close(self) -> None:
        """End the server, which ends with its input."""
        self.server.communicate()


class Run:
    """A command that was started: the leader of a session, so that what it starts dies with it."""

    def __init__(self, forks: Forks, pid: int, page: Path) -> None:
        self.forks, self.pid, self.page = forks, pid, page
        self.started = time.perf_counter()
        self.code: int | None = None

    def wait(self, seconds: float = 600) -> int | None:
        """Its exit code (-n: ended by signal n); None if it still runs after so many seconds."""
        end = time.perf_counter() + seconds
        while self.code is None:
            self.code = self.forks.ask({"poll": self.pid})
            if self.code is None:
                left = end - time.perf_counter()
                if left <= 0:
                    return None
                time.sleep(min(left, 0.02))
        return self.code

    def kill(self) -> None:
        """SIGKILL to all of it."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:  # so young that it leads no session yet, or ended by itself
            if self.wait(0) is None:
                os.kill(self.pid, signal.SIGKILL)
        self.wait()

    @property
    def seconds(self) -> float:
        """Since it was started."""
        return time.perf_counter() - self.started

    @property
    def place(self) -> list[str]:
        """Where it is, or was when it ended: from the outermost place to the innermost."""
        return json.loads(self.page.read_bytes().rstrip(b"\0") or b"[]")


def serve() -> dict[str, Any] | None:
    """Start and poll as asked until the input ends. Returns twice: in a fork with what it has to do."""
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if not answer:
                return request
        print(json.dumps(answer), flush=True)
    return None


def become(request: dict[str, Any]) -> None:
    """Run the command in this fork, and end it with its exit code."""
    from disk import Disk
    from places import Aim, Places
    from wandb.sdk.data_types._private import MEDIA_TMP

    import xright.run

    os.setsid()
    os.chdir(request["cwd"])
    os.environ["XRIGHT_CACHE"] = request["cache"]
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for target in (1, 2):
        os.dup2(log, target)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = ["xright.run", *request["argv"]]
    # W&B's folder for tables was made with the import, and is removed by whichever process ends first
    MEDIA_TMP.name = tempfile.mkdtemp(suffix="wandb-media", dir=Path(request["log"]).parent)
    Disk(Path(request["log"]).with_suffix(".disk")).watch()  # first: a rename that is died after has been noted
    with open(request["page"], "r+b") as file:
        places = Places(mmap.mmap(file.fileno(), PAGE), Aim(*request["aim"]) if request["aim"] else None)
    places.watch()
    code: Any = 0
    try:
        xright.run.main()
    except SystemExit as exit:
        code = exit.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    atexit._run_exitfuncs()
    os._exit(code)  # taking torch to pieces again would take half a second


if __name__ == "__main__":
    for module in IMPORTED:
        importlib.import_module(module)
    assert sys.platform != "linux" or len(os.listdir("/proc/self/task")) == 1, "a process with threads must not fork"
    gc.freeze()  # what is imported is there for good: forks need neither look through it nor, at their end, undo it
    todo = serve()
    if todo is not None:
        become(todo)
