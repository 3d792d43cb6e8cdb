"""The pages of experiments/, from their README files, with their pictures."""

import os
import re
from pathlib import Path

LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def pages(experiments: Path) -> dict[str, str | bytes]:
    """{file below experiments/: Markdown, or a picture's bytes}. Links to code become the code's path."""

    def page_name(folder: Path) -> str:
        return "index" if folder == experiments else folder.name

    found: dict[str, str | bytes] = {}
    for readme in [experiments / "README.md", *sorted(experiments.glob("*/README.md"))]:
        name = page_name(readme.parent)
        pictures: dict[str, bytes] = {}

        def link(match: re.Match[str], folder: Path = readme.parent, pictures: dict[str, bytes] = pictures) -> str:
            picture, text, target, anchor = match[1], match[2], match[3], match[4] or ""
            if "://" in target:
                return match[0]
            file = Path(os.path.normpath(folder / target))
            if picture:
                pictures[f"{folder.name}/{target}"] = file.read_bytes()
                return f"![{text}]({folder.name}/{target})"
            if file.is_relative_to(experiments) and (file.name == "README.md" or (file / "README.md").is_file()):
                return f"[{text}]({page_name(file.parent if file.name == 'README.md' else file)}.md{anchor})"
            path = file.relative_to(experiments.parent).as_posix()
            return text if text.strip("`") == path else f"{text} (`{path}`)"

        text = LINK.sub(link, readme.read_text(encoding="utf-8"))
        found |= {f"{name}.md": text, **pictures}
    return found
