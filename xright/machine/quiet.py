"""Silences messages of libraries that would bury ours: tips, and warnings about what we do on purpose."""

import logging
import warnings

import transformers


def quiet() -> None:
    """Called once by the commands, never on import: a library user keeps every message."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # "GPU available: …", tips
    transformers.logging.disable_progress_bar()
    # Checkpoints hold the state after the update: that is where a run goes on from.
    warnings.filterwarnings("ignore", message="Using ModelCheckpoint with manual optimization")
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    # It is: the rows of step t are a function of (seed, t).
    warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch ended")
    # Rows are Python lists; worker processes would cost more than they save.
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    warnings.filterwarnings("ignore", message=".*LeafSpec")
    # A run may have no step: its start is its result.
    warnings.filterwarnings("ignore", message="Total length of .* across ranks is zero")
    # Who starts the ranks is told to Lightning (`training.environment`).
    warnings.filterwarnings("ignore", message="The `srun` command is available")
    # Lightning's own logging interval; ours is `callbacks.steps.every`.
    warnings.filterwarnings("ignore", message="The number of training batches .* is smaller than the logging interval")
