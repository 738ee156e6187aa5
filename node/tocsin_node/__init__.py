"""The agent that listens in one room."""
