"""The machine below everything: paths (`places`), atomic writes and checksums (`files`), ranks of a job (`ranks`),
signals (`preemption`), and what a terminal is shown (`logs`, `quiet`, `told`)."""
