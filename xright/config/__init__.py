"""The configuration that Hydra composed: `settings` (typed parts), `build` (`_target_` nodes made), `naming` (a run's
folder), `moved` (keys that have another name now), `inputs` (the files and models that it names)."""
