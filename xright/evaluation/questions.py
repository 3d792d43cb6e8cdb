"""The prompts of a task: rows of a file (jsonl, json, csv, parquet; gz) or of a dataset of the hub.

What a row tells: `prompt`, and where there are such columns `id` (else its number), `label` and `category`; a task may
want more of it. A column of another name is given as {name: column}.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xright.data.tables import SUFFIXES, read
from xright.errors import UserError
from xright.evaluation.answers import Answer, Prompt
from xright.machine import files

Cells = Mapping[str, Any]


@dataclass(frozen=True)
class Questions:
    """path: a file, as it stands or below the folder `data_dir`; or a dataset of the hub, with its split and subset.
    columns: {name: column}. only and without: {column: values} of rows to take or leave out, such as
    {prompt_style: [base]}. limit: so many rows, evenly spread over all (the first ones would often be of one kind);
    None: all.
    """

    path: str
    data_dir: str | None = None
    columns: Mapping[str, str] | None = None
    only: Mapping[str, Sequence[Any]] | None = None
    without: Mapping[str, Sequence[Any]] | None = None
    split: str = "train"
    subset: str | None = None
    limit: int | None = None

    @property
    def place(self) -> str:
        """The file, or the dataset's name; UserError for a file that is in neither place."""
        if not self.path:
            raise UserError("prompts.path is not given; name a file (jsonl, json, csv, parquet) or a hub dataset.")
        places = [Path(self.path), *([Path(self.data_dir) / self.path] if self.data_dir else [])]
        found = next((place for place in places if place.exists()), None)
        if found is None and self.path.endswith(tuple(SUFFIXES)):
            where = " and ".join(repr(str(place)) for place in places)
            remedy = (
                "give another path" if self.data_dir else "set XRIGHT_DATA (or data_dir=) to the folder that holds them"
            )
            raise UserError(f"there are no prompts at {where}; {remedy}.")
        return str(found or self.path)

    def files(self) -> dict[str, str | Path]:
        """{"prompts": the file}, or nothing where they are on the hub; UserError where it is not there."""
        return {"prompts": self.place} if Path(self.place).is_file() else {}

    def prompts(self, needs: Sequence[str] = (), takes: Sequence[str] = ("label", "category")) -> list[Prompt]:
        """Return the prompts in the order of the rows. needs: names that must have a column besides prompt; takes: that
        may have one; both come as the prompt's `about`.

        UserError for a missing file or column, an empty prompt or one of several turns, an id that comes twice, and if
        no row is left.
        """
        table = read(self.place, self.split, self.subset).dataset
        names = self._names(table.column_names, ["prompt", *needs], ["id", *takes])
        for column, values in (*(self.only or {}).items(), *(self.without or {}).items()):
            if absent := [value for value in values if value not in table[column]]:
                raise UserError(f"no row of {self.path!r} has {absent} in column {column!r}; mend only= or without=.")
        rows = [(number, row) for number, row in enumerate(table) if self._wanted(row)]
        if self.limit is not None:
            if self.limit < 1:
                raise UserError(f"limit={self.limit!r} of {self.path!r} must be at least 1, or null for all its rows.")
            count = min(self.limit, len(rows))
            rows = [rows[index * len(rows) // count] for index in range(count)]
        if not rows:
            raise UserError(f"no prompt of {self.path!r} is left by only={self.only} and without={self.without}.")
        found = [self._prompt(number, row, names) for number, row in rows]
        if len({prompt.id for prompt in found}) < len(found):
            raise UserError(f"the ids in column {names['id']!r} of {self.path!r} come twice; map id to another column.")
        return found

    def _names(self, columns: Sequence[str], needs: Sequence[str], takes: Sequence[str]) -> dict[str, str]:
        """{name: column}, those of `takes` where there is one."""
        mapped = self.columns or {}
        names = {name: mapped.get(name, name) for name in (*needs, *takes)}
        unknown = [name for name in mapped if name not in names]
        missing = [name for name in needs if names[name] not in columns]
        missing += [name for name in takes if name in mapped and names[name] not in columns]
        filters = [column for column in (*(self.only or ()), *(self.without or ())) if column not in columns]
        if unknown or missing or filters:
            wanted = ", ".join(f"{name} (column {names[name]!r})" for name in missing) or ", ".join(unknown + filters)
            raise UserError(
                f"{self.path!r} has the columns {', '.join(columns)}, and none for {wanted}; map what is there with "
                f"columns={{name: column}}, for the names {', '.join(names)}."
            )
        return {name: column for name, column in names.items() if column in columns}

    def _wanted(self, row: Cells) -> bool:
        taken = all(row[column] in values for column, values in (self.only or {}).items())
        return taken and not any(row[column] in values for column, values in (self.without or {}).items())

    def _prompt(self, number: int, row: Cells, names: Mapping[str, str]) -> Prompt:
        text = row[names["prompt"]]
        if isinstance(text, list) and len(text) == 1:  # SORRY-Bench: a list of turns
            text = text[0]
        if not isinstance(text, str) or not text.strip():
            what = "is empty" if not text or isinstance(text, str) else f"is not one text, but {text!r:.60}"
            raise UserError(f"the prompt in row {number} of {self.path!r} {what}; mend it, or leave the row out.")
        about = {name: row[column] for name, column in names.items() if name not in ("id", "prompt")}
        return Prompt(str(row[names["id"]]) if "id" in names else str(number), text, about)


def keep(file: Path, prompts: Sequence[Prompt], given: Sequence[Answer], **columns: Sequence[Any]) -> None:
    """Write what came of the prompts, a line each: id, what the row told, prompt, answer and the columns given."""
    lines = []
    for prompt, answer, *cells in zip(prompts, given, *columns.values(), strict=True):
        told = {"id": prompt.id, **prompt.about, "prompt": prompt.text, "answer": answer.answer}
        lines.append(json.dumps({**told, **dict(zip(columns, cells, strict=True))}, ensure_ascii=False) + "\n")
    files.write(file, "".join(lines))
