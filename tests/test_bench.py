"""experiments/speed on next to nothing: that it runs, that all contestants compute the same, and that it would tell."""

import gzip
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from tests.beside import EXPERIMENTS, importable

SPEED = EXPERIMENTS / "speed"


@pytest.fixture(scope="module", autouse=True)
def beside_run():
    """The experiment's modules can be imported, for as long as these tests run."""
    threads = torch.get_num_threads()
    with importable("speed"):
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def quick(beside_run, tmp_path_factory):
    """(tables as Markdown, results.csv, results.json, folder) of `run.py --quick`."""
    from run import main

    folder = tmp_path_factory.mktemp("speed")
    page = main(True, folder)
    return page, pd.read_csv(folder / "results.csv"), json.loads((folder / "results.json").read_text()), folder


def test_every_contestant_has_the_same_loss_on_the_same_rows(quick):
    _, steps, _, _ = quick
    assert set(steps["contestant"]) >= {
        *(f"dpo/{n}" for n in ("naive", "cached reference", "both", "no padding", "shared prompt", "bare", "ours")),
        *("sft/naive", "sft/bare", "sft/ours", "dpo/TRL stock", "dpo/TRL compact", "sft/TRL stock", "sft/TRL compact"),
        *("Mix", "ALRIGHT", "MAXRIGHT look, sft wins", "MAXRIGHT look without gradient, dpo wins"),
    }
    for objective in ("dpo", "sft"):
        for (race, _), losses in steps.dropna(subset=[objective]).groupby(["race", "round"])[objective]:
            assert np.ptp(losses) < 1e-5, (race, objective)
            assert len(losses) > 1


def test_every_contestant_has_the_same_gradient(quick):
    _, _, found, _ = quick
    for race in ("LoRA, 8k", "full, 8k"):
        assert found["gradients"][race].keys() >= {
            "dpo/ours",
            "sft/ours",
            "dpo/bare",
            "dpo/TRL stock",
            "sft/TRL compact",
        }
        assert max(found["gradients"][race].values()) < 1e-5


def test_a_look_updates_the_objective_that_is_ahead_and_mix_both(quick):
    _, steps, _, _ = quick
    computed = {name: group[["dpo", "sft"]].notna().all() for name, group in steps.groupby("contestant")}
    assert dict(computed["MAXRIGHT look, dpo wins"]) == {"dpo": True, "sft": False}
    assert dict(computed["MAXRIGHT between looks, sft wins"]) == {"dpo": False, "sft": True}
    assert dict(computed["Mix"]) == {"dpo": True, "sft": True}


def test_the_page_has_all_bars_but_those_that_need_processes_of_their_own(quick):
    page, _, found, folder = quick
    numbers = {line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")}
    assert numbers >= set("1234678")  # 5 and 9 need processes of their own
    assert f"torch {found['about']['versions']['torch']}" in page
    assert "Allocator" in page
    for figure in ("length.png", "vocabulary.png"):
        assert (folder / figure).stat().st_size > 5000


@pytest.fixture(scope="module")
def real(beside_run, tmp_path_factory):
    """(page, results.csv, results.json) of the race on a chat model that is made here."""
    from measure import measure
    from measure import real as plan_of
    from page import write_real
    from rows import Lengths

    from tests.byte_llama import byte_llama

    place = tmp_path_factory.mktemp("real")
    byte_llama(place / "model")
    (place / "sft").mkdir()
    (place / "pref").mkdir()
    words = [f"What is {number} and {number}?" for number in range(40)]
    plain = [{"instruction": text, "input": "", "output": f"It is {len(text)}."} for text in words]
    pairs = [{"prompt": text, "chosen": chosen, "rejected": "No."} for text in words for chosen in ("It is.", "So so.")]
    (place / "sft/alpaca_gpt4_demo.jsonl").write_text("".join(json.dumps(row) + "\n" for row in plain))
    with gzip.open(place / "pref/pku_saferlhf_test.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in pairs)

    def small(setting):
        return replace(setting, folder=str(place / "model"), data=str(place), lengths=Lengths(120, sft=3, pairs=2))

    plan = plan_of()
    measure(
        replace(
            plan,
            races={name: replace(race, setting=small(race.setting), rounds=2) for name, race in plan.races.items()},
            peaks=None,
            apart=False,
            evaluated=(small(plan.evaluated[0]), 6, 1),
            profiled={name: small(setting) for name, setting in plan.profiled.items()},
        ),
        place,
    )
    return write_real(place), pd.read_csv(place / "results.csv"), json.loads((place / "results.json").read_text())


@pytest.mark.parametrize(("card", "time"), [("README", "seconds"), ("smollm2", "cpu")])
def test_the_published_page_follows_from_its_rows(beside_run, tmp_path, card, time):
    from page import write, write_real

    place = SPEED if card == "README" else SPEED / card
    for name in ("results.csv", "results.json"):
        shutil.copy(place / name, tmp_path)
    page = (write if card == "README" else write_real)(tmp_path, time)
    assert f"<!-- results: written by the command above -->\n{page}<!-- end" in (SPEED / f"{card}.md").read_text()


def test_what_is_measured_again_leaves_the_rest(quick, tmp_path):
    from measure import measure
    from measure import quick as plan

    *_, folder = quick
    for name in ("results.csv", "results.json"):
        shutil.copy(folder / name, tmp_path)
    measure(plan(), tmp_path, "vocabulary 300")
    before, after = (pd.read_csv(place / "results.csv") for place in (folder, tmp_path))
    kept = before["race"] != "vocabulary 300"
    pd.testing.assert_frame_equal(after.iloc[: kept.sum()].reset_index(drop=True), before[kept].reset_index(drop=True))
    again = (frame[frame["race"] == "vocabulary 300"] for frame in (before, after))
    old, new = (frame.set_index("contestant")["seconds"] for frame in again)
    assert not old.equals(new)


def test_a_name_that_nothing_has_is_a_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, SPEED / "run.py", "--again", "peeks"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "nothing that is measured has 'peeks' in its name; there are SmolLM2, LoRA" in done.stderr
    assert "Traceback" not in done.stderr


def test_on_a_real_model_too_everyone_has_the_same_loss_and_gradient(real):
    _, steps, found = real
    for objective in ("dpo", "sft"):
        for (race, number), losses in steps.dropna(subset=[objective]).groupby(["race", "round"])[objective]:
            assert np.ptp(losses) < 2e-5, (race, number, objective)
            assert len(losses) > 1
    for race in ("SmolLM2, LoRA", "SmolLM2, full"):
        assert max(found["gradients"][race].values()) < 5e-5
        assert {"dpo/ours", "sft/bare", "dpo/TRL compact"} <= found["gradients"][race].keys()


def test_the_page_of_the_real_model_says_what_each_technique_computes(real):
    page, _, found = real
    counts = found["batches"]["SmolLM2, LoRA"]["preference"]
    assert counts["padded"] >= counts["tokens"] > counts["shared"] > counts["trie"]
    (trie,) = (line for line in page.splitlines() if line.startswith("| trie |"))
    assert f"| {counts['trie']:,.0f} | {counts['trie'] / counts['padded']:.2f} |" in trie
    assert "DPO against TRL with head compaction forced, evaluation" in page
    assert "Mix over an SFT and a DPO step" in page
    kinds = next(line for line in page.splitlines() if line.startswith("| SmolLM2, full: SFT |"))
    assert sum(int(share.strip("% ")) for share in kinds.split("|")[3:-1]) in range(98, 103)


def test_the_bare_loop_computes_what_rows_begin_with_once():
    from bare import Bare, lay_out
    from rows import Lengths, draw
    from setting import Setting
    from steps import Technique

    from xright.data.rows import Row
    from xright.forward.collate import collate, sequences_of
    from xright.forward.trie import share

    setting = Setting(vocabulary=50, hidden=16, layers=1, heads=2, lengths=Lengths(40, sft=3, pairs=3))
    (rows,) = setting.with_reference([draw(setting.lengths, 50, 0)])
    alike = {
        stream: [Row(row.id, [*range(1, 12), *row.prompt], row.responses, row.reference) for row in own]
        for stream, own in rows.items()
    }
    bare = Bare(setting.policy())
    padded = Technique(setting.policy(), "padded", False, "all")
    for own in alike.values():
        line = lay_out(own)[0]
        assert len(line) <= len(share(sequences_of(own))[0])  # less where a rest of a prompt is not worth a cut
        assert len(line) <= collate(own, 0, "packed").n_input_tokens - 2 * 11
        assert torch.allclose(bare.loss(own), padded.loss(own), rtol=1e-5)


def test_another_loss_is_noticed(tmp_path):
    from contestants import OURS
    from race import race
    from rows import Lengths, draw
    from setting import Setting
    from steps import Technique

    class Forgetful(Technique):
        """Its loss knows no reference."""

        def loss(self, rows):
            return super().loss([type(row)(row.id, row.prompt, row.responses, (0.0, 0.0)) for row in rows])

    setting = Setting(vocabulary=50, hidden=16, layers=1, heads=2, lengths=Lengths(40, sft=2, pairs=3))
    rounds = setting.with_reference([draw(setting.lengths, 50, seed) for seed in range(2)])
    naive, forgetful = (kind(setting.policy(), "padded", False, "all") for kind in (Technique, Forgetful))
    ours = {"dpo/ours": OURS["dpo/ours"]}
    result = race(setting, rounds, ours, {"dpo/naive": naive, "dpo/forgetful": forgetful}, tmp_path)
    assert result.gradients["dpo/forgetful"] > 1e-2 > 1e-5 > result.gradients["dpo/ours"]
    losses = {step["contestant"]: step["dpo"] for step in result.values if step["round"] == 1}
    assert losses["dpo/ours"] == pytest.approx(losses["dpo/naive"], abs=1e-5)
    assert losses["dpo/forgetful"] != pytest.approx(losses["dpo/naive"], abs=1e-3)


def test_lengths_spread_as_the_design_says():
    """42 % of padded SFT batches and 37 % of padded DPO batches are padding; 59 % of DPO tokens are responses."""
    from rows import Lengths, describe, draw

    rounds = [draw(Lengths(), 8192, seed) for seed in range(200)]
    sft, dpo = (pd.DataFrame([describe(rows[name]) for rows in rounds]).mean() for name in ("sft", "preference"))
    assert sft["padding"] == pytest.approx(0.42, abs=0.02)
    assert dpo["padding"] == pytest.approx(0.37, abs=0.02)
    assert dpo["predicted"] / dpo["tokens"] == pytest.approx(0.59, abs=0.01)
    assert 1 - dpo["shared"] / dpo["tokens"] == pytest.approx(0.41 / 2, abs=0.01)  # half of all prompts


def test_batches_are_described_token_by_token():
    from rows import describe

    from xright.data.rows import Row

    prompt = [*range(1, 11)]
    pair = Row(0, prompt, ([11, 0], [12, 13, 14, 0]))  # sequences of 12 and 14 tokens, 16 in a packed line
    assert describe([pair]) == {
        "tokens": 26, "shared": 16, "trie": 16, "predicted": 6, "longest": 14, "padded": 28, "padding": 1 - 26 / 28,
    }  # fmt: skip
    alike = [Row(number, [*prompt, 20 + number], ([0],)) for number in range(3)]
    assert describe(alike)["shared"] == 36  # a prompt of its own each
    assert describe(alike)["trie"] == 16  # ten tokens once


def test_everyone_has_a_turn_in_every_round():
    from race import SELDOM, draw_turns

    turns = draw_turns(SELDOM + 2, ["a", "b", "c"], seldom={"c"})
    assert turns[:6] == [(0, "a"), (0, "b"), (0, "c"), (1, "a"), (1, "b"), (1, "c")]
    assert sorted(turns) == [(n, x) for n in range(SELDOM + 2) for x in ("abc" if n <= SELDOM else "ab")]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_what_was_touched():
    from peaks import PeakMemory

    meter = PeakMemory()
    meter.start()
    torch.ones(10_000_000)  # 40 MB, gone at once
    torch.ones(5_000_000)
    assert meter.stop()["peak_mb"] == pytest.approx(40, abs=4)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_of_a_step():
    """Logits of all tokens: 12 sequences × up to 60 tokens × 20,000 words × 4 bytes: up to 58 MB, held three times."""
    from peaks import peak
    from rows import Lengths
    from setting import Setting

    setting = Setting(vocabulary=20_000, hidden=16, layers=1, heads=2, lengths=Lengths(60, sft=12, pairs=2))
    (naive,), (ours,) = (peak(setting, name, batches=1) for name in ("sft/naive", "sft/ours"))
    assert 100 < naive < 300
    assert ours < 0.6 * naive


def test_a_bar_holds_or_not():
    from bars import LORA, Measured, faster

    def bar(naive):
        seconds = {"dpo/naive": naive, "dpo/ours": [1.0, 1.0, 1.0, 1.0]}  # round 0 is not counted
        rows = [
            {"race": LORA, "round": number, "contestant": name, "seconds": value}
            for name, values in seconds.items()
            for number, value in enumerate(values)
        ]
        return faster(Measured(pd.DataFrame(rows), {}, "seconds"), 2, LORA, "dpo", "naive", "naive", 3.0)

    assert (bar([99, 2.0, 3.0, 4.0]).measured, bar([99, 2.0, 3.0, 4.0]).holds) == ("3.00× (2.50–3.50)", True)
    assert not bar([99, 2.0, 2.9, 4.0]).holds


def test_the_log_of_a_sweep_is_read():
    from sweep import read

    log = [
        (0.0, "[HYDRA] Launching 2 jobs locally"),
        (1.0, "[HYDRA] \t#0 : strategy=alright lam=0.25"),
        (2.0, "[xright] base: building /cache/base/1"),
        (5.0, "[xright] reference: building /cache/reference/2"),
        (9.0, "[xright] optima: f_dpo* = 0.3, f_sft* = 0.9"),
        (9.5, "[xright] base: from the cache, /cache/base/1"),  # not before the optima: training has begun
        (10.0, "[HYDRA] \t#1 : strategy=alright lam=0.5"),
        (10.2, "[xright] base: from the cache, /cache/base/1"),
        (10.3, "[xright] reference: from the cache, /cache/reference/2"),
        (10.5, "[xright] optima: f_dpo* = 0.3, f_sft* = 0.9"),
    ]
    assert list(read(log)) == [{"seconds": 8.0, "built": 2, "found": 0}, {"seconds": 0.5, "built": 0, "found": 2}]


@pytest.mark.slow
def test_a_second_lam_builds_nothing():
    from sweep import sweep

    first, second = sweep(lams="0.25,0.5")
    assert (first["built"], first["found"]) == (5, 0)  # base, reference, its log-probs, two optima
    assert (second["built"], second["found"]) == (0, 5)
    assert second["seconds"] < first["seconds"] / 4


def test_the_readme_has_a_place_for_the_page():
    readme = (SPEED / "README.md").read_text()
    begin, end = "<!-- results: written by the command above -->", "<!-- end of results -->"
    assert readme.count(begin) == readme.count(end) == 1
    assert "make bench" in readme
    assert subprocess.run(["make", "-n", "bench"], cwd=SPEED.parents[1], capture_output=True).returncode == 0
