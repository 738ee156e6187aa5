"""Data, training, quantization and bundles."""
