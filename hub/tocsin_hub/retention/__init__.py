"""What is kept and for how long: pruning in pieces for which no alarm waits, and backups."""
