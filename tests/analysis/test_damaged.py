"""A damaged file of one run, or of one evaluation, costs that one: the report is made of the others, and says so."""

import json
import logging
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from xright.analysis.read.runs import read_runs
from xright.analysis.report import write_report
from xright.errors import UserError
from xright.report import main

WRONG = {  # of each file: texts with values of types that no program of ours writes
    "result.json": ("[1, 2]", "null", "7", '{"label": "Mix"}', "[" * 100_000),
    "config.yaml": ("- a\n- b\n", "7\n", "a: [\n", "", "!!python/object/apply:os.getcwd []\n"),
    "trajectory.csv": ("step,f_dpo\n1,much\n", "1,2\n3,4\n", "step\n1,2,3,4\n5\n", "step,f_dpo\n1,0.3\n"),
    "steps.csv": ("step,pick,seconds\n1,dpo,long\n", "step,pick,seconds\n1,2,3\n"),
    "samples.jsonl": ("[1]\n", '{"step": 1, "prompt": ["a"], "completion": "b"}\n', "{}\n7\n", '{"step": "one"}\n'),
    "evaluation.json": ("[1]", '{"subject": 1, "model": 2, "tasks": {}}', '{"tasks": 3}', "{}"),
}
DAMAGES = [
    *((file, f"wrong {place}", text) for file, texts in WRONG.items() for place, text in enumerate(texts)),
    *((file, "cut short", None) for file in WRONG),
    *((file, "NUL bytes", None) for file in WRONG),
    ("config.yaml", "missing", None),
]


def damage(path: Path, how: str, text: str | None) -> None:
    content = path.read_bytes()
    if text is not None:
        path.write_text(text)
    elif how == "missing":
        path.unlink()
    elif how == "cut short":
        path.write_bytes(content[:-3])
    else:  # what a power cut leaves of a file whose size was written, and not its content
        path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Two runs, both evaluated."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        from conftest import write_evaluation, write_run
    root = tmp_path_factory.mktemp("whole")
    for strategy, f_dpo in (("mix", 0.35), ("maxright", 0.34)):
        run = write_run(root / "runs", strategy, f_dpo, 0.1, lam=0.5)
        write_evaluation(run, {"mmlu": {"acc": (0.25, 0.2, 0.3, 100)}})
    return root


@pytest.fixture(scope="module")
def reported(whole, tmp_path_factory) -> tuple[Path, list[str]]:
    """The folder of one report on a whole run and, for each of DAMAGES, a run damaged so; and what was said."""
    from conftest import write_evaluation, write_run

    root, said = tmp_path_factory.mktemp("damaged"), list[str]()
    shutil.copytree(next((whole / "runs").glob("*maxright*")), root / "runs" / "sound")
    for seed, (file, how, text) in enumerate(DAMAGES):
        made = write_run(root / "made", "mix", 0.35, 0.1, lam=0.5, seed=seed)
        write_evaluation(made, {"mmlu": {"acc": (0.25, 0.2, 0.3, 100)}})
        bad = made.rename(root / "runs" / f"bad_{seed:02d}")
        damage(bad / file, how, text)
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("xright").addHandler(handler)
    try:
        assert main([str(root / "runs"), "--out", str(root / "report")]) == 1
    finally:
        logging.getLogger("xright").removeHandler(handler)
    return root, said


@pytest.mark.parametrize("number", range(len(DAMAGES)), ids=[f"{file} {how}" for file, how, _ in DAMAGES])
def test_each_is_left_out_and_the_report_says_why(reported, number):
    (root, said), file = reported, DAMAGES[number][0]
    bad = root / "runs" / f"bad_{number:02d}"
    page = (root / "report" / "report.html").read_text(encoding="utf-8")
    damaged = page[page.index("Left out: damaged files") :]
    assert re.search(rf"{bad.name}\b[^\n]*{re.escape(file)}", damaged)
    sentences = {sentence for sentence in said if "left out" in sentence and str(bad / file) in sentence}
    (sentence,) = sentences  # of both readers of one file, the same
    assert sentence.endswith(".")
    assert "\0" not in sentence
    assert len(sentence) < 600


def test_the_report_is_made_of_the_others(reported):
    root, _ = reported
    files = [file for file, _, _ in DAMAGES]
    table = pd.read_csv(root / "report" / "runs.csv")
    assert table["strategy"].value_counts().to_dict() == {"maxright": 1, "mix": files.count("evaluation.json")}
    evaluated = pd.read_csv(root / "report" / "benchmarks.csv")
    assert len(evaluated) == 1 + len(files) - files.count("result.json") - files.count("evaluation.json")


def test_a_run_without_a_file_of_rows_is_one_without_curves(whole, tmp_path):
    """A model average has no steps, and a callback may be switched off."""
    (sound,) = (whole / "runs").glob("*mix*")
    for file in ("trajectory.csv", "steps.csv", "samples.jsonl"):
        run = shutil.copytree(sound, tmp_path / "runs" / f"without {file}")
        (run / file).unlink()
        found = read_runs([run])
        assert (len(found.table), found.left_out) == (1, {})
    assert len(read_runs([tmp_path / "runs"]).table) == 3
    write_report([tmp_path / "runs"], tmp_path / "report")


@pytest.mark.parametrize(
    ("key", "value"),
    [("label", 7), ("strategy", None), ("lam", "0.5"), ("seed", True), ("f_dpo", "low"), ("f_sft", float("nan")),
     ("f_dpo", None), ("steps", "many"), ("train_seconds", [1]), ("behaviour", {"broken": "often"})],
)  # fmt: skip
def test_a_result_with_a_value_of_another_type_is_named(key, value, whole, tmp_path):
    runs = shutil.copytree(whole / "runs", tmp_path / "runs")
    (file,) = runs.glob("*mix*/result.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    (reason,) = read_runs([runs]).left_out.values()
    assert re.search(rf"result\.json says {key}[.=]", reason)


def test_an_unfinished_run_with_a_damaged_file_is_listed_with_it(make, tmp_path):
    make("mix", 0.35, 0.1, lam=0.5)
    unfinished = make("orpo", 1.0, 1.0, finished=False)
    (unfinished / "trajectory.csv").write_bytes(bytes(100))
    (row,) = read_runs([tmp_path]).unfinished.itertuples()
    assert "trajectory.csv cannot be read (it holds NUL bytes)" in row.reason


def test_where_no_run_can_be_read_the_first_reason_is_told(whole, tmp_path):
    runs = shutil.copytree(whole / "runs", tmp_path / "runs")
    for file in runs.glob("*/result.json"):
        file.write_text("{")
    with pytest.raises(UserError, match=r"None of 2 finished runs can be read; the first: .*result\.json cannot"):
        read_runs([runs])


def test_text_of_half_characters_is_read_and_written(whole, tmp_path):
    """JSON may hold half of a surrogate pair, and no file can."""
    runs = shutil.copytree(whole / "runs", tmp_path / "runs")
    (run,) = runs.glob("*mix*")
    sample = {"step": 1, "prompt": "half \ud83d", "completion": "\udc00", "kind": "\ud800"}
    (run / "samples.jsonl").write_text(json.dumps(sample) + "\n")
    result = json.loads((run / "result.json").read_text()) | {"label": "Mix \ud800 λ=0.5", "device": "\ud800"}
    (run / "result.json").write_text(json.dumps(result))
    page = write_report([runs], tmp_path / "report").read_text(encoding="utf-8")
    assert "half ?" in page
    assert "Mix ? λ=0.5" in page


@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_a_line_ends_with_a_newline_and_nothing_else(letter, whole, tmp_path):
    runs = shutil.copytree(whole / "runs", tmp_path / "runs")
    (run,) = runs.glob("*mix*")
    sample = {"step": 1, "prompt": f"a{letter}b", "completion": f"c{letter}d", "kind": "x"}
    (run / "samples.jsonl").write_text(json.dumps(sample, ensure_ascii=False) + "\n", encoding="utf-8", newline="")
    found = read_runs([runs])
    assert found.left_out == {}
    assert f"a{letter}b" in set(found.samples["prompt"])


def test_no_cell_of_a_table_is_a_formula(make, evaluate, tmp_path):
    """=, +, -, @, tab and carriage return begin one; numbers, negative ones too, are left as they are."""
    formulas = ["=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1", "\r=1"]
    for seed, text in enumerate(formulas):
        run = make("mix", 0.3, 0.1, lam=0.5, seed=seed, label=text, name=text, versions={text: text},
                   config={"data": dict.fromkeys(formulas, seed % 2)})  # fmt: skip
        evaluate(run, {text: {text: (0.5, 0.4, 0.6, 9)}}, model=text)
    out = write_report([tmp_path / "runs"], tmp_path / "report").parent
    for file in out.glob("*.csv"):
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        for cell in [*table.columns, *table.to_numpy().flatten()]:
            assert not re.match(r"[=+@\t\r]|-(?![\d.]+(e-?\d+)?$)", cell), (file.name, cell)
    runs = pd.read_csv(out / "runs.csv")
    assert sorted(runs["label"]) == sorted(f"'{text}" for text in formulas)
    assert (runs["gap_dpo"] < 0).all()
