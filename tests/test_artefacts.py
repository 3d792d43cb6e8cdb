"""The cards of the paper's figures and tables: what must be on them, and that they follow from their csv files."""

import re
import runpy
import shutil
import struct
import sys
from pathlib import Path

import pandas as pd
import pytest

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
CARDS = sorted(card.stem for card in (EXPERIMENTS / "paper").glob("*.md") if card.stem != "README")
PAGES = [f"paper/{name}.md" for name in CARDS] + ["costs/README.md"]
SECTIONS = ("# ", "**Claim**", "**Expected**", "**Scale here**", "**Command**", "**Obtained**", "<!-- results:")
ROOMS = (".", "paper", "data_similarity", "costs")
MODULES = {file.stem for room in ROOMS for file in (EXPERIMENTS / room).glob("*.py")}


def readme(page, folder=EXPERIMENTS):
    return (folder / page).read_text(encoding="utf-8")


def pictures(page):
    """Those that it shows."""
    return re.findall(r"!\[[^\]]*\]\(([^)]*)\)", readme(page))


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of experiments/, without pictures, whose programs and modules are not those of the checkout."""
    place = tmp_path_factory.mktemp("copy") / "experiments"
    shutil.copytree(EXPERIMENTS, place, ignore=shutil.ignore_patterns("*.png", "__pycache__"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", sys.path[:])  # a program adds the folders of what it shares
        for module in MODULES:
            patch.delitem(sys.modules, module, raising=False)
        yield place
        for module in MODULES:
            sys.modules.pop(module, None)


@pytest.fixture(scope="module")
def drawing(copy):
    """The copy's drawing program, as a module's names."""
    return runpy.run_path(str(copy / "paper" / "draw.py"))


@pytest.fixture(scope="module")
def drawn(copy, drawing):
    """The copy, after both programs."""
    drawing["main"]([])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["figure.py"])
        runpy.run_path(str(copy / "costs" / "figure.py"), run_name="__main__")
    return copy


def test_every_card_is_in_the_program_and_in_the_index(drawing):
    assert len(CARDS) > 10
    assert sorted(drawing["ENTRIES"]) == CARDS
    index = readme("paper/README.md")
    assert set(re.findall(r"\((\w+)\.md\)", index)) == set(CARDS)
    figures = " ".join(re.findall(r"^\| figs? ([\d, ]+)", index, re.MULTILINE))
    assert sorted(map(int, re.findall(r"\d+", figures))) == list(range(1, 15))  # the paper has 14


def test_every_csv_file_is_read_and_can_be_written_again(drawing):
    read = {entry.csv for entry in drawing["ENTRIES"].values()}
    files = {f"csv/{file.name}" for file in (EXPERIMENTS / "paper" / "csv").iterdir()}
    assert files == drawing["SOURCES"].keys() == read - {drawing["BENCHMARKS"]}
    for name in read:
        file = EXPERIMENTS / "paper" / name
        assert len(pd.read_csv(file)) > 0
        assert file.stat().st_size < 300_000


def test_no_row_is_kept_twice():
    lines = [
        line
        for file in [*EXPERIMENTS.glob("paper/csv/*.csv"), EXPERIMENTS / "embedded_benchmarks" / "results.csv"]
        for line in file.read_text(encoding="utf-8").splitlines()[1:]
        if file.name != "similarity.csv"  # pairs of texts without a name
    ]
    assert len(lines) == len(set(lines)) > 5000


@pytest.mark.parametrize("page", PAGES)
def test_the_page_says_what_a_page_must(page):
    lines = readme(page).splitlines()
    places = [next((place for place, line in enumerate(lines) if line.startswith(start)), None) for start in SECTIONS]
    assert None not in places, dict(zip(SECTIONS, places, strict=True))
    assert places == sorted(places)
    assert places[0] == 0
    assert "TODO" not in readme(page)
    folder, name = page.removesuffix(".md").split("/")
    command = "experiments/costs/figure.py" if folder == "costs" else f"experiments/paper/draw.py {name}"
    assert re.search(rf"python {command}[ `]", readme(page))


@pytest.mark.parametrize("page", PAGES)
def test_the_page_follows_from_its_rows(page, drawn):
    assert readme(page, drawn) == readme(page)
    folder = Path(page).parent
    own = "figure.png" if folder.name == "costs" else f"{Path(page).stem}.png"
    assert pictures(page) == ([own] if (drawn / folder / own).exists() else [])
    for picture in pictures(page):
        assert size(drawn / folder / picture) == size(EXPERIMENTS / folder / picture)
        assert (EXPERIMENTS / folder / picture).stat().st_size < 150_000


def test_the_runs_at_hand_come_first(drawing, copy, tmp_path, monkeypatch, capsys):
    """`--read` writes a csv file of what it finds, and leaves it where there is nothing."""
    monkeypatch.chdir(tmp_path)
    file = copy / "paper" / "csv" / "similarity.csv"
    before = file.read_bytes()
    drawing["main"](["figure_7", "--read"])
    assert "csv/similarity.csv stays: there is no report/data_similarity/pairs-tokens.csv" in capsys.readouterr().out
    assert file.read_bytes() == before
    own = pd.read_csv(file).head(3).assign(preference=range(3), sft=0)
    own.to_csv(tmp_path / "pairs-tokens.csv", index=False)
    drawing["main"](["figure_7", "--read", str(tmp_path)])
    assert "cosine (tokens), 3 pairs" in readme("paper/figure_7.md", copy)
    assert len(pd.read_csv(file)) == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["figure_9"], "there is no 'figure_9'; names are figure_1, figure_2"),
        (["figure_1", "figure_8", "--read", "runs"], "--read FOLDER wants the name of one figure or table"),
        (["figure_4", "--read", "runs"], "--read FOLDER wants the name of one figure or table"),
    ],
)
def test_what_cannot_be_drawn_is_told(drawing, capsys, arguments, sentence):
    with pytest.raises(SystemExit) as ended:
        drawing["main"](arguments)
    assert ended.value.code == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


def size(picture):
    """Width and height in pixels, from the picture's head."""
    head = picture.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


@pytest.mark.parametrize("file", sorted(EXPERIMENTS.rglob("*.csv")), ids=lambda file: file.name)
def test_no_table_names_a_place_of_the_machine_that_made_it(file):
    rows = pd.read_csv(file, dtype=str)
    assert not [name for name in rows if re.search(r"(^|\.)/", name)]
    if file.name == "results.csv":  # answers and prompts of other tables may speak of folders
        assert not rows.apply(lambda own: own.str.contains(r"(?:^|=|\[)/\w", na=False)).any().any()
