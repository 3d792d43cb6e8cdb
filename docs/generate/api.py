"""The API pages: one per room of the package, each module with its docstring; mkdocstrings fills them in."""

import ast
from pathlib import Path

DEFINES = (ast.FunctionDef, ast.ClassDef)
TOP = "top"  # the page of the modules that stand in no room


def pages(package: Path) -> dict[str, str]:
    """{page below api/: Markdown}, the overview first."""
    rooms: dict[str, list[str]] = {TOP: []}
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package).with_suffix("").parts
        if parts[0] != "conf" and parts[-1] not in ("__init__", "__main__"):
            rooms.setdefault(parts[0] if len(parts) > 1 else TOP, []).append(".".join((package.name, *parts)))
    return {
        "index.md": _overview(package, rooms),
        **{f"{room}.md": _room(package, room, rooms[room]) for room in rooms},
    }


def _overview(package: Path, rooms: dict[str, list[str]]) -> str:
    links = [
        f"- [`{package.name}.{room}`]({room}.md): {', '.join(_link(module) for module in modules)}"
        for room, modules in rooms.items()
        if room != TOP
    ]
    top = f"- [`{package.name}`]({TOP}.md): {', '.join(map(_link, rooms[TOP]))}"
    return "\n".join(["# API", "", "Made from the docstrings. Each function shows its source.", "", top, *links, ""])


def _room(package: Path, room: str, modules: list[str]) -> str:
    name = package.name if room == TOP else f"{package.name}.{room}"
    head = f"# `{name}`\n"
    init = package / ("" if room == TOP else room) / "__init__.py"  # which says what the room is
    if init.is_file():
        own = [n.name for n in ast.parse(init.read_text(encoding="utf-8")).body if isinstance(n, DEFINES)]
        head += f"\n::: {name}\n    options: {{members: {own}, show_root_heading: false, show_root_toc_entry: false}}\n"
    return "\n".join([head, *(f"::: {module}\n" for module in modules)])


def _link(module: str) -> str:
    return f"[{module.split('.')[-1]}][{module}]"
