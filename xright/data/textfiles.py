"""Rows of a json or csv file as they are written: a cell that is text stays that text, whatever it looks like.

Nothing is guessed: no column's type from its first rows, no field's place from the number of commas. A line ends with
"\\n" and nothing else. What cannot be read is told with its line, counted from 1 (here by a ValueError).

    >>> list(csv_rows([b"prompt,response\\n", b"007,None\\n"]))
    [{'prompt': '007', 'response': 'None'}]
    >>> list(json_rows([b'{"prompt": "2021-05-01"}\\n', b"\\n", b'{"prompt": null}\\n']))
    [{'prompt': '2021-05-01'}, {'prompt': None}]
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

Row = dict[str, Any]

MOST = 1 << 28  # bytes to which any .gz file may unpack …
RATIO = 100  # … or so many times its size: text is seldom packed to less than a twentieth
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # the only way in which half a character can come


def rows(path: Path, kind: str) -> Iterator[Row]:
    """The rows of a file, one at a time. kind: json or csv."""
    return (csv_rows if kind == "csv" else json_rows)(lines(path))


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, each with its "\\n", unpacked where it is packed by gzip.

    ValueError where that gives more than MOST and RATIO times its size: 800 kB can hold a line that fills any memory.
    """
    with path.open("rb") as file:
        packed = path.suffix.lower() == ".gz" or file.read(2) == b"\x1f\x8b"
    left = max(MOST, RATIO * path.stat().st_size) if packed else -1
    with gzip.open(path) if packed else path.open("rb") as file:
        while line := file.readline(left + 1 if packed else -1):
            left -= len(line)
            if packed and left < 0:
                raise ValueError(
                    f"it unpacks to more than {RATIO} times its size, as text does not; if it is meant to, gunzip it"
                )
            yield line


def csv_rows(found: Iterable[bytes]) -> Iterator[Row]:
    """Rows by the names in the first line; a column without a name (pandas writes one for its index) is numbered."""
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(_decoded(found), strict=True)
    header: list[str] | None = None
    while True:
        first = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            what = "EOF inside string" if "unexpected end" in str(error) else str(error)
            raise ValueError(f"line {first}: {what}; a cell that holds a quote or a comma needs quotes") from None
        if header is None:
            header = _header(cells, first)
        elif cells and len(cells) != len(header):
            counts = f"Expected {len(header)} fields in line {first}, saw {len(cells)}"
            raise ValueError(f"{counts}; a cell that holds a comma needs quotes")
        elif cells:
            yield dict(zip(header, cells, strict=True))


def _header(cells: list[str], line: int) -> list[str]:
    names = [name or f"Unnamed: {place}" for place, name in enumerate(cells)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"line {line} names the column {twice[0]!r} twice; give each its own name")
    if len(names) == 1 and (other := next((mark for mark in ";\t|" if mark in names[0]), None)):
        raise ValueError(f"its columns are set apart by {other!r}; set them apart by commas")
    return names


def json_rows(found: Iterable[bytes]) -> Iterator[Row]:
    """Rows from one object a line, from objects over several lines, or from a list of objects."""
    texts = enumerate(_decoded(found))
    number, first = next(((number, text) for number, text in texts if text.strip()), (0, ""))
    if not first.lstrip().startswith("[") and _complete(first):
        for above, line in chain([(number, first)], texts):
            if line.strip():
                row, end = _object(line, 0, above)
                _blank(line, end, above, "")
                yield row
    else:
        yield from _objects("".join([first, *(text for _, text in texts)]), number)


def _complete(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _objects(text: str, above: int) -> Iterator[Row]:
    """The objects of a text, in a list or not, one after another: no more than the text is in memory."""
    place = _blank(text, 0, above)
    listed = text[place : place + 1] == "["
    if listed:
        place = _blank(text, place + 1, above)
    while place < len(text) if not listed else text[place : place + 1] != "]":
        row, place = _object(text, place, above)
        yield row
        place = _blank(text, place, above, ",]" if listed else None)
        place += listed and text[place] == ","
    if listed:
        _blank(text, place + 1, above, "")


def _blank(text: str, place: int, above: int, then: str | None = None) -> int:
    """The place after white space. then: what must follow there, one of these characters ("": nothing at all)."""
    while place < len(text) and text[place].isspace():
        place += 1
    if then is not None and (text[place : place + 1] not in then or (place < len(text)) != bool(then)):
        raise ValueError(
            f"line {_line(text, place, above)}: JSON parse error: {text[place : place + 20]!r} does not belong there"
        )
    return place


def _object(text: str, place: int, above: int) -> tuple[Row, int]:
    """The object that begins at `place`, and where it ends. above: lines of the file before this text."""
    try:
        found, end = DECODER.raw_decode(text, _blank(text, place, above))
    except json.JSONDecodeError as error:
        raise ValueError(f"line {_line(text, error.pos, above)}: JSON parse error: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        what = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"line {_line(text, place, above)}: JSON parse error: {what}") from None
    if not isinstance(found, dict):
        raise ValueError(f"line {_line(text, place, above)} holds {found!r:.40}, not an object {{column: cell}}")
    if SURROGATE.search(text, place, end):
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            what = "half of a surrogate pair, which is no character"
            raise ValueError(f"line {_line(text, place, above)}: JSON parse error: {what}") from None
    return found, end


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(name for name in names if names.count(name) > 1)!r} comes twice")
    return found


DECODER = json.JSONDecoder(object_pairs_hook=_once)


def _line(text: str, place: int, above: int) -> int:
    return above + text.count("\n", 0, min(place, len(text.rstrip()))) + 1


def _decoded(found: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines as text, without a byte order mark."""
    for number, line in enumerate(found, 1):
        if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise ValueError("line 1: it is UTF-16; save it as UTF-8")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"line {number}: Invalid UTF8 at byte {error.start + 1}; save it as UTF-8") from None
