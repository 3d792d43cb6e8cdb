"""What is measured, in a process of its own: from nothing to the first batch as tensors. `python start.py FOLDER`.

Everything that a run does with its data before step 0 except reading log-probs off a model: configuration, all four
splits, their digests, reference log-probs (made up) joined by row id, sampler, one packed batch per stream. Prints
JSON.
"""

import json
import resource
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
from hydra import compose, initialize_config_dir

from xright.data.corpus import corpus_of
from xright.data.datamodule import JointData, batch_sizes, steps_per_epoch
from xright.forward.collate import collate
from xright.pipeline.run import versions
from xright.run import CONF

STREAMS = ("sft", "preference")


def peak_mib() -> float:
    """Most resident memory so far, of this process and the largest of its children together."""
    usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage) / 2 ** (20 if sys.platform == "darwin" else 10)


def main(folder: Path) -> dict[str, Any]:
    """Seconds, MiB, counts, versions."""
    import_seconds, memory_before = time.time() - psutil.Process().create_time(), peak_mib()
    imported, cpu = time.perf_counter(), time.process_time()
    paths = [f"data.streams.{stream}.path={folder}/{stream}.jsonl" for stream in STREAMS]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        more = ["data=files", "model=hf", "model.path=.", f"model.tokenizer={folder}/tokenizer"]
        cfg = compose("config", overrides=[*more, *paths])
    corpus = corpus_of(cfg)
    train = {stream: corpus.train(stream) for stream in STREAMS}
    held_out = {stream: corpus.evaluation(stream) for stream in STREAMS}
    pairs = train["preference"].union(held_out["preference"])
    table = pairs.ids_N[::-1], np.zeros((len(pairs), 2), dtype=np.float32)
    streams = {"sft": train["sft"], "preference": train["preference"].with_reference(*table)}
    _ = [rows.digest for rows in (*streams.values(), *held_out.values(), pairs)], corpus.showcase()
    sizes = batch_sizes(corpus.streams)
    data = JointData(streams, sizes, 6 * steps_per_epoch(streams, sizes), seed=0)
    trainer: Any = SimpleNamespace(global_step=0, global_rank=0, world_size=1)
    data.trainer = trainer
    rows = next(iter(data.train_dataloader()))[0]
    batches = {stream: collate(rows[stream], 0, "packed") for stream in STREAMS}
    return {
        "versions": versions(),
        "import_seconds": import_seconds,
        "seconds": time.perf_counter() - imported,
        "cpu_seconds": time.process_time() - cpu,
        "import_mib": memory_before,
        "peak_mib": peak_mib(),
        "batch_tokens": sum(batch.n_input_tokens for batch in batches.values()),
        **{f"{stream}_rows": len(rows) for stream, rows in train.items()},
        **{f"{stream}_tokens": int(rows.lengths_NS.sum()) for stream, rows in train.items()},
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
