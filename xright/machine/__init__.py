"""The machine below everything: paths (`paths`), atomic writes and checksums (`files`), locks (`locks`), ranks of a job
(`ranks`), signals (`preemption`), and how commands talk (`command`, `screen`, `logs`, `quiet`, `told`)."""
