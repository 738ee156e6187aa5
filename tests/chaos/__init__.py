"""Faults on purpose: a seeded script of them against a whole site, and what must hold whatever happens."""
