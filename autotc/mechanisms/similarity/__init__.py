"""Similarity mechanisms: merging and diversity."""
