"""Numbers as people read them: grids for terminal, page and csv, answers side by side."""
