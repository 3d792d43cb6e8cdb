"""The real command line, quickly: one process imports everything once, and forks for every command.

Starting python and importing torch, transformers and datasets takes five seconds; a fork of a process that has done it
takes one hundredth. What runs in the fork is `python -m xright.run`: the same module as `__main__`, its own argv,
folder, environment, session and exit.

    with CommandLine() as command_line:
        done = command_line.run(folder, "debug=fast", XRIGHT_CACHE="cache")   # subprocess.CompletedProcess
        job = command_line.start(folder, "debug=fast")                        # Job: pid, poll(), wait(), kill()
"""

import atexit
import ctypes
import gc
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Read when the libraries are imported, so that they cannot be set for a single command.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # pyarrow's allocator
}  # fmt: skip
CLONE_NEWNS = 0x00020000  # of unshare(2): mounts that nobody else sees


class CommandLine:
    """Starts `python -m xright.run …`. environment: of every command, on top of this process's own and ENVIRONMENT."""

    def __init__(self, **environment: str) -> None:
        self.outputs = Path(tempfile.mkdtemp(prefix="command_line"))
        homes = {"HF_HOME": str(self.outputs / "huggingface"), "WANDB_CACHE_DIR": str(self.outputs / "wandb")}
        self.started = 0
        self.server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | ENVIRONMENT | homes | environment,
        )  # fmt: skip

    def __enter__(self) -> "CommandLine":
        return self

    def __exit__(self, *_: object) -> None:
        self.server.communicate()  # end of input: the server ends
        shutil.rmtree(self.outputs)

    def start(self, cwd: Path, *overrides: str, read_only: Sequence[Path] = (), **environment: str | None) -> "Job":
        """Start a command in `cwd`. environment: None unsets. read_only: folders that it sees as a read-only disk
        (root only, and only it sees them so)."""
        self.started += 1
        stdout, stderr = (self.outputs / f"{self.started}.{name}" for name in ("stdout", "stderr"))
        request = {
            "argv": ["xright.run", *map(str, overrides)], "cwd": str(cwd), "environment": environment,
            "read_only": [str(path) for path in read_only], "stdout": str(stdout), "stderr": str(stderr),
        }  # fmt: skip
        return Job(self, request["argv"], self.ask(request), stdout, stderr)

    def run(self, cwd: Path, *overrides: str, timeout: float = 120, **options: Any) -> "subprocess.CompletedProcess":
        """Start a command and wait for its end."""
        return self.start(cwd, *overrides, **options).wait(timeout)

    def kill(self, cwd: Path, *overrides: str, when: str, **environment: str | None) -> None:
        """Start a command, and kill it when a file of that pattern is there."""
        job = self.start(cwd, *overrides, **environment)
        job.until(lambda: any(cwd.glob(when)))
        job.kill()
        assert job.wait().returncode == -signal.SIGKILL

    def ask(self, request: dict[str, Any]) -> Any:
        """One line to the server, one line back."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())


@dataclass
class Job:
    """A command that was started. Its pid is also its process group: `kill` reaches whatever it has started itself."""

    command_line: CommandLine
    args: list[str]
    pid: int
    stdout: Path
    stderr: Path
    returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code (-n: ended by signal n), or None while it runs."""
        if self.returncode is None:
            self.returncode = self.command_line.ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float = 120) -> "subprocess.CompletedProcess":
        """Wait for its end. Kills it and raises TimeoutError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"{self.args} ran for more than {timeout} s; it said: {self.stderr.read_text()}")
            time.sleep(0.01)
        return subprocess.CompletedProcess(
            self.args, self.returncode or 0, self.stdout.read_text(), self.stderr.read_text()
        )

    def until(self, true: Callable[[], bool], timeout: float = 60) -> None:
        """Wait for something while it runs. Raises AssertionError where it ends before, or `timeout` seconds pass."""
        deadline = time.monotonic() + timeout
        while not true():
            assert self.poll() is None, self.stderr.read_text()
            assert time.monotonic() < deadline, self.stderr.read_text()
            time.sleep(0.005)

    def send(self, number: int) -> None:
        """Send a signal to this process alone."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL to its whole process group."""
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)


def serve() -> dict[str, Any] | None:
    """Answer requests until the input ends: then None. In a fork: the request that it has to carry out."""
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
    """Give this fork the session, files, folder, environment and arguments of a command of its own."""
    os.setsid()
    for target, name in ((0, os.devnull), (1, request["stdout"]), (2, request["stderr"])):
        source = os.open(name, os.O_RDONLY if target == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(source, target)
        os.close(source)
    for name, value in request["environment"].items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if request["read_only"]:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
            raise OSError(ctypes.get_errno(), "unshare")
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        for folder in request["read_only"]:
            subprocess.run(["mount", "--bind", folder, folder], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
    os.chdir(request["cwd"])
    sys.path[0], sys.argv = request["cwd"], request["argv"]
    from wandb.sdk.data_types._private import MEDIA_TMP

    # W&B's folder for tables was made with the import, and is removed by whichever process ends first
    MEDIA_TMP.name = tempfile.mkdtemp(suffix="wandb-media", dir=Path(request["stdout"]).parent)


def live() -> int:
    """Run the command as `python -m` would; its exit code. What is left to the caller is to tear down the interpreter,
    module by module, which takes a second that nobody needs."""
    code: Any = 0
    try:
        runpy.run_module("xright.run", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    if isinstance(code, str):
        print(code, file=sys.stderr, flush=True)
    return code if isinstance(code, int) else int(code is not None)


def preload() -> None:
    """Import what commands need. A process with threads must not fork, so it has to be one without."""
    import datasets
    import pandas
    import peft
    import transformers
    import wandb

    import xright.launch.one_run
    import xright.launch.sweep

    loaded = (datasets, pandas, peft, transformers, wandb, xright.launch.one_run, xright.launch.sweep)
    threads = len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 1
    assert threads == 1, f"importing {[module.__name__ for module in loaded]} started {threads - 1} threads"
    gc.freeze()  # a collection in a fork would touch, and so copy, every page of what was imported


if __name__ == "__main__":
    preload()
    todo = serve()
    if todo is not None:
        become(todo)
        os._exit(live())
