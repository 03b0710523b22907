"""Conflicts between stages: rules that read a policy, and predictions from a few forwards."""
