from xright.callbacks.csvfile import CsvFile


def test_missing_and_none_are_empty(tmp_path):
    file = CsvFile(tmp_path / "a.csv", ("step", "x", "y"))
    assert file.read() == []
    file.start(0)
    assert file.read() == []
    file.append([{"step": 0, "x": 1.5, "y": "a,b"}, {"step": 1, "x": None}])
    assert file.read() == [{"step": "0", "x": "1.5", "y": "a,b"}, {"step": "1", "x": "", "y": ""}]
    assert (tmp_path / "a.csv").read_text().splitlines()[0] == "step,x,y"


def test_start_drops_what_comes_again(tmp_path):
    file = CsvFile(tmp_path / "a.csv", ("step", "x"))
    file.start(0)
    file.append({"step": step, "x": step} for step in range(12))
    file.start(9)  # also 10 and 11, which sort before 9 as text
    assert [row["step"] for row in file.read()] == [str(step) for step in range(9)]
    file.append([{"step": 9, "x": "new"}])
    assert file.read()[-1] == {"step": "9", "x": "new"}
    file.start(0)
    assert file.read() == []
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_row_cut_off_by_a_kill_is_dropped(tmp_path):
    file = CsvFile(tmp_path / "a.csv", ("step", "x"))
    file.start(0)
    file.append([{"step": 0, "x": 1}, {"step": 12, "x": 2}])
    (tmp_path / "a.csv").write_bytes((tmp_path / "a.csv").read_bytes()[: -len("2,2\r\n")])  # ends in "1" of "12"
    file.start(12)
    assert file.read() == [{"step": "0", "x": "1"}]


def test_a_header_cut_off_begins_anew(tmp_path):
    (tmp_path / "a.csv").write_text("ste")
    file = CsvFile(tmp_path / "a.csv", ("step", "x"))
    file.start(0)
    file.append([{"step": 0, "x": 1}])
    assert file.read() == [{"step": "0", "x": "1"}]
