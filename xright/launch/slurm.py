"""The launcher behind `hydra/launcher=slurm`: the cells of a sweep as one SLURM job array.

hydra-submitit-launcher submits the cells and runs them; here is how the command waits for them. It looks for results
and asks `squeue` who is still there: without accounting, submitit would wait for a cancelled job for ever. It waits for
all cells, however one of them ends: a requeued job is still in the queue, and goes on where it was.
"""

import logging
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import submitit
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.hydra_submitit_launcher import submitit_launcher
from submitit.core.utils import FailedSubmissionError, UncompletedJobError

from xright.errors import printable
from xright.launch.unfinished import Unfinished
from xright.machine.command import end
from xright.machine.preemption import EXIT_CODE, INTERRUPTED, Preempted

log = logging.getLogger(__name__)

GENERAL = ("name", "timeout_min", "nodes", "tasks_per_node", "cpus_per_task", "mem_gb", "gpus_per_node")  # submitit's


class SlurmLauncher(submitit_launcher.SlurmLauncher):
    """A Hydra launcher; its arguments are those of conf/hydra/launcher/slurm.yaml."""

    def __call__(self, *cell: Any) -> JobReturn:
        """In the job: run one cell. What it raises is raised here, too, so that SLURM and the log learn of it."""
        result = super().__call__(*cell)
        _ = result.return_value
        return result

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit all cells and wait for them. What did not finish is returned as failed (`cells.py` tells it)."""
        jobs = self._submit(job_overrides, initial_job_idx)
        number = jobs[0].job_id.split("_")[0]
        log.info("SLURM job %s: %d cells, logs in %s", number, len(jobs), jobs[0].paths.folder.parent)
        try:
            _wait(jobs, self.params["look_every_s"])
        except (KeyboardInterrupt, Preempted) as left:
            code = INTERRUPTED if isinstance(left, KeyboardInterrupt) else EXIT_CODE
            end(f"the cells go on without this command (SLURM job {number}; scancel {number} ends them).", code)
        return [job.results()[0] if _finished(job) else _failed(job.paths.stderr) for job in jobs]

    def _submit(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[submitit.Job[Any]]:
        if shutil.which("sbatch") is None:
            end("hydra/launcher=slurm needs SLURM's commands, and there is no sbatch here; use a login node.", 2)
        ours = ("submitit_folder", "max_num_timeout", "look_every_s")
        asked = {name: value for name, value in self.params.items() if name not in ours}
        cells = [
            (list(overrides), "hydra.sweep.dir", first + i, f"job_id_for_{first + i}", Singleton.get_state())
            for i, overrides in enumerate(job_overrides)
        ]
        try:
            executor = submitit.AutoExecutor(
                self.params["submitit_folder"], "slurm", slurm_max_num_timeout=self.params["max_num_timeout"]
            )
            executor.update_parameters(**{k if k in GENERAL else f"slurm_{k}": v for k, v in asked.items()})
            return executor.map_array(self, *zip(*cells, strict=True))
        except (FailedSubmissionError, UncompletedJobError, NameError, AssertionError) as error:
            end(f"SLURM does not take the jobs ({' '.join(str(error).split())}); see hydra.launcher.", 2)


def _wait(jobs: Sequence[submitit.Job[Any]], seconds: float) -> None:
    """Until every job has left its results, or the queue: seen twice, as a shared disk shows files late."""
    absences = dict.fromkeys(jobs, 0)
    while absences:
        time.sleep(seconds)
        queued = _queued()
        for job in list(absences):
            absences[job] = absences[job] + 1 if queued is not None and job.job_id not in queued else 0
            if _has_results(job) or absences[job] == 2:
                del absences[job]


def _queued() -> set[str] | None:
    """Numbers of this user's jobs that wait, run, or are ending; None if SLURM does not answer."""
    asked = subprocess.run(
        ["squeue", "--me", "--array", "--noheader", "--format=%i"], capture_output=True, text=True, check=False
    )
    return None if asked.returncode else set(asked.stdout.split())


def _has_results(job: submitit.Job[Any]) -> bool:
    return all(job.task(task).paths.result_pickle.exists() for task in range(job.num_tasks))


def _finished(job: submitit.Job[Any]) -> bool:
    return _has_results(job) and job.exception() is None


def _failed(stderr: Path) -> JobReturn:
    """A cell that did not finish, with the last sentence of ours in its log."""
    said = stderr.read_text(errors="replace").split("\n") if stderr.exists() else []
    sentences = [line.removeprefix("xright: ") for line in said if line.startswith("xright: ")]
    reason = printable(sentences[-1]) if sentences else "its log says why, if it could"
    return JobReturn(status=JobStatus.FAILED, _return_value=Unfinished(1, reason, stderr))
