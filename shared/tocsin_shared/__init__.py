"""What node, hub and models must agree on. Importing this package imports nothing else."""
