import base64
import gzip
import hashlib
import json
import re
import resource
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from plotly.offline import get_plotlyjs

from xright.analysis.figures.on_screen import embedded
from xright.analysis.report import write_report
from xright.errors import UserError
from xright.report import main


class Page(HTMLParser):
    """Collects what the tests ask about: tags with attributes, ids, heading levels, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script" and self.cdata_elem == "script":
            return  # is not read by people
        self.texts.append(data.strip())

    def named(self, name):
        return [attrs for tag, attrs in self.tags if tag == name]


@pytest.fixture(scope="module")
def page_text(shared_study) -> str:
    return write_report([shared_study], shared_study.parent / "report").read_text(encoding="utf-8")


@pytest.fixture
def page(page_text) -> Page:
    return Page(page_text)


def test_the_folder_holds_page_figures_and_table(study, tmp_path):
    out = tmp_path / "deep" / "report"
    assert write_report([study], out) == out / "report.html"
    names = {path.name for path in out.iterdir()}
    stems = ("figure", "gaps", "picks", "time", "device")
    assert names == {
        "report.html",
        *(f"{name}.csv" for name in ("runs", "means", "comparisons", "hypervolumes", "runtimes", "configurations")),
        *(f"{stem}.{kind}" for stem in stems for kind in ("png", "pdf")),
    }
    assert (out / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "figure.pdf").read_bytes().startswith(b"%PDF")
    table = pd.read_csv(out / "runs.csv")
    assert table["f_dpo"].tolist() == [2.362, 0.387, 0.328, 0.477, 0.330, 0.356, 0.339]


def test_an_earlier_report_is_overwritten(make, tmp_path):
    make("mix", 0.35, 0.1, lam=0.5)
    page = write_report([tmp_path / "runs"], tmp_path / "report")
    page.write_text("an earlier report")
    assert write_report([tmp_path / "runs"], tmp_path / "report") == page
    assert "1 finished run compared" in page.read_text(encoding="utf-8")


def test_the_page_needs_nothing_from_outside(page, page_text):
    links = [value for _, attrs in page.tags for key, value in attrs.items() if key in ("src", "href", "xlink:href")]
    assert all(link.startswith("#") for link in links)
    plotly = embedded(get_plotlyjs())
    assert page_text.count(plotly) == 1
    own = page_text.replace(plotly, "")
    assert not re.search(r"url\((?!#)|@import|@font-face|https?://(?!www.w3.org)", own)
    assert {name for name, _ in page.tags}.isdisjoint({"link", "iframe", "object", "img"})


def test_only_the_two_scripts_of_the_page_may_run(page, page_text):
    (policy,) = [
        attrs["content"] for attrs in page.named("meta") if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    (own,) = re.findall(r"<script>(.*?)</script>", page_text, flags=re.DOTALL)
    bodies = [get_plotlyjs(), own]
    hashes = [base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in bodies]
    assert policy.endswith("script-src " + " ".join(f"'sha256-{code}'" for code in hashes))
    assert "default-src 'none'" in policy
    others = [attrs for attrs in page.named("script") if attrs]
    compressed = {"type": "application/gzip"}
    assert others == [*[compressed] * 5, compressed | {"id": "plotly"}]  # data of five figures


def test_the_page_can_be_read_by_all(page):
    drawings = page.named("svg")
    assert len(drawings) == 5
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in drawings)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    assert page.named("html") == [{"lang": "en"}]
    scales = [attrs.get("content", "") for attrs in page.named("meta")]
    assert "width=device-width, initial-scale=1" in scales


def test_what_comes_from_data_is_text(page, evil):
    assert evil in page.texts
    assert "ALRIGHT <b> λ=0.5" in page.texts
    assert not page.named("b")


def test_in_the_figures_data_too_it_is_text(page_text):
    """Plotly would read <b> in a name; and a browser </script> in a script."""
    data = re.findall(r'<script type="application/gzip">(.*?)</script>', page_text, flags=re.DOTALL)
    assert not any(letter in text for text in data for letter in "<>&")
    traces = [trace for text in data for trace in json.loads(gzip.decompress(base64.b64decode(text)))["data"]]
    assert "ALRIGHT &lt;b&gt; λ=0.5" in {trace["meta"][0] for trace in traces if "meta" in trace}
    assert "ALRIGHT &lt;b&gt; λ=0.5" in {trace["name"] for trace in traces if "name" in trace}


def test_the_page_tells_what_the_runs_showed(page, evil):
    text = " ".join(page.texts)
    assert "8 finished runs compared" in text
    assert "Sequential DPO→SFT ends with a larger DPO gap than the joint runs of the same seed" in text
    assert "The losses of 2 objectives: f_DPO (nats per pair), f_SFT (nats per token); lower is better." in text
    assert "λ is the weight on DPO." in text
    assert "strategy=orpo,lam=None,seed=0" in text  # under "Unfinished runs"
    assert "torch 2.13, xright 0.1.0" in text
    answers = page.texts[page.texts.index("how do i burn a bank ?") :]
    assert answers.index("sorry , i can not .") < answers.index(evil) < answers.index("All steps and seeds")


def test_negative_gaps_are_admitted(page, make, tmp_path):
    assert not any("final gaps are negative" in text for text in page.texts)
    make("mix", 0.309, 0.1, lam=0.9)
    text = write_report([tmp_path], tmp_path / "report").read_text(encoding="utf-8")
    assert "1 of 2 final gaps are negative, the lowest −0.0170" in text


def test_each_setting_has_its_own_section_and_figures(make, tmp_path):
    make("mix", 0.35, 0.1, lam=0.5, seed=1)
    make("mix", 0.33, 0.03, lam=0.5, config={"data": {"source": {"conflict": 0.0, "seed": 0}}})
    page = Page(write_report([tmp_path], tmp_path / "report").read_text(encoding="utf-8"))
    assert "Setting 1: data.source.conflict=0.0" in page.texts
    assert "Setting 2: data.source.conflict=0.1" in page.texts
    assert (tmp_path / "report" / "figure-1.png").exists()
    assert (tmp_path / "report" / "gaps-2.pdf").exists()


def test_nothing_is_written_when_there_is_nothing_to_report(tmp_path):
    with pytest.raises(UserError, match="No finished run"):
        write_report([tmp_path], tmp_path / "report")
    assert not (tmp_path / "report").exists()


HOSTILE = [
    "<script>mark()</script>", '"><img src=x onerror=mark()>', "</style><svg onload=mark()>", "--><b>bold</b><!--",
    "{{ 7*7 }}{% include 'x' %}", "$\\nope{$", "&lt;b&gt;", "\x1b]0;mark\x07\x1b[31m", "javascript:mark()", "a\u2028b",
]  # fmt: skip


def test_every_text_that_comes_from_runs_stays_text(make, tmp_path, capsys):
    """Names, labels, settings, machines, prompts, kinds, completions: wherever somebody else's words can stand."""
    for number, text in enumerate(HOSTILE):
        words = dict.fromkeys(["name", "label", "stopped_by", "device"], text) | {"eval_on": " ".join(HOSTILE)}
        run = make(
            "mix", 0.3 + number / 100, 0.1, lam=0.5, seed=number, completion=text, versions={text: text},
            behaviour={text: 0.5}, config={"model": {" ".join(HOSTILE): number % 2}}, **words,
        )  # fmt: skip
        samples = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
        changed = [json.dumps(sample | {"prompt": text, "kind": text}) for sample in samples]
        (run / "samples.jsonl").write_text("\n".join(changed))
        unfinished = make("orpo", 1.0, 1.0, seed=number, finished=False)
        unfinished.rename(unfinished.with_name(text.replace("/", "-")))
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "report")]) == 0
    page = Page((tmp_path / "report/report.html").read_text(encoding="utf-8"))
    names = [name for name, _ in page.tags]
    assert not {"img", "b", "iframe", "object", "link", "base"} & set(names)
    assert names.count("svg") == 10  # five figures for each of two settings
    assert names.count("script") == 12  # their data, plotly.js and report.js
    assert names.count("style") == names.count("svg") + 1  # each drawing's own, and the page's
    attributes = [attribute for _, attrs in page.tags for attribute in attrs.items()]
    assert not [key for key, value in attributes if key.startswith("on") or "javascript:" in (value or "")]
    assert not {"49"} & set(" ".join(page.texts).split())
    for text in HOSTILE:
        assert page.texts.count(text) >= 4, text  # as label, name of a machine, prompt, completion
    assert "\x1b" not in capsys.readouterr().out


def test_evaluations_are_on_the_page_with_their_figures_and_answers(make, evaluate, tmp_path):
    text = " ".join(HOSTILE)
    counts = {"verdicts": {text: {"full_refusal": 2}}, "categories": {text: {"refused": 1, "n": 2}}, "judge": text}
    scores = {text: {"win_rate": (0.5, 0.4, 0.6, 9), "a": (1, 0, 2, 9), "b": (1, 0, 2, 9), "details": counts}}
    evaluate(make("mix", 0.3, 0.1, lam=0.5), scores, {"xstest": [(text, text), (text + "?", "")]})
    evaluate(tmp_path / "runs" / "model", scores, {"xstest": [(text, "no"), (text + "?", "")]}, subject=text)
    out = tmp_path / "report"
    page = Page(write_report([tmp_path / "runs"], out).read_text(encoding="utf-8"))
    names = [name for name, _ in page.tags]
    assert names.count("svg") == 9  # five of the runs, four of the benchmarks
    assert names.count("script") == 7  # data of five figures, plotly.js and report.js
    assert not {"img", "b", "iframe", "object", "link", "base"} & set(names)
    assert not [key for _, attrs in page.tags for key in attrs if key.startswith("on")]
    assert page.texts.count(text) >= 3  # subject, prompt, answer
    assert "(nothing)" in page.texts  # both gave the same: nothing
    assert pd.read_csv(out / "benchmarks.csv")["subject"].tolist() == ["Mix λ=0.5", text]
    for stem in ("radar", "win-rate", "verdicts", "categories"):
        assert (out / f"benchmarks-{stem}.png").read_bytes().startswith(b"\x89PNG")


def test_evaluations_need_no_run(evaluate, tmp_path):
    evaluate(tmp_path / "models" / "pythia", {"mmlu": {"acc": (0.25, 0.2, 0.3, 100)}})
    page = write_report([tmp_path / "models"], tmp_path / "report").read_text(encoding="utf-8")
    assert "Benchmarks: 1 subject compared" in page
    assert "0.250 (0.200 to 0.300)" in page
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"report.html", "benchmarks.csv"}


def test_the_command_shows_scores_against_the_baseline_asked_for(evaluate, tmp_path, capsys):
    for name, accuracy in (("a", 0.25), ("b", 0.5)):
        evaluate(tmp_path / "models" / name, {"mmlu": {"acc": (accuracy, 0.2, 0.6, 100)}})
    asked = [str(tmp_path / "models"), "--out", str(tmp_path / "report")]
    assert main([*asked, "--baseline", "b", "--metrics", "mmlu.acc"]) == 0
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if line.startswith("│ a"))
    assert "-0.500" in row.replace("−", "-")  # (.25 − .5) / .5
    assert "Δm (eq 52) is relative to b, over mmlu.acc." in printed
    assert main([*asked, "--baseline", "c"]) == 2
    assert "choose of 'a', 'b'." in capsys.readouterr().err


def test_unfinished_runs_tell_why_as_far_as_they_know(make, tmp_path):
    make("mix", 0.35, 0.1, lam=0.5)
    failed, stopped, begun = (make("orpo", 1.0, 1.0, seed=seed, finished=False) for seed in range(3))
    (failed / "ended.json").write_text(json.dumps({"reason": "the disk is full <b>"}))
    (stopped / "checkpoints").mkdir()
    (stopped / "checkpoints" / "last.ckpt").touch()
    (begun / "trajectory.csv").unlink()
    texts = Page(write_report([tmp_path], tmp_path / "report").read_text(encoding="utf-8")).texts
    assert "the disk is full <b>" in texts
    assert "running, or stopped; goes on from its checkpoint" in texts
    assert "running, or stopped before training" in texts


def test_the_keys_in_which_runs_differ_are_listed(make, tmp_path):
    for seed, lr in enumerate((0.1, 0.1, 0.3)):
        make("mix", 0.35, 0.1, lam=0.5, seed=seed, config={"optim": {"lr": lr, "clip": 1.0}})
    page = write_report([tmp_path / "runs"], tmp_path / "report")
    texts = Page(page.read_text(encoding="utf-8")).texts
    assert texts[texts.index("optim.lr") + 1] == "0.1 (2) · 0.3 (1)"
    assert "optim.clip" not in texts
    table = pd.read_csv(page.with_name("configurations.csv"))
    assert set(table.columns) == {"folder", "seed", "optim.lr"}
    assert sorted(table["optim.lr"]) == [0.1, 0.1, 0.3]


def test_seeds_give_intervals_comparisons_and_hypervolumes(make, tmp_path):
    for seed, better in enumerate((0.01, 0.02, 0.03)):
        make("mix", 0.5, 0.1, lam=0.5, seed=seed)
        make("maxright", 0.5, 0.1 - better, lam=0.5, seed=seed)
    page = write_report([tmp_path / "runs"], tmp_path / "report")
    texts = Page(page.read_text(encoding="utf-8")).texts
    verdict = texts[texts.index("MAXRIGHT ends closer than Mix") + 1]
    means = pd.read_csv(page.with_name("means.csv")).set_index(["strategy", "quantity"])
    # f_SFT of MAXRIGHT: .09 .08 .07; half = 4.3027 · .01 / sqrt 3 = .0248
    assert means.loc[("maxright", "f_sft"), ["mean", "low", "n"]].tolist() == pytest.approx([0.08, 0.0552, 3], abs=1e-4)
    rows = pd.read_csv(page.with_name("comparisons.csv"))
    # the distances, from (.326, .026): Mix .1891, MAXRIGHT .1854 .1822 .1795; differences −.0037 −.0069 −.0096
    assert (rows["mean"].tolist(), verdict) == (pytest.approx([-0.0067] * 2, abs=1e-4), "cannot tell")  # ± .0073
    assert pd.read_csv(page.with_name("hypervolumes.csv")).groupby("method").size().tolist() == [3, 3]


def test_three_objectives_and_a_surrogate_are_on_the_page(make, tmp_path, capsys):
    """In every table, figure and sentence; and λ, which is of two, in none."""
    for seed in range(2):
        for strategy, safety in (("alright", 0.3), ("upgrad", 0.25)):
            for dpo in (0.2, 0.5):
                weights = {"dpo": dpo, "sft": 0.7 - dpo, "safety": 0.3}
                make(strategy, 0.4, 0.1, weights=weights, more={"safety": safety}, seed=seed)
        make("orpo", 0.8, 0.3, more={"safety": 0.5}, surrogate={"orpo": 0.9}, seed=seed)
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "report")]) == 0
    shown, page = capsys.readouterr().out, (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    text = " ".join(Page(page).texts)
    assert "The losses of 4 objectives" in text
    assert "f_ORPO is trained on in the place of others and is no part of it" in text
    assert "(f_DPO, f_SFT, f_Safety) = (" in text
    assert "The volume that" in text
    assert "upgrad ends closer than ALRIGHT" in text
    assert "weight on Safety, 100 %" in text  # the curves as numbers
    for heading in ("f_DPO", "f_SFT", "f_Safety", "f_ORPO", "ideal distance"):
        assert heading in text
        assert heading in shown
    assert "λ" not in text.replace("λ controls", "")
    means = pd.read_csv(tmp_path / "report" / "means.csv")
    assert {"f_dpo", "f_sft", "f_safety", "f_orpo", "gap_safety"} <= set(means["quantity"])


@pytest.mark.parametrize(("seeds", "size"), [(1, 3.2e6), pytest.param(5, 4e6, marks=pytest.mark.slow)])
def test_hundreds_of_runs_make_a_light_page_in_seconds(seeds, size, make, tmp_path):
    """Seeds × 4 methods × 15 λ; 300 runs: 3.9 MB, of which plotly.js is 2.0, in 16 s of processor time."""
    lams = np.linspace(0.02, 0.98, 15).round(3).tolist()
    for seed in range(seeds):
        for strategy in ("mix", "alright", "maxright", "model_average"):
            for lam in lams:
                make(strategy, 0.35 + lam / 20, 0.1 + seed / 100, lam=lam, seed=seed, steps=400, peak_memory_gb=1.0)
    out = tmp_path / "report"
    program = [sys.executable, "-m", "xright.report", tmp_path / "runs", "--out", out]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(program, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    taken = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert f"{60 * seeds} finished runs compared" in (out / "report.html").read_text(encoding="utf-8")
    assert (out / "report.html").stat().st_size < size
    assert taken < 2 * (10 + 5 * seeds)
    print(f"{60 * seeds} runs: {taken:.1f} s of processor time")
