"""xright: joint post-training of language models on a table of objectives (arXiv 2410.15483).

The way of a row, room by room; each room's first lines say more:

    data          files -> canonical rows -> tokens (`corpus`) -> a step's rows (`sampler`) -> a batch (`collate`)
    attention, packing, fits     how a model takes a packed line; which models can
    objectives    a batch -> log-probs (`logprobs`) -> the sum of an objective's losses
    strategies    which objectives a step trains, with which weights; a schedule of such rules
    starts        the model that a run begins with
    module        the joint step; `training` runs it, `means` and `optim` serve it
    stages        what runs share: base, reference, its log-probs, optima; `alone` trains them, `cache` keeps them
    pipeline      one run: `settings` and `checks` before, `callbacks` and `loggers` beside it, files in `folders`
    run, job, sweep, cells, processes, ranks, slurm, preemption     who starts it, how often, and what may end it
    analysis, report             finished runs -> numbers, claims, figures, a page
    evaluation, evaluate         finished models -> benchmarks, refusals, win rates
    theory        the convex results of the paper, by the same rules
    errors, files, places, naming, inputs, build, moved      below all of them
"""

__version__ = "0.1.0"
