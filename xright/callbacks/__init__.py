"""Whatever merely watches: each callback reads what `JointModule.training_step` returns, and changes nothing.

A callback may offer `summary() -> dict`: its share of `result.json`.
"""
