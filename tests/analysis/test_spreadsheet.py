import json

import pandas as pd

from xright.analysis.text.spreadsheet import write_csv


def test_mappings_and_lists_are_json(tmp_path):
    weights, phases = {"dpo": 0.25, "sft": 0.75}, [{"rule": "Mix", "objectives": ["dpo", "sft"]}]
    write_csv(pd.DataFrame({"weights": [weights], "phases": [phases], "gap": [-0.5]}), tmp_path / "runs.csv")
    row = pd.read_csv(tmp_path / "runs.csv").iloc[0]
    assert (json.loads(row["weights"]), json.loads(row["phases"]), row["gap"]) == (weights, phases, -0.5)
