"""From a step's rows to log-probs, the way a row walks: `collate` lays rows out as a `batch`, without padding where the
model takes `attention` for packed lines (`packing` and `fits` find out; `rounding` says how exact), `logprobs`
computes."""
