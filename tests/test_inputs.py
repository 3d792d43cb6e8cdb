"""What lies on the disk under a name in the configuration decides a run as much as the name does."""

import hashlib
import json

import pytest

from xright.config.inputs import inputs, on_disk

RUN = [
    "data=files", "data.streams.sft.path=sft.jsonl", "data.streams.preference.path=pairs.jsonl",
    "data.streams.sft.template='{instruction} '", "data.streams.preference.template='{instruction} '",
    "data.source.heldout=0.3",
    "data.max_length=48", "data.streams.sft.batch_size=4", "data.streams.preference.batch_size=4", "model=hf",
    "model.path=model", "epochs=1",
    "reference=base", "optima={dpo: 0.1, sft: 0.1}", "trainer=cpu", "logger=csv", "threads=1",
]  # fmt: skip


def test_files_and_folders_by_their_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("{}\n")
    sha256 = hashlib.sha256(b"{}\n").hexdigest()
    assert on_disk({"path": ["rows.jsonl", "absent.jsonl"], "limit": 3, "columns": None}) == {"rows.jsonl": sha256}
    (tmp_path / "[a]*?.jsonl").write_text("{}\n")
    assert on_disk("[a]*?.jsonl") == {"[a]*?.jsonl": sha256}
    monkeypatch.setenv("HOME", str(tmp_path))
    assert on_disk("~/rows.jsonl") == {"~/rows.jsonl": sha256}
    assert on_disk(["a question " * 1000, "", "nul\0", "x" * 300]) == {}


def test_only_what_is_read_counts(tmp_path):
    (tmp_path / "file").write_text("")
    config = {"data": {}, "model": {"path": str(tmp_path / "file")}, "reference": "chosen", "runs_dir": str(tmp_path)}
    assert list(inputs(config)) == [str(tmp_path / "file")]


@pytest.fixture
def place(tmp_path, family, word_tokenizer):
    """Rows and a model in a folder of their own."""
    words = [f"w{1 + i % 30} w{1 + i % 29}" for i in range(40)]
    sft = [{"instruction": word, "output": f"w{2 + i % 7} w5"} for i, word in enumerate(words)]
    pairs = [{"prompt": word, "chosen": "w3 w4", "rejected": f"w{6 + i % 9}"} for i, word in enumerate(words)]
    for name, rows in (("sft", sft), ("pairs", pairs)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    family("llama").save_pretrained(tmp_path / "model")
    word_tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path


def other_rows(folder):
    lines = (folder / "sft.jsonl").read_text().split("\n")
    (folder / "sft.jsonl").write_text("\n".join([*lines[1:-1], lines[0], ""]))


def other_weights(folder):
    config = json.loads((folder / "model" / "config.json").read_text())
    (folder / "model" / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-3}))


@pytest.mark.parametrize(("change", "named"), [(other_rows, "'sft.jsonl'"), (other_weights, "'model'")])
def test_a_finished_run_of_another_content_is_told_apart(command_line, place, change, named):
    def run(*overrides):
        return command_line.run(place, *RUN, *overrides, XRIGHT_CACHE="cache")

    first = run()
    assert first.returncode == 0, first.stderr
    again = run()
    assert (again.returncode, again.stdout) == (0, first.stdout)
    change(place)
    refused = run()
    assert refused.returncode == 2
    assert f"was made from another content of {named}; give another name=" in refused.stderr
    afresh = run("overwrite=true")
    assert afresh.returncode == 0, afresh.stderr
    assert run().returncode == 0


def test_names_that_look_like_interpolations_are_names(command_line, place):
    """As a user writes them for Hydra, escaped; a name is never resolved again behind that."""
    (place / "sft.jsonl").rename(place / "${oc.env:HOME}.jsonl")
    escaped = r"\${oc.env:HOME}"
    overrides = [f"data.streams.sft.path='{escaped}.jsonl'", f"runs_dir='{place}/{escaped}'"]
    done = command_line.run(place, *RUN, *overrides, XRIGHT_CACHE="cache", HOME="/nowhere")
    assert done.returncode == 0, done.stderr
    (result,) = place.glob("*/default/*/result.json")
    assert result.parents[2].name == "${oc.env:HOME}"
    assert "${oc.env:HOME}.jsonl" in json.loads(result.read_text())["inputs"]
