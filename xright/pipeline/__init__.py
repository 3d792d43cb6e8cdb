"""One run from a configuration to its folder: `checks` before anything is trained, the shared `stages` (with the
`reference` log-probs), `run`, and the run's folder (`folders`)."""
