"""Evaluators' questions asked of a serving engine in place of a model that transformers runs."""

from autotc.evaluate.engines.options import EngineOptions, connect

__all__ = ["EngineOptions", "connect"]
