"""From measured steps to numbers of a run, and from these to tables with intervals over seeds."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
from products import CHANGES, METRICS, PREDICTIONS

from xright.analysis.numbers.statistics import mean_interval
from xright.analysis.text.seed_tables import with_interval
from xright.analysis.text.tables import Grid

SETTING, RUN = ["setting", "momentum"], ["setting", "momentum", "rule", "metric", "seed"]
ROUNDING = 1e-6  # nats by which fp32 may raise a loss
ORTHOGONAL = -1e-5  # a cosine that a projection to 0 leaves, in fp32
OWN, HELD = CHANGES


def fitted(predicted: pd.Series, change: pd.Series) -> float:
    """The one factor that makes the prediction as good as it can be, by least squares."""
    return float(predicted @ change / (predicted @ predicted))


def explained(predicted: pd.Series, change: pd.Series, factor: float) -> float:
    """R²: 1 − Σ (change − factor · predicted)² / Σ (change − its mean)²; below 0 where the mean would be better."""
    return float(1 - ((change - factor * predicted) ** 2).sum() / ((change - change.mean()) ** 2).sum())


def quality(steps: pd.DataFrame) -> pd.DataFrame:
    """A row for each run, objective and prediction: how well it tells each change."""
    return pd.DataFrame(_qualities(steps))


def _qualities(steps: pd.DataFrame) -> Iterator[dict]:
    for key, own in steps.groupby([*RUN, "objective"], sort=False):
        for prediction in PREDICTIONS:
            row = dict(zip([*RUN, "objective", "prediction"], [*key, prediction], strict=True))
            for change in CHANGES:
                x, y = own[prediction], own[change]
                factor = fitted(x, y)
                row |= {
                    f"factor, {change}": factor, f"R², {change}": explained(x, y, factor),
                    f"r, {change}": x.corr(y), f"rank r, {change}": x.corr(y, method="spearman"),
                    f"sign, {change}": ((x > 0) == (y > ROUNDING)).mean(),
                }  # fmt: skip
            yield row | {"R² as it is": explained(own[prediction], own[OWN], 1.0)}


def promises(steps: pd.DataFrame) -> pd.DataFrame:
    """A row for each run: shares of its steps.

    A loss is promised not to rise where the given d has no negative product with its gradient, in the metric of the
    rule (Mix: euclid). broken: a promised loss rose; foreseen: to first order of the movement, too.
    """
    return pd.DataFrame(_promises(steps))


def _promises(steps: pd.DataFrame) -> Iterator[dict]:
    for key, own in steps.groupby(RUN, sort=False):
        row = dict(zip(RUN, key, strict=True))
        metric = row["metric"] if row["metric"] in METRICS else METRICS[0]
        promised = own[f"aligned {metric}"] >= ORTHOGONAL
        broken = promised & (own[OWN] > ROUNDING)
        by_step = own["step"]
        row |= {f"conflict, {of}": _any(own[f"conflict {of}"] < 0, by_step) for of in METRICS}
        row |= {f"cosine, {of}": own[f"conflict {of}"].mean() for of in METRICS}
        differ = (own["conflict euclid"] < 0) != (own["conflict adam"] < 0)
        yield row | {
            "signs differ": _any(differ, by_step),
            "stale": (own["adam"].abs() > 2 * own["no momentum"].abs()).mean(),
            "promised": promised.mean(),
            "broken": _any(broken, by_step),
            "foreseen": _any(broken & (own["moved"] > 0), by_step),
            "broken, held-out": _any(promised & (own[HELD] > ROUNDING), by_step),
            "rise": own[OWN][broken].mean() / own[OWN].abs().mean() if broken.any() else np.nan,
            "fresh": own["fresh"].mean(),
        }


def _any(found: pd.Series, by_step: pd.Series) -> float:
    """Share of steps in which it is so for any objective."""
    return float(found.groupby(by_step).any().mean())


def table(rows: pd.DataFrame, by: Sequence[str], columns: dict[str, str]) -> Grid:
    """A line for each group: {column: heading} as mean ± 95 % over seeds of a seed's mean."""
    lines = []
    for key, own in rows.groupby(list(by), sort=False):
        seeds = own.groupby("seed")[list(columns)].mean()
        lines.append([*map(str, key), *(with_interval(mean_interval(seeds[column])) for column in columns)])
    return Grid([*by, *columns.values()], lines, len(by))


def quality_grid(found: pd.DataFrame) -> Grid:
    """How well each prediction tells the change, over all rules and objectives of a setting."""
    columns = {
        f"R², {OWN}": "R²", f"rank r, {OWN}": "rank correlation", f"sign, {OWN}": "rises and falls told apart",
        f"R², {HELD}": "R², held-out", f"rank r, {HELD}": "rank correlation, held-out",
    }  # fmt: skip
    return table(found, [*SETTING, "prediction"], columns)


def conflict_grid(found: pd.DataFrame) -> Grid:
    """How often the objectives are in conflict, by metric."""
    columns = {f"conflict, {metric}": metric for metric in METRICS} | {"cosine, euclid": "mean cosine, euclid"}
    columns |= {
        "signs differ": "euclid and adam differ",
        "stale": "adam more than twice no momentum",
        "fresh": "cosine of Δθ with AdamW's step without momentum",
    }
    return table(found, SETTING, columns)


def promise_grid(found: pd.DataFrame) -> Grid:
    """What became of each rule's promise."""
    columns = {
        "promised": "losses promised", "broken": "steps that broke it", "foreseen": "… by Δθ, to first order",
        "rise": "rise / mean change", "broken, held-out": "steps with a rise, held-out",
    }  # fmt: skip
    return table(found, [*SETTING, "rule", "metric"], columns)


def metrics_grid(promises: pd.DataFrame, ends: pd.DataFrame) -> Grid:
    """metric=adam minus metric=euclid, paired by seed: steps that broke the promise, held-out losses at the end."""
    columns = ["broken", *(column for column in ends if column.startswith("f_"))]
    rows = promises[promises["metric"] != "–"].merge(ends, how="left", on=RUN)
    lines = []
    for key, own in rows.groupby([*SETTING, "rule"], sort=False):
        wide = own.pivot(index="seed", columns="metric", values=columns)
        over = [wide[column]["adam"] - wide[column]["euclid"] for column in columns]
        lines.append([*map(str, key), *(with_interval(mean_interval(values)) for values in over)])
    return Grid([*SETTING, "rule", "steps that broke it", *columns[1:]], lines, len(SETTING) + 1)


def concat(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """One below the other, numbered anew."""
    return pd.concat(parts, ignore_index=True)
