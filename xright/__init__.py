"""xright: joint post-training of language models on a table of objectives (arXiv 2410.15483).

The way of a row, room by room; each room's first lines say more:

    data          files -> canonical rows -> tokens -> the rows of a step
    forward       a step's rows -> a batch without padding -> log-probs
    objectives    a batch -> the sum of an objective's losses
    strategies    which objectives a step trains, with which weights; a schedule of such rules
    starts        the model that a run begins with
    training      the joint step, and a training of such steps; `optim`: its one optimizer
    tracking      what a run writes down; `callbacks`: whatever merely watches
    pipeline      one run: checks, shared stages, training, its folder
    launch        who starts runs: one, a sweep, ranks, SLURM
    analysis      finished runs -> numbers, claims, figures, a page; `metrics`: gaps, ideal distance, hypervolume
    evaluation    finished models -> benchmarks, refusals, win rates
    profiling     checkpoints of any trainer -> what each stage has learnt and forgotten
    theory        the convex results of the paper, by the same rules

Below them: `models` (load, save, adapters), `cache` (stages that are built once), `config` (what Hydra composed),
`machine` (paths, files, ranks, signals), `errors` (what a user can mend). Commands: `python -m xright.run`, `report`,
`evaluate`, `profile`, `export`, `dashboard`, `cache`, `theory`.
"""

__version__ = "0.2.0"
