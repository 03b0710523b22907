"""The plug-in for vLLM: ``vllm serve MODEL --additional-config '{"autotc": {"policy": "x.yaml"}}'``."""
