"""What the files of a run that has not finished tell of it.

A run that failed or was stopped has left `ended.json`, {"reason": one sentence, "when": ISO time}, which is removed as
soon as it goes on. One that was killed has not, nor has one that runs.
"""

import datetime
import json
from pathlib import Path

ENDED = "ended.json"


def why_unfinished(run: Path) -> str:
    """Return what the files of an unfinished run tell: why it ended, where it says so; else how far it came."""
    try:
        reason = json.loads((run / ENDED).read_text(encoding="utf-8"))["reason"]
    except FileNotFoundError:
        if (run / "checkpoints" / "last.ckpt").exists():
            return "running, or stopped; goes on from its checkpoint"
        begun = (run / "trajectory.csv").exists()
        return "running, or stopped before its first checkpoint" if begun else "running, or stopped before training"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{ENDED} is damaged"
    return str(reason)


def last_written(run: Path) -> str:
    """When the newest file of the folder was written, in UTC to the minute."""
    newest = max(file.stat().st_mtime for file in (run, *run.iterdir()))
    return f"{datetime.datetime.fromtimestamp(newest, datetime.timezone.utc):%Y-%m-%d %H:%M}"
