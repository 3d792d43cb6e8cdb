"""The page "What happens to a row", from the code that does it: the docstrings of its modules in the order of a row's
way, and the tables and reasons that the program itself goes by."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docstrings import markdown

# Heading, and the modules whose docstrings tell of it.
WAY = [
    ("Reading", ["tables", "textfiles"]),
    ("Columns", ["kinds", "columns"]),
    ("Conversations", ["messages", "switches"]),
    ("Rows kept for evaluation", ["heldout"]),
    ("The template", ["templates"]),
    ("Control tokens in a row's text", ["control"]),
    ("Tokens, masks, truncation", ["prompts", "tokens"]),
]
INTRO = """# What happens to a row

Made from the code when this site was built. What the program says of every split's rows, in one line, is

```text
sft/train: N of N rows kept; N dropped: REASON; N truncated; columns … (unused: …); message keys … (unused: …); …
```

and the numbers add up: every row is kept, or dropped for one of the [reasons](#reasons) below.
"""


def pages(data: Path) -> dict[str, str]:
    """{"index.md": Markdown}. data: the folder of xright/data."""
    found = {file.stem: ast.parse(file.read_text(encoding="utf-8")) for file in data.glob("*.py")}
    parts = [INTRO]
    for heading, modules in WAY:
        parts.append(f"## {heading}")
        parts += [markdown(ast.get_docstring(found[name]) or "") for name in modules]
        if heading == "Reading":
            parts.append(_formats(constants(found["tables"])))
    return {"index.md": "\n\n".join([*parts, *_reasons(found["counts"], data / "counts.py")]) + "\n"}


def constants(module: ast.Module) -> dict[str, Any]:
    """{name: value} of what a module defines in plain words and numbers."""
    found = {}
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:  # made of others
                continue
    return found


def _formats(values: dict[str, Any]) -> str:
    packed = ", ".join(f"`{suffix}.gz`" for suffix in values["GZIPPED"])
    return f"Files end with {', '.join(f'`{suffix}`' for suffix in values['FORMATS'])} or {packed}."


def _reasons(module: ast.Module, file: Path) -> Iterator[str]:
    """The sentences of counts.py under the comments that stand over them."""
    values, lines = constants(module), file.read_text(encoding="utf-8").splitlines()
    headings = {
        "# Why a row is dropped.": "## Reasons",
        "# What is said of rows that are kept.": "## What else is said",
    }
    under: str | None = None
    for line in lines:
        if line in headings:
            under = headings[line]
            yield under
        elif not line:
            under = None
        elif under and (name := re.match(r"([A-Z_]+) =", line)):
            yield f"- {values[name[1]].replace('{}', '…')}"
