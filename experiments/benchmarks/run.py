"""The chain from runs to a table of benchmarks, on real rows. XRIGHT_DATA: the folder with sft/, pref/ and eval/."""

import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from options import no_options
from publish import between_markers

from xright.analysis.report import read_report, write_page
from xright.analysis.text.benchmark_table import benchmark_grid, benchmark_notes
from xright.analysis.text.tables import markdown

HERE, STUDY, REPORT = Path(__file__).parent, Path("runs/real_rows"), Path("report/benchmarks")
BASELINE = "Sequential DPO→SFT (1,1)"
RUN = [sys.executable, "-m", "xright.run", "experiment=real_rows", "logger=csv"]
TASKS = [
    "tasks=[mmlu,hellaswag,xstest,sorry]", "task.mmlu.limit=5", "task.hellaswag.limit=200",
    "task.xstest.max_new_tokens=32", "task.sorry.max_new_tokens=32", "batch_size=32",
]  # fmt: skip


def main() -> None:
    """Train what is missing, evaluate, publish."""
    subprocess.run([*RUN, "strategy=sequential", "strategy.first=dpo", "strategy.epochs=[1,1]"], check=True)
    subprocess.run([*RUN, "strategy=alright,maxright", "lam=0.5", "-m"], check=True)
    runs = sorted(file.parent for file in STUDY.glob("*/result.json"))
    subprocess.run([sys.executable, "-m", "xright.evaluate", *map(str, runs), *TASKS], check=True)
    publish()


def publish() -> None:
    """Table, notes and figures of what is evaluated."""
    found, benchmarks = read_report([STUDY], baseline=BASELINE)
    assert benchmarks is not None
    write_page(found, REPORT, benchmarks)
    lines = [markdown(benchmark_grid(benchmarks))]
    for figure in sorted(REPORT.glob("benchmarks-*.png")):
        shutil.copy(figure, HERE / figure.name)
        lines += ["", f"![{figure.stem}]({figure.name})"]
    lines += ["", *(f"- {note}" for note in benchmark_notes(benchmarks)), ""]
    between_markers(HERE / "README.md", "\n".join(lines))


if __name__ == "__main__":
    no_options(__doc__)
    main()
