"""The real command line: `python -m xright.run`, in processes of its own, on the smallest world (`debug=fast`).

All but the first are forks of one that has imported everything (`command.py`).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from xright.analysis.read.unfinished_runs import why_unfinished
from xright.data.world import World

FAST = ["debug=fast", "logger=csv"]
TRAJECTORY = [
    "step",
    "epoch",
    "f_dpo",
    "f_sft",
    "gap_dpo",
    "gap_sft",
    "ideal_distance",
    "dpo_steps",
    "sft_steps",
    "train_seconds",
    "eval_seconds",
]
STEPS = [
    "step", "pick", "loss_dpo", "loss_sft", "seen_gap_dpo", "seen_gap_sft", "seconds", "tokens", "weight_dpo",
    "weight_sft",
]  # fmt: skip
RESULT = [
    "strategy",
    "label",
    "method",
    "objectives",
    "lam",
    "seed",
    "steps",
    "stopped_by",
    "f_dpo",
    "f_sft",
    "f_dpo_opt",
    "f_sft_opt",
    "gap_dpo",
    "gap_sft",
    "ideal_distance",
    "picks",
    "train_seconds",
    "eval_seconds",
    "step_seconds_median",
    "tokens_per_second",
    "device",
    "utilization_median_pct",
    "peak_memory_gb",
    "eval_on",
    "reference",
    "versions",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder whose stage cache is its own."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def sweep(place):
    """The command this project is used by, once, as it is typed."""
    command = [sys.executable, "-m", "xright.run", *FAST, "strategy=alright", "lam=0.25,0.5,0.75", "-m"]
    env = os.environ | {"XRIGHT_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    return subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.fixture
def xright(command_line):
    """xright(place, *overrides): the command in that folder; with start=True a job that runs."""

    def run(place: Path, *overrides: str, start: bool = False, **environment: str):
        environment = {"XRIGHT_CACHE": str(place / "cache"), **environment}
        return (command_line.start if start else command_line.run)(place, *overrides, **environment)

    return run


def cells(place: Path, name: str = "default") -> list[Path]:
    return sorted(path for path in (place / "runs" / name).iterdir() if path.is_dir())


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_sweep_makes_three_run_folders(place, sweep):
    assert sweep.returncode == 0, sweep.stderr
    assert [cell.name for cell in cells(place)] == [
        f"strategy-alright_lam-{lam}_seed-0_debug-fast" for lam in ("0.25", "0.5", "0.75")
    ]
    assert sweep.stdout.splitlines()[-1] == "runs/default/strategy-alright_lam-0.75_seed-0_debug-fast"
    for cell in cells(place):
        result = json.loads((cell / "result.json").read_text())
        assert set(RESULT) <= set(result)
        assert result["picks"]["dpo"] + result["picks"]["sft"] == result["steps"] == 12
        trajectory = pd.read_csv(cell / "trajectory.csv")
        assert list(trajectory) == TRAJECTORY
        assert list(trajectory["step"]) == [1, 4, 8, 12]
        assert trajectory["f_dpo"].iloc[-1] == result["f_dpo"]
        steps = pd.read_csv(cell / "steps.csv")
        assert list(steps) == STEPS
        assert list(steps["step"]) == list(range(12))
        assert (steps["loss_dpo"].notna() == (steps["pick"] == "dpo")).all()
        assert (cell / "checkpoints" / "last.ckpt").is_file()
        assert {json.loads(line)["step"] for line in (cell / "samples.jsonl").read_text().splitlines()} == {1, 8, 12}


def test_stages_are_built_once_and_shared(place, sweep):
    built = [line for line in sweep.stderr.splitlines() if ": building " in line]
    assert [line.split("]")[1].split(":")[0].strip() for line in built] == [
        "base", "reference", "reference_logps", "optimum_dpo", "optimum_sft",
    ]  # fmt: skip


def test_the_same_command_again_redoes_nothing(place, sweep, xright):
    before = stamps(place / "runs") | stamps(place / "cache" / "base")
    again = xright(place, *FAST, "strategy=alright", "lam=0.25,0.5,0.75", "-m")
    assert again.returncode == 0
    assert again.stderr.count("finished already") == 3
    assert stamps(place / "runs") | stamps(place / "cache" / "base") == before


def test_a_single_run_and_a_sweep_cell_are_the_same_folder(place, sweep, xright):
    single = xright(place, "strategy=alright", "lam=0.250", *FAST)
    assert "finished already" in single.stderr
    assert single.stdout.splitlines()[-1] == str(cells(place)[0].relative_to(place))


@pytest.mark.parametrize(
    ("strategy", "extra"),
    [
        ("maxright", ["strategy.k=3"]),
        ("mix", ["objective@objectives.dpo=ipo", "optim=paper"]),
        ("sequential", ["strategy.first=sft", "strategy.epochs=[1,2]"]),
        ("model_average", []),
        ("model_average", ["model.lora.r=2"]),  # whose average has nothing to train
        ("alright", ["start=average"]),
        ("orpo", []),
    ],
)
def test_every_other_strategy_runs(place, sweep, strategy, extra, xright):
    done = xright(place, *FAST, "name=others", f"strategy={strategy}", *extra)
    assert done.returncode == 0, done.stderr
    folder = place / done.stdout.splitlines()[-1]
    result = json.loads((folder / "result.json").read_text())
    assert result["strategy"] == strategy
    picks = list(pd.read_csv(folder / "steps.csv")["pick"])
    if strategy == "sequential":
        assert picks == ["sft"] * 4 + ["dpo"] * 8
    elif strategy == "model_average":
        assert (picks, result["steps"]) == ([], 0)
    else:
        assert set(picks) <= {"mix": {"both"}, "orpo": {"orpo"}}.get(strategy, {"dpo", "sft"})


def test_the_stopping_rule_ends_joint_runs_but_not_sequential_ones(place, sweep, xright):
    rule = ["callbacks=stopping", "callbacks.stop.epsilon=100"]
    for strategy, expected in (("mix", (1, "dpo_optimum")), ("sequential", (24, "budget"))):
        done = xright(place, *FAST, "name=stop", f"strategy={strategy}", *rule)
        assert done.returncode == 0, done.stderr
        result = json.loads((place / done.stdout.splitlines()[-1] / "result.json").read_text())
        assert (result["steps"], result["stopped_by"]) == expected


def test_parallel_jobs_share_the_stages(tmp_path, xright):
    jobs = [xright(tmp_path, *FAST, "strategy=mix", f"lam={lam}", start=True) for lam in (0.25, 0.75)]
    done = [job.wait() for job in jobs]
    assert [job.returncode for job in done] == [0, 0], done
    assert sum(job.stderr.count(": building ") for job in done) == 5
    assert len(cells(tmp_path)) == 2


def test_a_killed_run_resumes_and_ends_as_if_nothing_had_happened(place, sweep, xright):
    """SIGKILL after the checkpoint of step 8: same rows, losses and weights as the uninterrupted run, to the bit."""
    whole = xright(place, *FAST, "name=whole", "strategy=maxright")
    assert whole.returncode == 0, whole.stderr
    job = xright(place, *FAST, "name=killed", "strategy=maxright", "epochs=3", start=True)
    folder = None
    while job.poll() is None:
        found = list((place / "runs").glob("killed/*/steps.csv"))
        if found and len(found[0].read_text().splitlines()) > 9:
            job.kill()
            folder = found[0].parent
    if folder is None or (folder / "result.json").exists():
        pytest.fail("the run ended before it could be killed")
    again = xright(place, *FAST, "name=killed", "strategy=maxright", "epochs=3")
    assert again.returncode == 0, again.stderr
    reference = place / whole.stdout.splitlines()[-1]
    drop = ["train_seconds", "eval_seconds"]
    for file, times in (("trajectory.csv", drop), ("steps.csv", ["seconds"])):
        expected, got = (pd.read_csv(f / file).drop(columns=times) for f in (reference, folder))
        pd.testing.assert_frame_equal(got, expected, check_exact=True)
    assert (folder / "model/model.safetensors").read_bytes() == (reference / "model/model.safetensors").read_bytes()


def test_another_configuration_in_the_folder_is_an_error_that_shows_it(place, sweep, xright):
    config = cells(place)[0] / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("beta: 0.4", "beta: 0.2"))
    try:
        refused = xright(place, *FAST, "strategy=alright", "lam=0.25")
    finally:
        config.write_text(text)
    assert refused.returncode == 2
    assert "objectives.dpo.beta: 0.2 there, 0.4 asked for" in refused.stderr
    assert "overwrite=true" in refused.stderr


def test_overwrite_keeps_the_old_folder_aside(place, sweep, xright):
    done = xright(place, *FAST, "name=over", "strategy=model_average")
    again = xright(place, *FAST, "name=over", "strategy=model_average", "overwrite=true")
    assert (done.returncode, again.returncode) == (0, 0)
    assert [cell.name for cell in cells(place, "over")] == [
        "strategy-model_average_lam-0.5_seed-0_debug-fast",
        "strategy-model_average_lam-0.5_seed-0_debug-fast.old-1",
    ]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["lam=abc"], "lam='abc' must be a number in [0, 1]"),
        (["lam=0.25,0.5,1.5", "-m"], "lam=1.5: lam=1.5 must be a number in [0, 1]"),
        (["strategy=foo"], "Could not find 'strategy/foo'"),
        (["model=hf", "model.path=no/such/folder", "model.tokenizer=null"], "no/such/folder"),
        (["model.lora.r=4", "model.lora.target_modules=[nonsense]"], "query_key_value"),
        (["data.streams.sft.batch_size=1000"], "larger than the 96 rows"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_is_written(tmp_path, overrides, said, xright):
    """A few of each kind through the whole program; `test_checks.py` has the long table."""
    refused = xright(tmp_path, *FAST, *overrides, HF_HUB_OFFLINE="1")
    assert refused.returncode not in (0, None)
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "runs").exists()
    assert ": building " not in refused.stderr


def test_bad_data_is_one_sentence_before_anything_is_written(tmp_path, xright):
    World().tokenizer().save_pretrained(tmp_path / "tokenizer")  # knows no word but its own
    rows = [{"question": row["prompt"], "reply": row["response"]} for row in World().rows("sft", "train")[:60]]
    (tmp_path / "sft.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = ["data=files", "logger=csv", f"model.tokenizer={tmp_path}/tokenizer"]
    files += ["data.streams.sft.template='{instruction} '", "data.source.heldout=0.3"]
    paths = ["data.streams.sft.path=sft.jsonl", "data.streams.preference.path=no/such.jsonl"]
    for overrides, said in ((paths[1:], "data.streams.sft.path"), (paths, "question, reply")):
        refused = xright(tmp_path, *files, *overrides)
        assert refused.returncode == 2
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr
        assert not (tmp_path / "runs").exists()
    paths[0] = "data.streams.sft={path: sft.jsonl, columns: {prompt: question, completion: reply}}"
    refused = xright(tmp_path, *files, *paths)
    assert refused.returncode == 2
    assert "no/such.jsonl" in refused.stderr


def test_a_loss_that_becomes_nan_stops_the_run_and_keeps_the_checkpoint(place, sweep, xright):
    stopped = xright(
        place, *FAST, "name=nan", "strategy=sft", "optim.lr=1e30", "optima={dpo: 0.3, sft: 0.1}", "eval_every=100"
    )
    assert stopped.returncode == 2
    assert "loss became NaN or infinite at step" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    (folder,) = cells(place, "nan")
    assert not (folder / "result.json").exists()
    reason = json.loads((folder / "ended.json").read_text())["reason"]
    assert reason.startswith("UserError: the dpo loss became NaN or infinite at step 1 ")
    assert why_unfinished(folder) == reason
    again = xright(  # and at once: the same command ends the same way, by itself
        place, *FAST, "name=nan", "strategy=sft", "optim.lr=1e30", "optima={dpo: 0.3, sft: 0.1}", "eval_every=100"
    )
    assert (again.returncode, why_unfinished(folder)) == (2, reason)


def test_wandb_runs_offline_inside_the_run_folder_without_a_question(place, sweep, xright):
    done = xright(place, "debug=fast", "name=wandb", "strategy=mix", WANDB_MODE="online", WANDB_API_KEY="")
    assert done.returncode == 0, done.stderr
    folder = place / done.stdout.splitlines()[-1]
    assert list(folder.glob("wandb/offline-run-*/*.wandb"))


def test_help_explains_and_shows_examples(tmp_path, xright):
    shown = xright(tmp_path, "--help")
    assert shown.returncode == 0
    assert "python -m xright.run strategy=alright lam=0.25,0.5,0.75 -m" in shown.stdout
    assert "maxright" in shown.stdout


@pytest.mark.parametrize("family", ["llama", pytest.param("opt", marks=pytest.mark.slow)])
def test_a_model_folder_is_trained_through_an_adapter_in_bf16_with_checkpointing(place, sweep, family, xright):
    """`model=hf`: a folder of another family, with the world's tokenizer; the exported adapter loads without xright."""
    folder = place / family
    script = f"""
from transformers import AutoConfig, AutoModelForCausalLM
from xright.data.world import World
tokenizer = World().tokenizer()
sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64)
more = dict(intermediate_size=64) if {family!r} == "llama" else dict(ffn_dim=64, word_embed_proj_dim=32)
config = AutoConfig.for_model({family!r}, vocab_size=len(tokenizer), pad_token_id=0, bos_token_id=3, **sizes, **more)
AutoModelForCausalLM.from_config(config).save_pretrained({str(folder)!r})
tokenizer.save_pretrained({str(folder)!r})
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    done = xright(
        place, *FAST, f"name={family}", "model=hf", f"model.path={folder}", "strategy=maxright", "reference=base",
        "model.lora.r=4", "model.lora.target_modules=[q_proj,v_proj]", "model.gradient_checkpointing=true",
        "trainer.precision=bf16-mixed", "model.micro_batch=5",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "check: f_DPO starts at 0.69" in done.stderr
    adapter = place / done.stdout.splitlines()[-1] / "model"
    load = f"""
from peft import PeftModel
from transformers import AutoModelForCausalLM
PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained({str(folder)!r}), {str(adapter)!r})
"""
    loaded = subprocess.run([sys.executable, "-c", load], cwd=place, capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr


def test_steps_by_tokens(place, xright):
    """Token budgets reach stages, their cache, and the joint run; one that no row fits in is refused."""
    budgets = ["data.streams.sft.batch_tokens=200", "data.streams.preference.batch_tokens=150"]
    done = xright(place, *FAST, "name=tokens", "strategy=mix", *budgets)
    assert done.returncode == 0, done.stderr
    folder = place / done.stdout.splitlines()[-1]
    tokens = pd.read_csv(folder / "steps.csv")["tokens"]
    assert 0 < tokens.min() <= tokens.max() <= 200 + 2 * 150  # this column counts a shared prompt twice
    refused = xright(place, *FAST, "name=none", "strategy=mix", "data.streams.sft.batch_tokens=3")
    assert refused.returncode == 2
    assert "data.streams.sft.batch_tokens=3 is less than" in refused.stderr
    assert "Traceback" not in refused.stderr
