"""The paper on a real pretrained model: studies of SmolLM2-135M-Instruct (`make smollm2`). `make real-model`.

A cell is one run of one seed: it is trained, evaluated where its study asks for it, and published into the csv files
beside this program before the next one begins. What is published is not done again, on whatever machine, so the command
may be stopped and given again. XRIGHT_DATA names a folder with sft/, pref/ and eval/; without it rows are the hub's.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

sys.path.extend(str(Path(__file__).resolve().parents[1] / room) for room in ("", "paper", "smollm2"))
import contests
import held_out
import origin
import published
from cells import FIRST, FIRST_TASKS, STUDIES, Cell, cells
from make import check
from tqdm import tqdm

from xright.errors import UserError

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
        wanted = (one for one in cells(studies, asked.seeds, origin.is_hub()) if one.is_main or not asked.main)
        study(wanted, asked.jobs, asked.only, asked.questions)
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
    made.add_argument("--main", action="store_true", help="only the paper's methods at the middle trade-off")
    made.add_argument("--no-questions", dest="questions", action="store_false", help="train; the benchmarks come later")
    made.add_argument("--jobs", type=int, default=2, help="cells at once, one thread each (default: %(default)s)")
    return made


class Due(NamedTuple):
    """What is still to be done of a study and seed: cells, each with whether its model is asked, then the profile of
    the middle ones; none of these where it is there."""

    cells: Sequence[tuple[Cell, bool]]
    profiled: Sequence[Cell]


def study(wanted: Iterable[Cell], jobs: int, only: str = "", questions: bool = True) -> None:
    """Each study's and seed's cells that are not published, `jobs` at once, with a bar over cells; then the losses of
    the middle ones on rows that none of them was trained on."""
    every = {
        (own[0].table, own[0].seed): due(own, only, questions)
        for own in (list(same) for _, same in groupby(wanted, key=lambda cell: (cell.table, cell.seed)))
    }
    todo = {name: one for name, one in every.items() if one.cells or one.profiled}
    if todo:
        ready(dict.fromkeys(cell.study for one in todo.values() for cell in [*dict(one.cells), *one.profiled]))
        for hub in {cell.hub for one in todo.values() for cell, asked in one.cells if asked and contests.options(cell)}:
            ready_to_judge(hub)
    for (table, seed), one in todo.items():
        with workers(jobs) as pool:
            done = [pool.submit(play, *cell) for cell in one.cells]
            for future in tqdm(as_completed(done), f"{table}, seed {seed}", len(done), unit="cell"):
                future.result()
        for cell in one.profiled:
            train(cell)  # where another machine has published it
        if one.profiled:
            held_out.publish(one.profiled, MODEL)


@contextmanager
def workers(jobs: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads that begins nothing more after an error, or it would be told when all the others are done."""
    with ThreadPoolExecutor(jobs) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def due(same: Sequence[Cell], only: str, questions: bool) -> Due:
    """What is to be done of the cells of one study and seed that have `only` in their options."""
    wanted = [(cell, questions and bool(cell.tasks)) for cell in same if only in cell.key]
    trained = [cell for cell in same if cell.is_middle and "start=base" not in cell.options]
    profiled = [] if only or not questions else [cell for cell in trained if not held_out.is_there(cell)]
    return Due([one for one in wanted if not published.is_there(*one)], profiled)


def play(cell: Cell, asked: bool) -> None:
    """Train a cell and publish it; asked: and ask its model what it is to be asked, and publish that."""
    train(cell)
    published.publish(cell, False)
    if asked:
        for tasks in cell.tasks:
            evaluate([published.folder(cell)], [*tasks, *contests.options(cell)], cell.hub)
        published.publish(cell, True)


def first(jobs: int) -> None:
    """The three methods at λ = .5, and the base, on one seed; their refusals; and the page that shows them."""
    runs = [Cell(FIRST_STUDY, 0, options, origin.is_hub()) for options in FIRST]
    ready([FIRST_STUDY])
    with workers(jobs) as pool:  # trained first, so that none is left to train when the others are done
        trained, asked = {pool.submit(train, cell): cell for cell in runs}, []
        for one in tqdm(as_completed(trained), "trained", len(runs), unit="run"):
            one.result()
            asked.append(pool.submit(evaluate, [published.folder(trained[one])], FIRST_TASKS, trained[one].hub))
        for one in tqdm(as_completed(asked), "asked", len(runs), unit="run"):
            one.result()
    folders = [published.folder(cell) for cell in runs]
    subprocess.run(
        [sys.executable, "-m", "xright.report", *map(str, folders), "--out", "report/real_model"], check=True
    )


def ready(studies: Iterable[str]) -> None:
    """End the program where model or rows are not at hand, or the model is another one."""
    origin.ready(studies)
    if not MODEL.exists():
        sys.exit(f"real_model: there is no {MODEL}; `make smollm2` fetches it.")
    check(MODEL)


def ready_to_judge(hub: bool) -> None:
    """Train the judge of win rates, if there is none; end the program where its pairs are not at hand."""
    import reward_judge  # TRL takes ten seconds

    try:
        reward_judge.ready(MODEL, hub)
    except UserError as error:
        sys.exit(f"real_model: {error}")


def train(cell: Cell) -> None:
    """One run of xright; quick where it is finished already."""
    options = [f"experiment={cell.study}", "logger=csv", "threads=1", *cell.drawn]
    options += [*origin.settings(cell.study, cell.hub), f"runs_dir={published.RUNS / cell.table}", f"name={cell.name}"]
    subprocess.run([sys.executable, "-m", "xright.run", *options, *cell.options], check=True)


def evaluate(folders: Sequence[Path], tasks: Sequence[str], hub: bool) -> None:
    """Ask finished models; quick where they have been."""
    options = [*tasks, *origin.questions(hub), "threads=1"]
    subprocess.run([sys.executable, "-m", "xright.evaluate", *map(str, folders), *options], check=True)


if __name__ == "__main__":
    main()
