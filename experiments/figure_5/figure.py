"""Fig 5 on the embedded world: python experiments/figure_5/figure.py [runs/embedded runs/embedded_win_rate]"""

import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1]))
from artefact import main
from evaluated import CONTESTS, grid, methods, scores

from xright.analysis.figures.benchmark_figures import win_rate_figure


def draw(rows: pd.DataFrame) -> Figure:
    """Both opponents; means and 95 % intervals over seeds."""
    return win_rate_figure(methods(rows))


if __name__ == "__main__":
    main(Path(__file__).parent, lambda folders: scores(folders, CONTESTS), grid, draw)
