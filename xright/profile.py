"""What models have learnt and forgotten, stage by stage: BASE and what was trained from it, by any trainer, in order.

For each stream of rows: the loss of every model, its gap to the best of them, what each stage won or lost, and how much
of earlier gains it gave back, with 95 % intervals over prompts. Beside it how far each model's predictions moved from
the base's (KL, nats per token), and the cosine between the objectives' gradients. Writes profile.json and profile.html;
the last line printed is the page. Rows must be none that a model was trained on.

Examples
  python -m xright.profile BASE SFT DPO data.streams.sft.path=sft.jsonl data.streams.preference.path=pairs.jsonl
  python -m xright.profile BASE MODEL … data.streams.sft.template=chat data.streams.preference.template=chat rows=500
  python -m xright.profile BASE MODEL … objectives.dpo=null gradients=false       one stream of completions
"""

import argparse
import logging
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from xright.config.folder import CONF
from xright.machine.command import exits, help_of
from xright.machine.screen import screen, table


@exits
def main(arguments: Sequence[str] | None = None) -> None:
    """Profile, print the table and the sentences, and write the page."""
    asked = parser().parse_args(arguments).arguments
    logging.getLogger("xright").setLevel(logging.INFO)
    names = [of_run(text) for text in asked if "=" not in text]
    from xright.profiling.configuration import configuration

    cfg = configuration([text for text in asked if "=" in text], names)
    import torch

    from xright.machine.quiet import quiet
    from xright.profiling.page import grid, write
    from xright.profiling.profile import profile

    quiet()
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    found = profile(names, cfg)
    shown = grid(found)
    screen().print(table(shown.headings, shown.rows, range(1, len(shown.headings)), "What each model has"))
    for change in found.changes:
        print(change.sentence)
    print(write(found, Path(cfg.out)))


def of_run(name: str) -> str:
    """The model of a run's folder; any other name as it is."""
    folder = Path(name)
    return str(folder / "model") if (folder / "result.json").is_file() and (folder / "model").is_dir() else name


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command line; its help shows the configuration as it stands in conf/."""
    settings = textwrap.indent((CONF / "profile.yaml").read_text(encoding="utf-8"), "  ")
    usage = "%(prog)s BASE MODEL [MODEL …] data.streams.<name>.path=… [key=value …]"
    more = f"Settings\n{settings}\n"
    made = argparse.ArgumentParser(prog="python -m xright.profile", usage=usage, **help_of(__doc__, more))
    made.add_argument("arguments", nargs="*", metavar="MODEL | key=value")
    return made


if __name__ == "__main__":
    sys.exit(main())
