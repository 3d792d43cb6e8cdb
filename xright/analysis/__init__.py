"""Reading finished runs: `runs` (folders -> tables), `tables`, `statistics`, `claims`, `report` (-> one page).

Nothing here trains or imports what trains: the files of a run folder are the whole interface.
"""
