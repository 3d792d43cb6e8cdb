"""Rows, from files to the step that trains on them.

raw         `sources` (files, hub, the embedded `world`), read as they are (`tables`, `textfiles`), brought to the
            shape of their kind (`columns`, `messages`, `switches`, `canonical`, `kinds`) and counted (`counts`)
tokenised   written out (`templates`), split exactly (`prompts`, `tokens`, `control`), kept (`tokenised`, `rows`)
feed        a `stream`'s rows (`corpus`, `heldout`), a step's rows (`sampler`), all streams at once (`datamodule`)
"""
