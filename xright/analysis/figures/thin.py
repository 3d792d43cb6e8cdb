"""Curves of as many points as a picture can show, and the same picture.

A curve of N points is cut into stretches of equal length; of each stretch, its lowest and its highest point of every
quantity stay, and so do both ends of the curve. On a stretch no wider than a pixel the line through these covers the
same pixels as the line through all (Jugel et al. 2014, "M4: a visualization-oriented time series data aggregation").
"""

import numpy as np
import pandas as pd

POINTS = 1000  # of a curve
ALL = 8000  # of all curves of a panel together, but LEAST of each
LEAST = 60


def kept(values_ND: np.ndarray, most: int = POINTS) -> np.ndarray:
    """Places of the points that stay, in order and at most `most`, of N points with D quantities; NaN is neither lowest
    nor highest.

    >>> kept(np.array([[0.0], [1], [9], [1], [-7], [1], [0], [0]]), most=4)
    array([0, 2, 4, 7])
    """
    n, d = values_ND.shape
    if n <= most:
        return np.arange(n)
    stretches = max(1, (most - 2) // (2 * d))
    size = -(-n // stretches)
    places_SN = np.minimum(np.arange(stretches * size), n - 1).reshape(stretches, size)
    values_SND = values_ND[places_SN]
    low_SD = np.where(np.isnan(values_SND), np.inf, values_SND).argmin(axis=1)
    high_SD = np.where(np.isnan(values_SND), -np.inf, values_SND).argmax(axis=1)
    chosen = np.take_along_axis(places_SN, np.concatenate([low_SD, high_SD], axis=1), axis=1)
    return np.unique(np.concatenate([[0, n - 1], chosen.ravel()]))


def thin_curve(curve: pd.DataFrame) -> pd.DataFrame:
    """A mean curve (`statistics.mean_curve`) at the steps that a drawing of it and of its interval needs."""
    return curve.iloc[kept(curve[["mean", "low", "high"]].to_numpy())]


def share(curves: int) -> int:
    """Points of each of so many curves in one panel.

    >>> share(3), share(20), share(300)
    (1000, 400, 60)
    """
    return max(LEAST, min(POINTS, ALL // max(1, curves)))


def thinned(rows: pd.DataFrame, *columns: str, most: int = POINTS) -> pd.DataFrame:
    """The rows of every run (`folder`), in their order, without those that its curve of these columns does not need."""
    if rows.empty or rows["folder"].value_counts().max() <= most:
        return rows
    values = rows[list(columns)].to_numpy(dtype=float)
    own = rows.groupby("folder", sort=False).indices.values()
    return rows.iloc[np.sort(np.concatenate([places[kept(values[places], most)] for places in own]))]


def end_to_end(rows: pd.DataFrame, *columns: str, most: int = POINTS) -> pd.DataFrame:
    """The rows of all runs as one curve of these columns each, with a row of NaN before every run: one line instead of
    hundreds. Curves of more points than `most` are `thinned`."""
    ordered = thinned(rows, *columns, most=most).sort_values("folder", kind="stable", ignore_index=True)
    starts = np.flatnonzero(ordered["folder"].ne(ordered["folder"].shift()))
    return ordered.reindex(np.insert(np.arange(len(ordered)), starts, -1))
