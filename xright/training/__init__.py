"""The joint step (`module`), exact `means` over micro-batches and ranks, one training from start to end (`fit`), one
objective trained alone (`alone`), and the `checkpoint` from which a training goes on as if nothing had happened."""
