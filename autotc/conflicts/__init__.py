"""Conflicts between stages: rules that read a policy before anything runs."""
