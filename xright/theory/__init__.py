"""The paper's convex results, recomputed with the Selector objects that train language models (arXiv 2410.15483).

    objectives.py   DPO and SFT of a softmax policy: losses, gradients, Hessians in closed form
    problems.py     the paper's two problems with their known optima
    descent.py      any Selector on any problem
    forgetting.py   one parameter: Sequential cannot work, ALRIGHT does, what the bound says
    expectation.py  one parameter: ALRIGHT's expected gap, exactly
    toy.py          two parameters: every strategy from the same start
    recompute.py    all numbers of theory.json, on all cores
    figures.py      fig 2, fig 6, and E[G] against T with the bound

`python -m xright.theory OUT` writes the numbers and the figures.
"""
