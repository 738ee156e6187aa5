"""Incidents: what belongs together of all that the nodes report, and what became of it."""
