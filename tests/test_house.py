"""Who may import whom, what the loop may not know, and how long a file may be."""

import ast
import re
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
    "metrics": set(),
    "machine": {"machine", "errors"},
    "config/build": {"errors"},
    "config/folder": set(),
    "config/naming": {"config.dotted", "machine", "errors"},
    "config/dotted": set(),
    "config/moved": {"config.dotted", "errors"},
    "config/inputs": {"machine", "models", "errors"},
    "config/settings": {"config", "objectives", "strategies", "errors"},
    "cache": {"cache", "machine", "errors"},
    "models": {"models", "cache", "machine", "errors"},
    "data": {"data", "models", "cache", "config", "machine", "errors"},
    "forward": {"forward", "data.rows", "models", "machine", "errors"},
    "objectives": {"objectives", "forward.batch", "forward.logprobs", "errors"},
    "strategies": {"strategies", "errors"},
    "starts": {"starts", "strategies", "models", "errors", "pipeline.stages"},  # of the stages their type
    "optim": {"errors"},
    "tracking": {"tracking", "objectives", "metrics", "config.build", "config.dotted", "machine", "errors"},
    "callbacks": {
        *("callbacks", "tracking", "objectives", "metrics", "evaluation.generate", "data.control"),
        *("machine", "errors"),
    },
    "training/means": {"objectives", "forward.batch"},
    "training/part": {"forward.batch", "training.means"},
    "training/gradients": {"training.means"},
    "training/module": {"objectives", "strategies", "forward.batch", "optim", "training", "tracking.watcher"},
    "training": {
        *(
            "training",
            "strategies",
            "objectives",
            "forward",
            "data",
            "optim",
            "tracking.trajectory",
            "tracking.watcher",
        ),
        *("tracking.trajectory", "tracking.watcher", "callbacks.progress", "models", "config", "machine", "errors"),
    },
    "evaluation": {"evaluation", "data", "models", "config", "machine", "errors"},
    "pipeline": {
        *(
            "pipeline",
            "training",
            "tracking",
            "starts",
            "strategies",
            "objectives",
            "optim",
            "forward",
            "data",
            "evaluation",
        ),
        *("models", "cache", "config", "machine", "errors"),
    },
    "launch": {"launch", "pipeline", "training.fit", "config", "machine", "errors"},
    "profiling/measures": {"forward", "objectives", "models"},
    "profiling/changes": {"profiling.measures"},
    "profiling": {
        *("profiling", "pipeline.certificates", "pipeline.reference", "training.fit", "analysis", "objectives"),
        *("forward", "data", "models", "config", "machine", "errors", "__version__"),
    },
    "theory": {"theory", "strategies", "metrics", "analysis.style", "machine", "errors"},
    "analysis": {"analysis", "metrics", "config.dotted", "machine", "errors"},
}
COMMANDS = {"run", "report", "evaluate", "dashboard", "export", "profile"}  # may import anything below them
# What it may import from outside: the ideas themselves need no framework.
ALONE = {
    "errors": set(),
    "metrics": {"numpy", "moocore"},
    "objectives": {"torch"},
    "strategies": {"numpy", "scipy"},
    "optim": {"torch"},
    "machine/ranks": {"torch"},
    "machine/preemption": set(),
    "training/means": {"torch"},
    "training/gradients": {"numpy", "torch"},
}
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


def rule(file, rules):
    """The rule of a file, or that of its room."""
    return rules.get(name(file), rules.get(name(file).split("/")[0]))


@pytest.mark.parametrize("file", FILES, ids=name)
def test_imports_go_down(file):
    room = name(file).split("/")[0]
    own = {module.removeprefix("xright.") for module in imports(file) if module.split(".")[0] == "xright"}
    outside = {module.split(".")[0] for module in imports(file)} - STANDARD - {"xright"}
    if file.name != "__init__.py" or rule(file, MAY) is not None:
        assert rule(file, MAY) is not None or room in COMMANDS, f"{file} has no room"
    if (allowed := rule(file, MAY)) is not None:
        allowed = allowed | {"__version__"}
        assert not {module for module in own if not any(f"{module}.".startswith(f"{a}.") for a in allowed)}
    if (allowed := rule(file, ALONE)) is not None:
        assert outside <= allowed
    if room in ("analysis", "theory"):
        assert not outside & {"lightning", "hydra", "omegaconf", "transformers", "peft", "wandb"}
    assert not outside & {"tests", "experiments", "notebooks"}
    if room not in ("launch", "evaluate", "profile"):  # of `run` they have where conf/ is
        assert not own & {"pipeline.run", "run"}


def test_every_rule_has_its_room_and_the_map_names_it():
    places = {name(file) for file in FILES} | {name(file).split("/")[0] for file in FILES}
    assert places >= MAY.keys() | ALONE.keys() | COMMANDS  # a rule without a room would hold of nothing
    the_map = ast.get_docstring(ast.parse((ROOT / "xright" / "__init__.py").read_text()))
    rooms = {rule.split("/")[0] for rule in MAY} | COMMANDS
    assert not {room for room in rooms if not re.search(rf"\b{room}\b", the_map)}


@pytest.mark.parametrize(
    "file", [f for f in FILES if name(f).split("/")[0] in ("training", "tracking", "callbacks")], ids=name
)
def test_the_loop_knows_no_strategy(file):
    assert not literals(file) & (STRATEGIES | OBJECTIVES)  # nor an objective: nothing in the loop counts to two


# Where names of objectives and streams may stand: what defines them, and what reads files of before they were data.
NAMED = ("objectives/", "theory/", "data/world", "analysis/read/old_form")


@pytest.mark.parametrize("file", [f for f in FILES if not name(f).startswith(NAMED)], ids=name)
def test_nothing_counts_to_two(file):
    assert not literals(file) & {"dpo", "sft", "preference", "DPO", "SFT"}


VARIADIC = {"info", "warning", "call"}  # of messages, and of a job for a worker
THEIRS = {"create_block_mask", "sdpa_attention_forward"}  # torch's, transformers'


@pytest.mark.parametrize("file", FILES, ids=name)
def test_at_most_four_arguments_go_by_position(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] not in VARIADIC | THEIRS:
            several = any(isinstance(argument, ast.Starred) for argument in node.args)
            assert several or len(node.args) <= 4, f"{file}:{node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("file", FILES, ids=name)
def test_docstrings_are_sentences(file):
    """Four words or fewer are a riddle; where the name says it all, there is no docstring."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docs = {ast.get_docstring(node) for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, documented)}
    assert not {text for text in docs if text and len(text.split()) <= 4}


@pytest.mark.parametrize("file", FILES, ids=name)
def test_length(file):
    assert len(file.read_text().splitlines()) <= 250
