"""Who starts a run, how often, and what may end it.

job           one job: checked, trained on all its ranks, ended with an exit code
processes     the ranks of a job on one machine; worker: a process that may die alone
sweep         what is checked before a sweep; cells: its jobs, whatever becomes of them
slurm         a sweep as a SLURM job array
"""
