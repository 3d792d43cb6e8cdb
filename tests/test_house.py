"""Who may import whom, what the loop may not know, and how long a file may be."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "xright").rglob("*.py"))
STRATEGIES = {file.stem for file in (ROOT / "conf" / "strategy").glob("*.yaml")}
OBJECTIVES = {"dpo", "sft", "orpo"}  # strategy=dpo trains the objective alone

# What a room may import of the house itself; not listed: anything below the pipeline.
MAY = {
    "errors": set(),
    "places": {"errors"},
    "files": set(),
    "naming": {"places", "errors"},
    "moved": {"errors"},
    "worker": {"preemption", "folders"},
    "inputs": {"files", "models", "places", "errors"},
    "pretrained": {"adapters", "models", "cache", "ranks", "places", "errors"},
    "metrics": set(),
    "objectives": {"objectives", "errors"},
    "strategies": {"strategies", "errors"},
    "settings": {"build", "naming", "objectives", "strategies", "errors"},
    "starts": {"starts", "strategies", "models", "stages"},  # of the stages their type alone: a start is given them
    "optim": {"errors"},
    "theory": {"theory", "strategies", "metrics", "analysis.style", "errors"},
    "rounding": set(),
    "told": {"errors"},
    "adapters": {"told", "errors"},
    "models": {"adapters", "places", "told", "errors"},
    "fits": {"models", "objectives", "rounding", "told", "errors"},
    "attention": {"objectives"},
    "packing": {"attention", "data.collate", "data.rows", "fits", "models", "objectives", "rounding"},
    "data": {"data", "objectives", "models", "build", "cache", "files", "inputs", "places", "errors"},
    "evaluation": {"evaluation", "data", "models", "build", "moved", "told", "errors"},
    "ranks": {"errors"},
    "preemption": set(),
    "means": {"objectives"},
    "module": {"objectives", "strategies", "optim", "means"},
    "callbacks": {
        *("callbacks", "metrics", "objectives", "evaluation.generate", "data.control"),
        *("errors", "ranks", "preemption", "files", "places"),
    },
    "analysis": {"analysis", "metrics", "errors"},
}
# What it may import from outside: the ideas themselves need no framework.
ALONE = {
    "errors": set(),
    "metrics": {"numpy", "moocore"},
    "objectives": {"torch"},
    "strategies": {"numpy"},
    "optim": {"torch"},
}
ALONE |= {"ranks": {"torch"}, "preemption": set(), "means": {"torch"}}
STANDARD = sys.stdlib_module_names


def name(file):
    return file.relative_to(ROOT / "xright").with_suffix("").as_posix()


def imports(file):
    """Full names of all modules a file imports, at the top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative import"
            of_package = node.module and (ROOT / node.module.replace(".", "/")).is_dir()
            found |= {f"{node.module}.{alias.name}" for alias in node.names} if of_package else {node.module}
    return found


def literals(file):
    """String literals, docstrings left out."""
    tree = ast.parse(file.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docs = {id(n.body[0].value) for n in ast.walk(tree) if isinstance(n, documented) and ast.get_docstring(n, False)}
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docs]
    return {node.value for node in nodes if isinstance(node.value, str)}


@pytest.mark.parametrize("file", FILES, ids=name)
def test_imports_go_down(file):
    room = name(file).split("/")[0]
    own = {module.removeprefix("xright.") for module in imports(file) if module.split(".")[0] == "xright"}
    outside = {module.split(".")[0] for module in imports(file)} - STANDARD - {"xright"}
    if room in MAY:
        allowed = MAY[room] | {"__version__"}
        assert not {module for module in own if not any(f"{module}.".startswith(f"{a}.") for a in allowed)}
    if room in ALONE:
        assert outside <= ALONE[room]
    if room in ("analysis", "theory"):
        assert not outside & {"lightning", "hydra", "omegaconf", "transformers", "peft", "wandb"}
    assert not outside & {"tests", "experiments", "notebooks"}
    if room not in ("run", "job", "evaluate"):
        assert not own & {"pipeline", "pipeline.run", "run"}


def test_every_room_has_its_rule():
    rooms = {name(file).split("/")[0] for file in FILES}
    assert len(FILES) > 50
    assert rooms >= MAY.keys()  # a rule without a room would hold of nothing


@pytest.mark.parametrize(
    "file", [f for f in FILES if name(f).split("/")[0] in ("module", "training", "callbacks")], ids=name
)
def test_the_loop_knows_no_strategy(file):
    assert not literals(file) & (STRATEGIES | OBJECTIVES)  # nor an objective: nothing in the loop counts to two


# Where names of objectives and streams may stand: what defines them, and what reads files of before they were data.
NAMED = ("objectives/", "theory/", "data/world", "analysis/old_form")


@pytest.mark.parametrize("file", [f for f in FILES if not name(f).startswith(NAMED)], ids=name)
def test_nothing_counts_to_two(file):
    assert not literals(file) & {"dpo", "sft", "preference", "DPO", "SFT"}


VARIADIC = {"info", "warning", "call"}  # of messages, and of a job for a worker
THEIRS = {"create_block_mask", "sdpa_attention_forward", "on_train_batch_end"}  # torch's, transformers', Lightning's


@pytest.mark.parametrize("file", FILES, ids=name)
def test_at_most_four_arguments_go_by_position(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] not in VARIADIC | THEIRS:
            several = any(isinstance(argument, ast.Starred) for argument in node.args)
            assert several or len(node.args) <= 4, f"{file}:{node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("file", FILES, ids=name)
def test_length(file):
    assert len(file.read_text().splitlines()) <= 250
