"""Hand over the model of a finished run: a folder that transformers, vLLM and others load, with a model card.

The folder holds the adapter, or with --merge plain weights that load without peft; the tokenizer; and the card, with a
figure of the losses over training and, where the run has been evaluated, its benchmarks. --hub NAME uploads the folder.
The last line printed is the folder.

Examples
  python -m xright.export runs/default/RUN                                  into export/RUN/
  python -m xright.export runs/default/RUN --merge --out my-model           weights without an adapter
  python -m xright.export runs/default/RUN --merge --hub my-name/my-model   on the hub, private until you say otherwise
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from xright.errors import UserError
from xright.machine.command import exits, help_of
from xright.machine.told import told

log = logging.getLogger(__name__)

FIGURE = "losses.png"


@exits
def main(arguments: Sequence[str] | None = None) -> None:
    """Write the folder, upload it where asked, and print its path."""
    asked = parser().parse_args(arguments)
    run: Path = asked.run
    out: Path = asked.out or Path("export") / run.resolve().name
    config, result = read(run)
    if out.exists() and any(out.iterdir()):
        raise UserError(f"--out={out} exists and is not empty; give another folder, or remove it.")
    logging.getLogger("xright").setLevel(logging.INFO)
    write(run, out, config["model"]["dtype"], merge=asked.merge)
    from xright.pipeline.card import write_card

    write_card(out, config, result, more=[*figure(run, out), *benchmarks(run)])
    if asked.hub:
        upload(out, asked.hub)
    print(out)


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command line."""
    made = argparse.ArgumentParser(prog="python -m xright.export", **help_of(__doc__))
    made.add_argument("run", metavar="RUN", type=Path, help="the folder of a finished run")
    made.add_argument("--merge", action="store_true", help="merge the adapter into its base: plain weights")
    made.add_argument("--out", type=Path, metavar="DIR", help="a new folder (default: export/<name of the run>)")
    made.add_argument("--hub", metavar="NAME", help="upload it there, as a private model; asks for your token")
    return made


def read(run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration and the result of a finished run; UserError where the folder is none."""
    files = (run / "config.yaml", run / "result.json", run / "model")
    if absent := [file.name for file in files if not file.exists()]:
        raise UserError(f"{run} is not the folder of a finished run: it has no {' and no '.join(absent)}; name one.")
    with told(f"{run} cannot be read", "restore its config.yaml and result.json"):
        config, result = yaml.safe_load(files[0].read_text("utf-8")), json.loads(files[1].read_text("utf-8"))
    if absent := [key for key in ("data", "overrides", "objectives", "method", "versions") if key not in result]:
        raise UserError(f"{files[1]} lacks {', '.join(absent)}: it was made by an older version; run it again.")
    return config, result


def write(run: Path, out: Path, dtype: str, merge: bool) -> None:
    """Put model and tokenizer into a new folder."""
    from xright import models

    model = (models.load_merged if merge else models.load)(run / "model", dtype)
    out.parent.mkdir(parents=True, exist_ok=True)
    tokenizer = models.load_tokenizer(str(run / "model"))
    carried = run / "model" / "base"
    models.export(model, tokenizer, out, carried if carried.is_dir() and not merge else None)


def figure(run: Path, out: Path) -> list[str]:
    """The gaps over the run as a picture in `out`, and the card's section that shows it."""
    from xright.analysis.figures.curves import gaps
    from xright.analysis.figures.printed import printed
    from xright.analysis.read.runs import read_runs

    runs = read_runs([run])
    if len(runs.trajectory) < 2:
        return []
    printed(gaps(runs)).savefig(out / FIGURE, dpi=110)
    return [f"## Over training\n\n![what each loss was above its optimum, over optimizer steps]({FIGURE})"]


def benchmarks(run: Path) -> list[str]:
    """The card's section of what `python -m xright.evaluate` has found, if it was asked."""
    from xright.analysis.read.benchmarks import read_benchmarks
    from xright.analysis.text.benchmark_table import benchmark_grid, benchmark_notes
    from xright.analysis.text.tables import markdown

    found = read_benchmarks([run])
    if found is None:
        return []
    notes = "\n".join(f"- {note}" for note in benchmark_notes(found))
    return [f"## Evaluation\n\n{markdown(benchmark_grid(found))}\n{notes}"]


def upload(folder: Path, name: str) -> None:
    """Upload the folder as a private model of the hub, by the token of `huggingface-cli login` or HF_TOKEN."""
    from huggingface_hub import HfApi

    with told(f"{folder} could not be uploaded as {name!r}", "log in with `hf auth login`, and check name and network"):
        HfApi().create_repo(name, private=True, exist_ok=True)
        log.info("uploaded: %s", HfApi().upload_folder(repo_id=name, folder_path=folder))


if __name__ == "__main__":
    sys.exit(main())
