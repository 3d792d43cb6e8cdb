"""Fig 4 on the embedded world: python experiments/figure_4/figure.py [runs/embedded]"""

import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1]))
from artefact import main
from evaluated import BENCHMARKS, grid, methods, scores

from xright.analysis.figures.radar_figure import radar_figure


def draw(rows: pd.DataFrame) -> Figure:
    """One axis per benchmark, means over seeds."""
    return radar_figure(methods(rows))


if __name__ == "__main__":
    main(Path(__file__).parent, lambda folders: scores(folders, BENCHMARKS), grid, draw)
