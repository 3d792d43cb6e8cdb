"""Data preparation at scale: first and second start on generated rows, each in a fresh process. `make data-scale`.

Rows: `generate.py` (real words and the GPT-NeoX tokenizer where XRIGHT_DATA names a folder with them). What a start
does: `start.py`. Exits with 1 where a bar does not hold.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from options import no_options

HERE = Path(__file__).parent
N_SFT, N_PAIRS = 100_000, 50_000
SECONDS = 3  # starts after the first
MEMORY_BAR, SECOND_START_BAR = 2048, 5.0  # MiB resident, seconds


def python(script: str, *arguments: object, folder: Path) -> str:
    """stdout of a script in a process of its own, with caches of its own; this process stays small, since a child's
    peak memory counts from its parent's."""
    env = os.environ | {
        "XRIGHT_CACHE": str(folder / "cache"), "HF_DATASETS_CACHE": str(folder / "datasets"), "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    command = [sys.executable, HERE / script, *map(str, arguments)]
    return subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def size_mib(folder: Path, pattern: str) -> float:
    """Size of files."""
    return sum(file.stat().st_size for file in folder.glob(pattern) if file.is_file()) / 2**20


def table(first: dict, seconds: list[dict]) -> list[str]:
    """Markdown: a line per start."""
    second = {key: statistics.median(start[key] for start in seconds) for key in first if key != "versions"}
    lines = [
        "| start | data, s | of it CPU | imports before, s | peak memory, MiB | of it imports |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, start in (("first: read, tokenised, cached", first), (f"second (median of {len(seconds)})", second)):
        lines.append(
            f"| {name} | {start['seconds']:.1f} | {start['cpu_seconds']:.1f} | {start['import_seconds']:.1f} "
            f"| {start['peak_mib']:.0f} | {start['import_mib']:.0f} |"
        )
    return lines


def main(folder: Path) -> int:
    """Generate, start, start again; write the README."""
    load = os.getloadavg()[0]
    python("generate.py", folder, N_SFT, N_PAIRS, folder=folder)
    first, *seconds = [json.loads(python("start.py", folder, folder=folder)) for _ in range(1 + SECONDS)]
    slowest = max(start["seconds"] for start in seconds)
    largest = max(start["peak_mib"] for start in (first, *seconds))
    holds = {
        f"under {MEMORY_BAR} MiB resident: at most {largest:.0f}": largest < MEMORY_BAR,
        f"second start under {SECOND_START_BAR:.0f} s: at most {slowest:.1f}": slowest < SECOND_START_BAR,
    }
    real = bool(os.environ.get("XRIGHT_DATA"))
    words = "real words, GPT-NeoX tokenizer" if real else "made-up words, a BPE of 8,000 tokens"
    n_train, tokens = first["sft_rows"] + first["preference_rows"], first["sft_tokens"] + first["preference_tokens"]
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    results = [
        *table(first, seconds), "",
        *(f"- **{'holds' if met else 'does not hold'}**: {bar}" for bar, met in holds.items()),
        f"- {n_train:,} training rows of {tokens:,} tokens ({words}). Files: {size_mib(folder, '*.jsonl'):.0f} MiB; "
        f"tokens in the cache: {size_mib(folder, 'cache/tokens/*/*'):.0f} MiB; "
        f"`datasets`' own cache: {size_mib(folder, 'datasets/**/*'):.0f} MiB.", "",
        f"Measured on CPU {platform.machine()} × {os.cpu_count()} (load average {load:.1f} before), {versions}.", "",
    ]  # fmt: skip
    print("\n".join(results))
    from publish import between_markers  # here: with it come pandas and matplotlib, and this process is large

    between_markers(HERE / "README.md", "\n".join(results))
    return 0 if all(holds.values()) else 1


if __name__ == "__main__":
    no_options(__doc__)
    with tempfile.TemporaryDirectory(prefix="data_scale_") as scratch:
        sys.exit(main(Path(scratch)))
