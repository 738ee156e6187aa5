"""The hub: ingest, store, dashboard."""
