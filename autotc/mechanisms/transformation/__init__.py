"""Transformation mechanisms: pooling, striding, resolution."""
