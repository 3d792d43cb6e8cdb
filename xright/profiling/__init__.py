"""What checkpoints have learnt and forgotten, whoever trained them: their losses on the same rows, and what moved."""
