"""One dialect for all commands: help with examples that are true, one sentence for a mistake, the same exit codes."""

import importlib
import os
import re
import shlex
from argparse import _SubParsersAction

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from xright.errors import DiskFull, UserError
from xright.evaluate import configuration
from xright.machine.command import exits
from xright.run import CONF

COMMANDS = {name: importlib.import_module(f"xright.{name}") for name in ("report", "evaluate", "dashboard")}
COMMANDS |= {name: importlib.import_module(f"xright.{name}.__main__") for name in ("cache", "theory")}


def helps(command):
    """A command's --help, and those of its subcommands: [(arguments, parser)]."""
    parser = COMMANDS[command].parser()
    under = [action.choices for action in parser._actions if isinstance(action, _SubParsersAction)]
    return [((), parser), *(((name,), sub) for choices in under for name, sub in choices.items())]


def commands(examples):
    """The command lines of examples; what each does follows after blanks."""
    return [
        re.split(r"\s{2,}", line.strip())[0] for line in re.sub(r"\\\n\s*", "", examples).splitlines() if line.strip()
    ]


HELPS = [(command, *rest) for command in COMMANDS for rest in helps(command)]


@pytest.mark.parametrize(("command", "sub", "parser"), HELPS, ids=[" ".join((c, *sub)) for c, sub, _ in HELPS])
def test_help_ends_with_examples_that_parse(command, sub, parser, capsys):
    with pytest.raises(SystemExit, match="0"):
        COMMANDS[command].main([*sub, "--help"])
    text, _, examples = capsys.readouterr().out.partition("\nExamples\n")
    assert f"usage: python -m xright.{' '.join((command, *sub))} " in text
    lines = commands(examples)
    assert len(lines) >= 2  # several, in one form
    for line in lines:
        python, m, module, *arguments = shlex.split(line)
        assert (python, m, module) == ("python", "-m", f"xright.{command}")
        asked = COMMANDS[command].parser().parse_args(arguments)
        if command == "evaluate":  # Hydra's part of the line, too
            assert configuration([text for text in asked.arguments if "=" in text])["task"]


def test_examples_of_run_parse():
    footer = yaml.safe_load((CONF / "hydra" / "help" / "xright.yaml").read_text())["footer"]
    lines = [shlex.split(line)[2:] for line in commands(footer.split("Examples")[1].split("\n\n")[0])]
    assert {module for module, *_ in lines} == {"xright.run", "xright.report", "xright.evaluate"}
    for module, *arguments in lines:
        if module == "xright.run":
            given = [text for text in arguments if text not in ("-m", "--cfg", "job")]
            assert OverridesParser.create().parse_overrides(given)
        else:
            COMMANDS[module.removeprefix("xright.")].parser().parse_args(arguments)


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (UserError("a=1 must be 2."), 2, "xright: a=1 must be 2.\n"),
        (DiskFull("there is no room."), 1, "xright: there is no room.\n"),
        (OSError(28, os.strerror(28), "/tmp/x"), 1, "xright: /tmp/x cannot be written: No space left on device"),
        (OSError(30, os.strerror(30), "/tmp/x"), 2, "xright: /tmp/x cannot be written: Read-only file system"),
        (KeyboardInterrupt(), 130, "xright: interrupted (Ctrl-C);"),
        (None, 0, ""),
    ],
)
def test_each_way_to_end_has_its_code_and_a_sentence(raised, code, said, capsys):
    @exits
    def main(arguments):
        if raised is not None:
            raise raised

    assert main([]) == code
    told = capsys.readouterr().err
    assert told.startswith(said)
    assert len(told.splitlines()) == (1 if said else 0)


@pytest.mark.parametrize("late", [BrokenPipeError(32, "Broken pipe"), UserError("no such run."), RuntimeError("late")])
def test_what_cleaning_up_after_ctrl_c_raises_is_ctrl_c(late, capsys):
    @exits
    def main(arguments):
        try:
            raise KeyboardInterrupt
        finally:
            raise late

    assert main([]) == 130
    assert capsys.readouterr().err.startswith("xright: interrupted (Ctrl-C);")


def test_what_no_user_can_mend_is_raised():
    @exits
    def main(arguments):
        raise OSError(5, os.strerror(5))

    with pytest.raises(OSError, match="Input/output error"):
        main([])
