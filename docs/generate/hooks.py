"""MkDocs' hooks: pages that are made from the repository itself join those that were written."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import api
import configuration
import results
import rows
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
Make = Callable[[], Mapping[str, str | bytes]]  # {file: content}
SECTIONS: dict[str, tuple[str, Make]] = {  # by their folder on the site: heading, what makes its files
    "rows": ("What happens to a row", lambda: rows.pages(ROOT / "xright" / "data")),
    "configuration": ("Configuration", lambda: configuration.pages(ROOT / "conf")),
    "api": ("API", lambda: api.pages(ROOT / "xright")),
    "experiments": ("Experiments", lambda: results.pages(ROOT / "experiments")),
}
_made: dict[str, Mapping[str, str | bytes]] = {}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make the pages, and append them to the navigation."""
    nav: list[Any] = config.nav or []
    for folder, (heading, make) in SECTIONS.items():
        _made[folder] = make()
        nav.append({heading: [f"{folder}/{name}" for name in _made[folder] if name.endswith(".md")]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Hand them over."""
    for folder, pages in _made.items():
        for name, content in pages.items():
            files.append(File.generated(config, f"{folder}/{name}", content=content))
    return files
