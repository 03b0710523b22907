"""Evaluators: model + policy + split -> per-sample results."""
