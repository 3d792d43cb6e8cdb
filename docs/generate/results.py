"""The pages of experiments/, from their README files and the cards beside them, with their pictures."""

import os
import re
from pathlib import Path

LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def pages(experiments: Path) -> dict[str, str | bytes]:
    """{file below experiments/: Markdown, or a picture's bytes}. Links to code become the code's path."""

    def page_name(file: Path) -> str:
        if file.name != "README.md":
            return file.stem
        return "index" if file.parent == experiments else file.parent.name

    found: dict[str, str | bytes] = {}
    for page in [experiments / "README.md", *sorted(experiments.glob("*/*.md"))]:
        name = page_name(page)
        pictures: dict[str, bytes] = {}

        def link(match: re.Match[str], folder: Path = page.parent, pictures: dict[str, bytes] = pictures) -> str:
            picture, text, target, anchor = match[1], match[2], match[3], match[4] or ""
            if "://" in target:
                return match[0]
            file = Path(os.path.normpath(folder / target))
            if picture:
                pictures[f"{folder.name}/{target}"] = file.read_bytes()
                return f"![{text}]({folder.name}/{target})"
            if file.is_dir() and (file / "README.md").is_file():
                file /= "README.md"
            if file.is_relative_to(experiments) and file.suffix == ".md":
                return f"[{text}]({page_name(file)}.md{anchor})"
            path = file.relative_to(experiments.parent).as_posix()
            return text if text.strip("`") == path else f"{text} (`{path}`)"

        text = LINK.sub(link, page.read_text(encoding="utf-8"))
        found |= {f"{name}.md": text, **pictures}
    return found
