"""Requests a second and times to tokens of a policy in a serving engine, beside the uncompressed model in turn."""

from autotc.bench.serving.run import ServingOptions, bench_serving
from autotc.bench.serving.traffic import Traffic

__all__ = ["ServingOptions", "Traffic", "bench_serving"]
