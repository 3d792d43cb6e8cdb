from xright.analysis.read.runs import read_runs
from xright.analysis.text.tables import markdown_table, per_method, per_run


def test_markdown_has_one_line_per_method_and_lambda(make, tmp_path):
    make("alright", 0.477, 0.073, lam=0.25)
    make("mix", 0.387, 0.093, lam=0.25, label="Mix | λ=0.25")
    assert markdown_table(read_runs([tmp_path])).splitlines() == [
        "| method | runs | f_DPO | f_SFT | DPO gap | SFT gap | ideal distance | train s | ms per step |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        # gaps to (0.326, 0.026): 0.061 and 0.067, together 0.0906
        "| Mix \\| λ=0.25 | 1 | 0.387 | 0.093 | 0.061 | 0.067 | 0.091 | 2.4 | 60.0 |",
        "| ALRIGHT λ=0.25 | 1 | 0.477 | 0.073 | 0.151 | 0.047 | 0.158 | 1.2 | 30.0 |",
    ]


def test_several_seeds_give_mean_and_interval(make, tmp_path):
    # mean 0.5, s = sqrt((0.01 + 0 + 0.01) / 2) = 0.1; t = 4.3027 for three: 4.3027 · 0.1 / sqrt(3) = 0.248
    for seed, f_dpo in enumerate((0.4, 0.5, 0.6)):
        make("mix", f_dpo, 0.1, lam=0.5, seed=seed)
    grid = per_method(read_runs([tmp_path]))
    row = dict(zip(grid.headings, grid.rows[0], strict=True))
    assert row["runs"] == "3"
    assert row["f_DPO"] == "0.500 ± 0.248"
    assert row["f_SFT"] == "0.100 ± 0.000"


def test_every_run_has_its_row_with_negative_and_missing_values(make, tmp_path):
    make("mix", 0.309, 0.1, lam=0.75, behaviour={"exact_match": 0.873})  # gap 0.309 − 0.326
    make("model_average", 2.06, 0.043, lam=0.5)
    grid = per_run(read_runs([tmp_path]))
    mix, average = (dict(zip(grid.headings, row, strict=True)) for row in grid.rows)
    assert mix["DPO gap"] == "−0.017"
    assert mix["exact match"] == "87%"
    assert average["exact match"] == "–"
    assert average["ms per step"] == "–"
    assert mix["stopped by"] == "steps"
    assert "setting" not in grid.headings  # all the same
    assert grid.words == 2  # method, seed
