"""The paper on a real pretrained model: studies of SmolLM2-135M-Instruct (`make smollm2`). `make real-model`.

A cell is one run of one seed: it is trained, evaluated where its study asks for it, and published into the csv files
beside this program before the next one begins. What is published is not done again, on whatever machine, so the command
may be stopped and given again. XRIGHT_DATA names the folder with sft/, pref/ and eval/.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import groupby
from pathlib import Path

sys.path.extend(str(Path(__file__).resolve().parents[1] / room) for room in ("", "paper", "smollm2"))
import held_out
import published
from cells import FIRST, FIRST_TASKS, STUDIES, Cell, cells
from make import check
from tqdm import tqdm

MODEL = Path("models/smollm2")
FIRST_STUDY = "smollm2_safety"
EXAMPLES = """examples:
  python experiments/real_model/run.py first                  Sequential, ALRIGHT, MAXRIGHT at λ = .5: a page to look at
  python experiments/real_model/run.py all                    every study, three seeds
  python experiments/real_model/run.py smollm2_safety --seeds 0
  python experiments/real_model/run.py page                   tables and pictures from the csv files as they are"""


def main() -> None:
    """Run what is asked for and is not published yet, then draw the page."""
    asked = parser().parse_args()
    if asked.what == "first":
        first(asked.jobs)
    elif asked.what != "page":
        studies = [*STUDIES] if asked.what == "all" else [asked.what]
        study(cells(studies, asked.seeds), asked.jobs, asked.only, asked.questions)
    if asked.what != "first":
        import page  # matplotlib takes seconds

        page.write()


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    words = {"description": __doc__, "epilog": EXAMPLES, "formatter_class": argparse.RawDescriptionHelpFormatter}
    made = argparse.ArgumentParser(**words)
    made.add_argument("what", choices=["first", "all", "page", *STUDIES], help="all is all studies, one after another")
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    made.add_argument("--only", default="", help="only cells that have this in their options, such as strategy=mix")
    made.add_argument("--no-questions", dest="questions", action="store_false", help="train; the benchmarks come later")
    made.add_argument("--jobs", type=int, default=2, help="cells at once, one thread each (default: %(default)s)")
    return made


def study(wanted: Iterable[Cell], jobs: int, only: str = "", questions: bool = True) -> None:
    """Each study's and seed's cells that are not published, `jobs` at once, with a bar over cells; then the losses of
    the middle ones on rows that none of them was trained on."""
    for (name, seed), same in groupby(wanted, key=lambda cell: (cell.study, cell.seed)):
        every = [(cell, questions and bool(cell.tasks)) for cell in same if only in cell.key]
        middle = [cell for cell, _ in every if cell.is_middle and "start=base" not in cell.options]
        todo = [(cell, asked) for cell, asked in every if not published.is_there(cell, asked)]
        profiled = only or not questions or held_out.is_there(name, seed)
        if not every or (not todo and profiled):
            continue
        ready()
        with ThreadPoolExecutor(jobs) as pool:
            done = [pool.submit(play, *one) for one in todo]
            try:
                for future in tqdm(as_completed(done), f"{name}, seed {seed}", len(done), unit="cell"):
                    published.publish(*future.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)  # or the error would be told when all the others are done
                raise
        if not profiled:
            for cell in middle:
                train(cell)  # where another machine has published it
            held_out.publish(middle, MODEL)


def play(cell: Cell, asked: bool) -> tuple[Cell, bool]:
    """Train a cell; asked: and ask its model what it is to be asked."""
    train(cell)
    if asked:
        evaluate([published.folder(cell)], cell.tasks)
    return cell, asked


def first(jobs: int) -> None:
    """The three methods at λ = .5, and the base, on one seed; their refusals; and the page that shows them."""
    runs = [Cell(FIRST_STUDY, 0, options) for options in FIRST]
    ready()
    with ThreadPoolExecutor(jobs) as pool:
        folders = list(pool.map(looked_at, runs))
    subprocess.run(
        [sys.executable, "-m", "xright.report", *map(str, folders), "--out", "report/real_model"], check=True
    )


def looked_at(cell: Cell) -> Path:
    """Train a cell and ask its model a little; return its folder."""
    train(cell)
    evaluate([folder := published.folder(cell)], FIRST_TASKS)
    return folder


def ready() -> None:
    """End the program where model or rows are not at hand, or the model is another one."""
    if "XRIGHT_DATA" not in os.environ:
        sys.exit("real_model: XRIGHT_DATA is not set; name the folder with sft/, pref/ and eval/.")
    if not MODEL.exists():
        sys.exit(f"real_model: there is no {MODEL}; `make smollm2` fetches it.")
    check(MODEL)


def train(cell: Cell) -> None:
    """One run of xright; quick where it is finished already."""
    options = [f"experiment={cell.study}", "logger=csv", "threads=1", *cell.drawn]
    options += [f"runs_dir={published.RUNS / cell.study}", f"name={cell.name}"]
    subprocess.run([sys.executable, "-m", "xright.run", *options, *cell.options], check=True)


def evaluate(folders: Sequence[Path], tasks: Sequence[str]) -> None:
    """Ask finished models; quick where they have been."""
    subprocess.run([sys.executable, "-m", "xright.evaluate", *map(str, folders), *tasks, "threads=1"], check=True)


if __name__ == "__main__":
    main()
