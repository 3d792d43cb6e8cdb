"""Run folders and evaluation files -> tables: every value checked, since others may have written it."""
