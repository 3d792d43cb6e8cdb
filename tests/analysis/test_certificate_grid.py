"""The table of certificates, as the page shows it."""

from xright.analysis.read.runs import read_runs
from xright.analysis.report import write_report
from xright.analysis.text.certificates import HEADINGS, certificate_grid

MET = {"epsilon": 0.1, "gap": 0.03, "lower": -0.004, "upper": 0.07, "rows": 160, "prompts": 139, "verdict": "met"}
FEW = MET | {"gap": 0.2, "lower": None, "upper": None, "rows": 12, "prompts": 12, "verdict": "undecided"}


def test_a_row_per_certificate(make):
    make("mix", 0.4, 0.1, lam=0.5)  # has none
    make("constrained", 0.356, 0.226, seed=1, certificate={"dpo": MET | {"paired": True}, "sft": FEW})
    runs = read_runs([make("alright", 0.4, 0.1, lam=0.5).parent])
    grid = certificate_grid(runs)
    assert grid.headings == HEADINGS
    assert [row[1:] for row in grid.rows] == [
        ["DPO", "met", "1", "0.100", "0.0300", "−0.0040", "0.0700", "160"],
        ["SFT", "undecided", "1", "0.100", "0.200", "–", "–", "12"],
    ]


def test_the_page_shows_it_where_there_is_one(make, tmp_path):
    folder = make("mix", 0.4, 0.1, lam=0.5).parent
    assert "Certificates" not in write_report([folder], tmp_path / "report").read_text()
    make("constrained", 0.356, 0.226, certificate={"dpo": MET})
    page = write_report([folder], tmp_path / "report").read_text()
    assert "<h3>Certificates</h3>" in page
    assert "<td>met</td>" in page


def test_a_certificate_without_a_verdict_is_a_damaged_file(make):
    make("mix", 0.4, 0.1, lam=0.5)
    make("constrained", 0.356, 0.226, certificate={"dpo": MET | {"upper": "low"}})
    runs = read_runs([make("alright", 0.4, 0.1, lam=0.5).parent])
    (why,) = runs.left_out.values()
    assert "certificate.dpo.upper='low'" in why
