"""Finished runs compared: `read` (folders -> tables), `numbers`, `text`, `figures`, and `report` (-> one page).

Nothing here trains or imports what trains: the files of a run folder are the whole interface.
"""
