from xright.tracking.csvfile import CsvFile


def test_missing_and_none_are_empty(tmp_path):
    file = CsvFile(tmp_path / "a.csv", ("step", "x", "y"))
    assert file.read() == []
    file.start()
    assert file.read() == []
    file.add([{"step": 0, "x": 1.5, "y": "a,b"}, {"step": 1, "x": None}])
    assert file.read() == [{"step": "0", "x": "1.5", "y": "a,b"}, {"step": "1", "x": "", "y": ""}]
    assert (tmp_path / "a.csv").read_text().splitlines()[0] == "step,x,y"


def test_a_beginning_forgets_what_was_there(tmp_path):
    (tmp_path / "a.csv").write_text("ste")
    file = CsvFile(tmp_path / "a.csv", ("step", "x"))
    file.start()
    file.add([{"step": 0, "x": 1}])
    assert file.read() == [{"step": "0", "x": "1"}]


def test_rows_after_the_checkpoint_are_dropped(tmp_path):
    file = CsvFile(tmp_path / "a.csv", ("step", "x"))
    file.start()
    file.add({"step": step, "x": step} for step in range(9))
    mark = file.mark
    file.add({"step": step, "x": step} for step in range(9, 12))
    again = CsvFile(tmp_path / "a.csv", ("step", "x"))
    again.go_on(mark)
    again.start()
    assert [row["step"] for row in again.read()] == [str(step) for step in range(9)]
    again.add([{"step": 9, "x": "new"}])
    assert again.read()[-1] == {"step": "9", "x": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
