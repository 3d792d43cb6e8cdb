"""Who starts a run, how often, and what may end it.

job           one job: checked, trained on all its ranks, ended with an exit code
processes     the ranks of a job on one machine; worker: a process that may die alone
sweep         what is checked before a sweep; cells: its jobs, whatever becomes of them; unfinished: those that fail
adaptive      a sweep that puts the next λ where the front has its widest gap
local         a sweep's jobs side by side, on this machine's devices; slurm: as a SLURM job array
"""
