"""For each preference row the SFT row whose input is the closest, and how alike their responses are."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, issparse

from xright.analysis.text.tables import Grid

MEMORY = 256  # MiB for cosines at a time: those of 24,000 × 8,000 rows together would take 1.5 GB
QUANTILES = {"5%": 0.05, "25%": 0.25, "75%": 0.75, "95%": 0.95}
SAME = 1 - 1e-5  # cosines of equal vectors are 1 but for rounding
COLUMNS = {  # column of the pairs: in words
    "input_similarity": "closest inputs",
    "response_similarity": "their responses",
    "random_response_similarity": "responses of random pairs",
}


class Side(NamedTuple):
    """One data set's rows: unit vectors (or zeros) of their inputs and of their responses, in the same order."""

    inputs: csr_matrix | np.ndarray
    responses: csr_matrix | np.ndarray


def pair_up(sft: Side, preference: Side, seed: int = 0) -> pd.DataFrame:
    """One line per preference row: `preference` and `sft` (row numbers from 0), `input_similarity` (the highest cosine
    with any SFT input; the first of equals), `response_similarity` (cosine of the responses of that pair), and for
    comparison `random_response_similarity` (of its response and that of an SFT row drawn at random).
    """
    from sklearn import config_context  # which the program that draws these pairs again does not need
    from sklearn.metrics import pairwise_distances_chunked

    with config_context(working_memory=MEMORY):
        blocks = pairwise_distances_chunked(preference.inputs, sft.inputs, metric="cosine", reduce_func=_closest)
        closest, distance = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    drawn = np.random.default_rng(seed).integers(sft.inputs.shape[0], size=len(closest))
    columns = [1 - distance, *(_cosines(sft.responses[rows], preference.responses) for rows in (closest, drawn))]
    found = dict(zip(COLUMNS, columns, strict=True))
    return pd.DataFrame({"preference": np.arange(len(closest)), "sft": closest, **found}).clip(lower=-1)


def read(folders: Sequence[Path]) -> pd.DataFrame:
    """The similarities of token counts of every pair, from the folder that `similarity.py` wrote."""
    (folder,) = folders
    return pd.read_csv(folder / "pairs-tokens.csv")[list(COLUMNS)]


def summary(pairs: pd.DataFrame) -> pd.DataFrame:
    """A line per similarity: mean, median and quantiles over pairs."""
    found = {"mean": pairs[list(COLUMNS)].mean(), "median": pairs[list(COLUMNS)].median()}
    return pd.DataFrame(found | {name: pairs[list(COLUMNS)].quantile(q) for name, q in QUANTILES.items()})


def rank_correlation(pairs: pd.DataFrame) -> float:
    """Spearman's, of the similarity of inputs and that of responses."""
    return float(pairs["input_similarity"].corr(pairs["response_similarity"], method="spearman"))


def same_inputs(pairs: pd.DataFrame) -> int:
    """How many preference rows have the input of an SFT row."""
    return int((pairs["input_similarity"] >= SAME).sum())


def table(pairs: pd.DataFrame, measure: str = "tokens") -> Grid:
    """The summary and the rank correlation for people."""
    found = summary(pairs)
    lines = [[words, *map("{:.3f}".format, found.loc[column])] for column, words in COLUMNS.items()]
    lines.append(["rank correlation of inputs and responses", f"{rank_correlation(pairs):.3f}", *["–"] * 5])
    return Grid([f"cosine ({measure}), {len(pairs):,} pairs", *found], lines, 1)


def _closest(distances_MN: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and distances of the lowest in each row; rounded, for sums in another order make equals differ."""
    return distances_MN.round(9).argmin(axis=1), distances_MN.min(axis=1)


def _cosines(one: csr_matrix | np.ndarray, other: csr_matrix | np.ndarray) -> np.ndarray:
    """Of row i with row i."""
    return np.asarray((one.multiply(other) if issparse(one) else one * other).sum(axis=1)).ravel()
