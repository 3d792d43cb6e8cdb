"""experiments/gpu: the program that says whether a GPU keeps what is promised, on a CPU and on next to nothing."""

import json
import subprocess
import sys
import textwrap

import pytest
import torch

from tests.beside import EXPERIMENTS, importable

GPU = EXPERIMENTS / "gpu"
CHECKS = ["layouts", "mask", "mask_memory", "resume", "look", "steps", "throughput", "growth"]


def accept(*arguments, **options):
    command = [sys.executable, GPU / "accept.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, **options)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """(accept.json, accept.md, folder) of the CPU mode."""
    folder = tmp_path_factory.mktemp("accept")
    done = accept(folder, "--device", "cpu", "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    page = (folder / "accept.md").read_text("utf-8")
    assert page.strip() in done.stdout
    return json.loads((folder / "accept.json").read_text("utf-8")), page, folder


def test_all_that_a_cpu_can_be_asked_holds(quick):
    found, page, folder = quick
    assert found["accepted"]
    assert list(dict.fromkeys(one["check"] for one in found["findings"])) == [*CHECKS]
    held = {one["check"] for one in found["findings"] if one["verdict"] == "holds"}
    assert held >= {"layouts", "mask", "mask_memory", "resume", "look", "steps"}
    assert {one["verdict"] for one in found["findings"]} == {"holds", "skipped"}
    assert page.startswith("## Accepted\n")
    assert (folder / "growth.png").stat().st_size > 5000
    assert {file.name for file in folder.iterdir()} == {"accept.json", "accept.md", "growth.png"}


def test_every_number_has_its_tolerance_and_every_gap_a_sentence(quick):
    found, page, _ = quick
    for one in found["findings"]:
        if one["verdict"] == "skipped":
            assert len(one["why"].split()) > 3, one
            assert one["why"] in page
        else:
            assert one["measured"] <= one["bound"] if one["relation"] == "≤" else one["measured"] >= one["bound"], one


def test_what_needs_a_gpu_is_not_claimed(quick):
    skipped = " ".join(one["what"] for one in quick[0]["findings"] if one["verdict"] == "skipped")
    for what in ("FlexAttention against brute force", "peak of the device's memory", "MFU", "faster", "memory grows"):
        assert what in skipped
    assert "prove nothing" in " ".join(one["why"] for one in quick[0]["findings"])


def test_tokens_and_times_are_there(quick):
    tables = {}
    for line in quick[0]["lines"]:
        tables.setdefault(line["table"], []).append(line["values"])
    names = [line["step"] for line in tables["steps"]]
    ours = ["SFT", "DPO", "Mix", "ALRIGHT", "MAXRIGHT, each step looks", "MAXRIGHT, between looks"]
    assert names[:6] == [f"xright: {name}" for name in ours]
    assert {*names[6:]} == {f"{rival}: {objective}" for rival in ("padded", "TRL") for objective in ("SFT", "DPO")}
    dpo, sft = tables["throughput"]
    assert dpo["tokens/s, distinct"] < dpo["tokens/s, all"]  # pairs share a prompt
    assert sft["tokens/s, distinct"] == sft["tokens/s, all"]
    assert 0 < dpo["MFU, distinct"] < dpo["MFU, all"] < 1
    assert [line["longest, tokens"] for line in tables["growth"]] == [32, 64]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path):
    done = accept(tmp_path / "out")
    assert done.returncode == 2
    assert "torch sees no CUDA device here; --device cpu --quick tries the program itself." in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_check_that_fails_hangs_or_dies_leaves_the_others_alone(tmp_path):
    """What it said before stays; none of this is accepted."""
    (tmp_path / "checks").mkdir()
    first = "import os, time\nfrom finding import at_most\ndef check(place):\n    yield at_most('one', 1, 2)\n"
    ends = {"broken": "raise RuntimeError('no such kernel')", "dies": "os._exit(9)", "hangs": "time.sleep(600)"}
    for name, end in {**ends, "fine": "pass", "wrong": "yield at_most('other', 3, 2)"}.items():
        (tmp_path / "checks" / f"{name}.py").write_text(f"{first}    {end}\n")
    program = f"""
        import json, sys
        sys.path[:0] = {[str(GPU), str(tmp_path)]}
        import accept
        accept.HEAVY = ["xright.machine.quiet"]
        accept.CHECKS = {{"broken": 120, "dies": 60, "hangs": 15, "fine": 60, "wrong": 60}}
        codes = [accept.main([name, "--device", "cpu", "--only", *name.split("+")])
                 for name in ("broken+dies+hangs+fine", "fine", "wrong")]
        print(json.dumps(codes))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [1, 0, 1]
    found = json.loads((tmp_path / "broken+dies+hangs+fine" / "accept.json").read_text())["findings"]
    assert [(one["check"], one["verdict"]) for one in found] == [
        *(("broken", "holds"), ("broken", "error"), ("dies", "holds"), ("dies", "error")),
        *(("hangs", "holds"), ("hangs", "error"), ("fine", "holds")),
    ]
    assert [one["why"] for one in found if one["verdict"] == "error"] == [
        "RuntimeError: no such kernel", "its process ended with 9", "it did not come to its end in 15 seconds",
    ]  # fmt: skip


@pytest.fixture
def beside():
    """The program's modules can be imported, for as long as a test runs."""
    with importable("speed", "gpu"):
        yield


def test_attention_that_forgets_what_is_shared_is_found(beside, monkeypatch):
    from checks import layouts, mask
    from place import Place

    from xright.forward import attention

    def forgetful(query, key, value, branches, **options):
        return by_branch(query, key, value, [type(branch)(0, branch.own) for branch in branches], **options)

    by_branch = attention.by_branch
    monkeypatch.setattr(attention, "by_branch", forgetful)
    with pytest.raises(RuntimeError, match="packed attention was refused on this device"):
        list(layouts.check(Place("cpu", quick=True)))  # the layout's own probe finds it
    found = {one.what: one.verdict for one in mask.check(Place("cpu", quick=True))}
    assert found["attention branch by branch against brute force, float32: output"] == "does not hold"
    assert found["attention branch by branch against brute force, bfloat16: gradient"] == "does not hold"
    assert found["the mask's rule: pairs of tokens that differ"] == "holds"


def test_the_arithmetic_of_a_step(beside):
    """Two layers of width 4, two heads of which one is for keys: 16 + 8 + 8 + 16 weights of attention, 3 · 4 · 6 of the
    rest; 10 words."""
    from shapes import Shape, Work

    shape = Shape("", 10, hidden=4, intermediate=6, layers=2, heads=2, key_values=1)
    assert shape.body == 2 * (16 + 8 + 8 + 16 + 72)
    assert shape.parameters == shape.body + 40
    work = Work(tokens=5, predicted=3, pairs=13)
    forward, attention = 2 * (240 * 5 + 40 * 3), 4 * 4 * 2 * 13
    assert shape.flops(work) == 3 * (forward + attention)
    lora = Shape("", 10, hidden=4, intermediate=6, layers=2, heads=2, key_values=1, lora=True)
    assert lora.flops(work) == 2 * forward + 3 * attention


@pytest.mark.parametrize("name", ["TINY", "SMALL", "M135", "B1", "B8"])
def test_shapes_are_what_they_are_called(beside, name):
    """Counted on a model without memory, but for the norms, two vectors a layer and one."""
    import shapes
    from transformers import AutoModelForCausalLM

    shape = getattr(shapes, name)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shape.config())
    norms = (2 * shape.layers + 1) * shape.hidden
    assert sum(parameter.numel() for parameter in model.parameters()) == shape.parameters + norms
    billions = {"M135": 0.135, "B1": 1.24, "B8": 8.03}.get(name)
    assert billions is None or shape.parameters / 1e9 == pytest.approx(billions, rel=0.01)


def test_the_readme_says_what_was_run_and_has_a_place_for_the_page():
    readme = (GPU / "README.md").read_text("utf-8")
    begin, end = "<!-- results: written by the command above -->", "<!-- end of results -->"
    assert readme.count(begin) == readme.count(end) == 1
    assert all(f"checks/{name}.py" in readme for name in CHECKS)
    assert subprocess.run(["make", "-n", "accept-gpu"], cwd=GPU.parents[1], capture_output=True).returncode == 0
