"""What a run writes down while it trains: its `trajectory` in objective space, csv files that survive a kill
(`csvfile`, `journal`), its `loggers`, and every logged key with its unit (`keys`)."""
