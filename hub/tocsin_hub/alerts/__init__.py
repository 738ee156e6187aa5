"""Alerts: who is told of an incident, by which channel, when, and whether it reached her."""
