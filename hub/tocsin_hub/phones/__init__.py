"""Phones: notifications, whether they are shown, the worker's page, and other roads to a person."""
