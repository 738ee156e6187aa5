"""Web processes beside the hub."""
