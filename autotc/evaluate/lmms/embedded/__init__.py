"""The embedded benchmark as tasks of lmms-eval: YAML, documents, and what the YAML names."""
