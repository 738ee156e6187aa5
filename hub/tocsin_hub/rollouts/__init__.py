"""Rollouts: which node is to run which bundle, ring by ring, and when it stops by itself."""
