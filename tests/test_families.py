"""All causal families of the installed transformers, built small: computed rightly, or refused with a sentence."""

import pytest
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tests.beside import EXPERIMENTS, importable

FOLDER = EXPERIMENTS / "families"


@pytest.fixture(scope="module")
def sweep():
    with importable("families"):
        import sweep

        yield sweep


@pytest.fixture(scope="module")
def stored(sweep):
    """{family: its line of the table}."""
    return {line["family"]: line for line in sweep.read()}


def test_the_table_is_of_all_families_and_in_the_documentation(sweep, stored):
    assert list(stored) == list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert sweep.table(stored.values()) in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_what_the_table_says_is_right(stored):
    """Log-probs and gradients to rounding; no traceback; most families can be built, and most of these packed."""
    outcomes = [line["outcome"] for line in stored.values()]
    assert set(outcomes) == {"packed", "padded", "refused", "not built"}
    assert outcomes.count("not built") < 0.1 * len(outcomes)
    assert outcomes.count("packed") > 80
    for line in stored.values():
        assert "traceback" not in line["lora"]
        assert (line["why"] == "") == (line["outcome"] == "packed")
        if line["outcome"] in ("packed", "padded"):
            assert float(line["logps"]) < 1e-6, line
            assert float(line["gradients"]) < 1e-5, line


SOME = ["llama", "gemma2", "mixtral", "deepseek_v32", "bert", "lfm2", "mpt", "llama4_text"]


def check(sweep, stored, families):
    for line in sweep.sweep(families):
        known = stored[line["family"]]
        assert {name: line[name] for name in ("outcome", "why", "lora")} == {
            name: known[name] for name in ("outcome", "why", "lora")
        }
        if line["logps"]:
            assert float(line["logps"]) < 1e-6, line
            assert float(line["gradients"]) < 1e-5, line


def test_a_few_families_are_as_the_table_says(sweep, stored):
    check(sweep, stored, SOME)


@pytest.mark.slow
def test_every_family_is_as_the_table_says(sweep, stored):
    check(sweep, stored, list(stored))
