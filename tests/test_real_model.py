"""experiments/real_model: its cells are settings that pass every check, and what is published is not done again."""

import gzip
import json
import math
import os
import subprocess
import sys
from collections import Counter

import pandas as pd
import pytest
from omegaconf import OmegaConf

from tests.beside import EXPERIMENTS, importable
from xright.config.build import build
from xright.data.corpus import corpus_of
from xright.data.messages import words
from xright.data.stream import streams_of
from xright.pipeline.checks import check_config
from xright.profiling.asked import Asked
from xright.profiling.configuration import configuration


@pytest.fixture(scope="module", autouse=True)
def modules():
    """The experiment's modules can be imported, for as long as these tests run."""
    with importable("", "paper", "smollm2", "real_model"):
        yield


def test_no_two_cells_share_a_folder_and_the_middle_ones_are_asked():
    from cells import SAFETY, STUDIES, cells

    for study in STUDIES:
        every = list(cells([study], range(3)))
        assert len({cell.name for cell in every}) == len(every) == 3 * len(STUDIES[study].cells)
    sequential = next(cells(["smollm2_safety"], [1]))
    assert sequential.name == "seed-1_sequential_first-dpo_epochs-2-2"
    assert sequential.drawn == ["seed=1", "data.source.seed=1"]
    asked = [cell.key for cell in cells(["smollm2_safety"], [0]) if cell.tasks]
    assert asked == [
        "strategy=sequential strategy.first=dpo strategy.epochs=[2,2]",
        *(f"strategy={rule} lam=0.5" for rule in ("alright", "maxright", "mix")),
        "strategy=merge start=base",
        *(f"strategy=merge start={start} lam=0.5" for start in ("average", "ties")),
    ]
    assert sequential.tasks == SAFETY


def test_every_cell_is_a_run_that_may_begin(compose, monkeypatch):
    from cells import FIRST, STUDIES, Cell, cells

    monkeypatch.setenv("XRIGHT_DATA", "data")
    for options in FIRST:
        cell = Cell("smollm2_safety", 0, options)
        cfg = compose(f"experiment={cell.study}", "trainer=cpu", f"name={cell.name}", *cell.drawn, *cell.options)
        check_config(cfg)
        assert cfg.epochs == 2
    for cell in cells([*STUDIES], [0]):
        cfg = compose(f"experiment={cell.study}", "trainer=cpu", f"name={cell.name}", *cell.drawn, *cell.options)
        check_config(cfg)
        drawn = "train_sample" if cell.study in ("smollm2_dpo_first", "smollm2_sft_first") else "train_probe"
        assert (cfg.epochs, cfg.eval_on, cfg.probe_share) == (4, drawn, 0.5)
        assert cfg.reference == ("sft" if "sft_first" in cell.study else "chosen")


HUB = {  # the data sets, and whether their pairs are prepared
    "smollm2_safety": ("PKU-Alignment/PKU-SafeRLHF", "vicgalle/alpaca-gpt4", True),
    "smollm2_dpo_first": ("Dahoas/rm-hh-rlhf", "vicgalle/alpaca-gpt4", False),
    "smollm2_sft_first": ("Dahoas/rm-hh-rlhf", "vicgalle/alpaca-gpt4", False),
    "smollm2_ultrafeedback": (*["HuggingFaceH4/ultrafeedback_binarized"] * 2, True),
}


@pytest.mark.parametrize("study", HUB)
def test_without_a_folder_a_study_differs_in_its_rows_alone(study, compose, monkeypatch):
    import origin
    from cells import Cell

    monkeypatch.setenv("XRIGHT_DATA", "data")
    folder = compose(f"experiment={study}", "trainer=cpu")
    OmegaConf.resolve(folder)
    monkeypatch.delenv("XRIGHT_DATA")
    hub = compose(f"experiment={study}", "trainer=cpu", *origin.settings(study, True))
    check_config(hub)
    pairs, completions, prepared = HUB[study]
    own = hub.data.streams
    assert (own.preference.path.path if prepared else own.preference.path) == pairs
    assert (own.sft.path.path if study == "smollm2_ultrafeedback" else own.sft.path) == completions
    assert own.preference.split == "train"
    assert study != "smollm2_safety" or own.preference.path.step.judge is None  # the labels suffice
    for name in own:
        apart = {"path", "split"}
        kept, theirs = ({k: v for k, v in one[name].items() if k not in apart} for one in (own, folder.data.streams))
        assert kept == theirs
        assert kept["train_rows"] == (128 if name == "sft" else 64)
    assert (hub.data.max_length, hub.data.source) == (folder.data.max_length, folder.data.source)
    for cfg in (hub, folder):
        del cfg.data
    assert hub == folder
    cells = [Cell(study, 0, (), hub) for hub in (False, True)]
    assert [cell.table for cell in cells] == [study, f"{study}_hub"]  # so that they are in no table together


def lines(path):
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return [json.loads(line) for line in file]


def messages(prompt, answer):
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def as_on_the_hub(study, folder):
    """Local rows with the columns that the hub's data sets have: pairs, completions."""
    completions = [{**row, "text": "Below is an instruction …"} for row in lines(folder / "sft/alpaca_gpt4_demo.jsonl")]
    if study == "smollm2_safety":
        pairs = []
        for number, row in enumerate(lines(folder / "pref/pku_saferlhf_test.jsonl.gz")):
            safe = number % 2  # which answer is
            answers = {f"response_{safe}": row["chosen"], f"response_{1 - safe}": row["rejected"]}
            labels = {f"is_response_{side}_safe": side == safe for side in (0, 1)}
            pairs.append({"prompt": row["prompt"], **answers, **labels, "better_response_id": 1 - safe})
            if number % 3 == 0:  # and others, of which both are safe
                pairs.append({**pairs[-1], **dict.fromkeys(labels, True)})
        return pairs, completions
    if study == "smollm2_ultrafeedback":
        rows = lines(folder / "pref/ultrafeedback_binarized.jsonl.gz")
        sides = [{side: messages(row["prompt"], row[side]) for side in ("chosen", "rejected")} for row in rows]
        scores = {"score_chosen": 8.0, "score_rejected": 5.5}
        return [
            {"prompt": row["prompt"], **side, "messages": side["chosen"], **scores}
            for row, side in zip(rows, sides, strict=True)
        ], None
    kinds = (lines(folder / f"pref/hh_{kind}_test.jsonl.gz")[:600] for kind in ("helpful", "harmless"))
    return [row for kind in kinds for row in kind], completions


@pytest.mark.parametrize("study", ["smollm2_safety", "smollm2_dpo_first", "smollm2_ultrafeedback"])
def test_the_hubs_format_gives_the_folders_rows(study, compose, real_data, tmp_path, monkeypatch):
    import origin

    monkeypatch.setenv("XRIGHT_DATA", str(real_data))
    monkeypatch.setenv("XRIGHT_CACHE", str(tmp_path / "cache"))
    folder = compose(f"experiment={study}", "data.source.seed=3")
    settings, prepared = [*origin.settings(study, True)], HUB[study][2]
    for name, rows in zip(("preference", "sft"), as_on_the_hub(study, real_data), strict=True):
        if rows is not None:
            (file := tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            place = "path.path" if name == "preference" and prepared else "path"
            settings.append(f"data.streams.{name}.{place}={file}")
    if "dpo_first" not in study:  # of hh-rlhf the file ends where the folder's training rows do
        settings.append(f"data.streams.preference.split='{folder.data.streams.preference.split}'")
    if "ultrafeedback" in study:
        settings.append("data.streams.preference.path.split=train")  # a file has no train_prefs
    else:
        settings.append(f"data.streams.sft.split='{folder.data.streams.sft.split}'")
    hub = compose(f"experiment={study}", "data.source.seed=3", *settings)
    theirs, ours = (source(cfg) for cfg in (hub, folder))
    for stream, count in (("preference", 64), ("sft", 128)):
        found, rows = (
            [{**row, "prompt": words(row["prompt"])} for row in one.rows(stream, "train")] for one in (theirs, ours)
        )
        assert len(rows) == count
        assert found == rows  # a prompt that is one turn of a user in the place of its text


def source(cfg):
    return build(cfg.data.source, streams=streams_of(build(cfg.data.streams)))


@pytest.mark.parametrize("study", HUB)
def test_what_is_profiled_is_not_trained_on(study, compose, real_data, monkeypatch):
    import origin

    monkeypatch.setenv("XRIGHT_DATA", str(real_data))
    trained, apart = source(compose(f"experiment={study}")), source(configuration(origin.behind(study, False), ["m"]))
    for stream in ("preference", "sft"):
        whole = apart.streams[stream]
        assert whole.template == trained.streams[stream].template
        there = [json.dumps(row) for row in trained.rows(stream, "train")]
        assert len(rows := list(apart.rows(stream, "train"))) > 100
        assert not {json.dumps(row) for row in rows} & {*there}
    monkeypatch.delenv("XRIGHT_DATA")
    hub = configuration(origin.behind(study, True), ["m"])
    at = hub.data.streams.preference
    assert "test" in (at.path.split if HUB[study][2] else at.split)
    assert hub.data.source.heldout == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_general_preferences_are_evaluated_on_both_kinds(seed, compose, real_data, tmp_path, monkeypatch):
    import held_out
    import origin

    monkeypatch.setenv("XRIGHT_DATA", str(real_data))
    monkeypatch.setenv("XRIGHT_CACHE", str(tmp_path))
    kind = {
        words(row["prompt"]): name
        for name in ("helpful", "harmless")
        for row in lines(real_data / f"pref/hh_{name}_test.jsonl.gz")
    }
    reader = str(real_data / "tokenizer_gptneox")  # not the study's, which may not be at hand

    def kinds(rows, corpus):
        return Counter(kind[words(corpus.tokenizer.decode(row.prompt))] for row in rows)

    settings = (f"data.source.seed={seed}", f"model.tokenizer={reader}")
    corpus = corpus_of(compose("experiment=smollm2_dpo_first", *settings))
    trained, evaluated = (kinds(rows("preference"), corpus) for rows in (corpus.train, corpus.evaluation))
    assert evaluated.total() == math.ceil(trained.total() / 2)
    assert {*evaluated} == {*trained} == {"helpful", "harmless"}
    assert min(evaluated.values()) > 0.2 * evaluated.total()
    of_rest = [*origin.behind("smollm2_dpo_first", False), f"rows={held_out.ROWS}", f"seed={seed}"]
    asked = Asked(configuration([*of_rest, "objectives.sft=null"], [reader]))
    found = kinds(asked.rows["DPO"], asked.corpus)
    assert found.total() == held_out.ROWS
    assert min(found.values()) > 0.25 * held_out.ROWS


def test_neither_a_folder_nor_the_hub_is_one_sentence_before_any_training(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "XRIGHT_DATA"}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    program = [sys.executable, str(EXPERIMENTS / "real_model" / "run.py"), "smollm2_sft_first", "--seeds", "7"]
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == (
        "real_model: XRIGHT_DATA is not set, so rows of the hub: vicgalle/alpaca-gpt4, Dahoas/rm-hh-rlhf\n"
    )
    assert done.stderr.startswith("real_model: Cannot load the dataset 'vicgalle/alpaca-gpt4' (split 'train[:50000]'")
    assert done.stderr.endswith("; mend the network, or set XRIGHT_DATA to a folder with sft/, pref/ and eval/.\n")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()
    environment["XRIGHT_DATA"] = "no"
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stderr == "real_model: XRIGHT_DATA='no' is no folder; name that with sft/, pref/ and eval/.\n"


def test_judges_are_held_to_the_answers_that_were_read():
    import judges

    rows = judges.read()
    assert list(rows.groupby("part", sort=False).size()) == [126, 88, 132]
    assert set(rows["verdict"]) == set(judges.VERDICTS)
    (third,) = [line for line in judges.agreement(rows).rows if line[:2] == ["third, 132", "phrases"]]
    assert third[2:6] == ["0.939 (0.885 to 0.969)", "0.79", "19 of 26", "1"]


def test_gains_are_over_sequential_of_the_same_seed():
    from benchmarked import gains
    from page import BASELINE, TABLE_3

    rows = pd.DataFrame(
        {"label": label, "strategy": "mix", "lam": 0.5, "seed": seed, "key": key, "value": value, "low": 0, "high": 1,
         "n": 10, "higher_is_better": key != "sorry.compliance"}
        for label in (BASELINE, "Mix λ=0.5", "base")
        for seed in ((0, 1) if label != "base" else (2,))
        for key, value in zip(TABLE_3, (0.3, 0.4, 0.4, 0.9) if "Mix" in label else (0.2, 0.4, 0.8, 0.9), strict=True)
    )  # fmt: skip
    found = gains(rows, BASELINE, TABLE_3)
    assert found.headings[:3] == ["method", "Δm ↑", "seeds"]
    assert [line[:2] for line in found.rows] == [
        [BASELINE, "baseline"],
        ["Mix λ=0.5", "0.250 (0.250 to 0.250)"],  # half more of one, half less of one that is better low
        ["base", "–"],  # its seed has no Sequential run
    ]
    assert gains(rows[rows["key"] != TABLE_3[0]], BASELINE, TABLE_3).headings[1] == "Δm ↑ (without mmlu.acc)"
    rows.loc[(rows["key"] == TABLE_3[2]) & (rows["label"] == BASELINE), "value"] = 0.0  # of which nothing is a share
    found = gains(rows, BASELINE, TABLE_3)
    assert found.headings[1] == "Δm ↑ (without sorry.compliance)"
    assert found.rows[1][1] == "0.167 (0.167 to 0.167)"
