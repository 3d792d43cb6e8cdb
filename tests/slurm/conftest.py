"""A real SLURM on this machine, set up for the tests: munged, slurmctld and two slurmd, in a folder of their own. Its
two nodes are both this machine; jobs use the first, unless they ask for the partition `both`.

Where its Debian packages are missing they are installed, which root may; where that fails the tests are skipped, and
the end of the output says why.
"""

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
PACKAGES = ("slurm-wlm", "munge")
PATIENCE = 60  # seconds in which everything that is asked of SLURM itself happens

# Without accounting, as the smallest clusters are. CPUs=4 is more than most CI machines have: tasks share them.
# cred_expire is also how long a requeued job must wait (else two minutes). KillOnBadExit: srun kills all tasks of a job
# when one of them ends badly, as many sites have it.
CONFIGURATION = """
ClusterName=test
SlurmctldHost={nodes[0]}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
KillOnBadExit=1
KillWait=10
ReturnToService=2
MpiDefault=none
JobRequeue=1
NodeName={nodes[0]} NodeHostname={nodes[0]} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 State=UNKNOWN
NodeName={nodes[1]} NodeHostname={nodes[0]} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 State=UNKNOWN
PartitionName=main Nodes={nodes[0]} Default=YES State=UP MaxTime=60
PartitionName=both Nodes={nodes[0]},{nodes[1]} State=UP MaxTime=60
"""


@dataclass(frozen=True)
class Slurm:
    """A running cluster. environment: what a command needs to talk to it."""

    environment: dict[str, str]

    def ask(self, *command: str) -> str:
        """Output of one of SLURM's commands; fails with what it says."""
        done = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True)
        assert not done.returncode, f"{command}: {done.stderr}"
        return done.stdout

    def jobs(self) -> dict[str, str]:
        """{number: state} of what is in the queue; 3_1 is the second job of array 3."""
        lines = self.ask("squeue", "--array", "--noheader", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def restarts(self, job: str) -> int:
        """How often SLURM has started a job again."""
        fields = dict(word.split("=", 1) for word in self.ask("scontrol", "show", "job", job).split() if "=" in word)
        return int(fields["Restarts"])


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """The cluster; it ends, with all its jobs and daemons, when the tests do."""
    if missing := _missing():
        _install(missing)
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # short: sockets' paths are
    folder.chmod(0o755)
    cluster = Slurm({"SLURM_CONF": str(folder / "slurm.conf")})
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.enter_context(_munge(folder / "munge"))
        nodes = _configure(folder)
        for number, daemon in enumerate((["slurmctld"], *(["slurmd", "-N", node] for node in nodes))):
            stack.enter_context(_daemon([*daemon, "-D", "-f", str(folder / "slurm.conf")], folder / f"{number}.out"))
        states = ("sinfo", "--Node", "--partition=both", "--noheader", "--format=%T")
        _wait(lambda: cluster.ask(*states).split() == ["idle"] * len(nodes), "the nodes to be idle", folder)
        stack.callback(_cancel_all, cluster, folder)
        yield cluster


def _missing() -> list[str]:
    return [program for program in PROGRAMS if shutil.which(program, path=_path()) is None]


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"  # daemons are not on everybody's path


def _install(missing: Sequence[str]) -> None:
    """The Debian packages, or skip with the reason."""
    lacking = f"SLURM is not installed ({', '.join(missing)}), and cannot be: "
    if os.geteuid():
        pytest.skip(f"{lacking}only root may (as root: apt-get install {' '.join(PACKAGES)})")
    if shutil.which("apt-get") is None:
        pytest.skip(f"{lacking}there is no apt-get here")
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES]
    for command in (["apt-get", "update"], install):
        try:
            done = subprocess.run(
                command, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            pytest.skip(f"{lacking}{' '.join(command)} took more than four minutes")
    if done.returncode or _missing():
        pytest.skip(f"{lacking}{' '.join(install)} says: {' '.join(done.stderr.split()[-40:])}")


@contextmanager
def _munge(folder: Path) -> Iterator[None]:
    """munged with a key of its own. It does not like to be root: then it is started as the user its package made."""
    folder.mkdir()
    key = folder / "key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    as_munge = []
    if not os.geteuid():
        as_munge = ["runuser", "-u", "munge", "--"]
        for path in (folder, key):
            shutil.chown(path, "munge", "munge")
    files = [f"--{name}-file={folder / name}" for name in ("key", "pid", "log", "seed")]
    with _daemon([*as_munge, "munged", "--foreground", f"--socket={folder / 'socket'}", *files], None):
        _wait((folder / "socket").exists, "munged", folder)
        yield


def _configure(folder: Path) -> tuple[str, str]:
    """Write slurm.conf; the nodes' names. The first must be known to the network, for tasks meet there."""
    host = socket.gethostname().split(".")[0]
    nodes = (host, f"{host}-2")
    for name in ("state", *nodes):
        (folder / name).mkdir()
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in ("slurmctld", *nodes)]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        ports = [free.getsockname()[1] for free in sockets]
    text = CONFIGURATION.format(nodes=nodes, user=getpass.getuser(), ports=ports, folder=folder)
    (folder / "slurm.conf").write_text(text)
    return nodes


@contextmanager
def _daemon(command: Sequence[str], output: Path | None) -> Iterator[None]:
    """A daemon in the foreground, ended by its own number."""
    with (output or Path(os.devnull)).open("w") as file:
        process = subprocess.Popen(
            command, env=os.environ | {"PATH": _path()}, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _cancel_all(cluster: Slurm, folder: Path) -> None:
    """No job outlives the cluster."""
    cluster.ask("scancel", f"--user={getpass.getuser()}")
    _wait(lambda: not cluster.jobs(), "the queue to be empty", folder)


def _wait(condition, what: str, folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        logs = "\n".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
        assert time.monotonic() < deadline, f"waited {PATIENCE} s for {what}; logs: {logs}"
        time.sleep(0.2)


def pytest_terminal_summary(terminalreporter) -> None:
    """Say why SLURM was not tested, without -rs."""
    reports = terminalreporter.stats.get("skipped", [])
    for reason in sorted({report.longrepr[2] for report in reports if "SLURM is not" in str(report.longrepr)}):
        terminalreporter.write_line(f"hydra/launcher=slurm was NOT tested here: {reason.removeprefix('Skipped: ')}")
