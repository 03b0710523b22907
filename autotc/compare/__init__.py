"""Compare presets on equal terms: the same samples, at equal language-model tokens or at equal cost."""

from autotc.compare.candidates import WITHIN
from autotc.compare.run import check_request, compare
from autotc.compare.settings import COSTS, KEEPS, TOKENS, CompareOptions, CompareSettings
from autotc.records.comparison import Comparison, ComparisonRow, Skipped

__all__ = [
    "COSTS",
    "KEEPS",
    "TOKENS",
    "WITHIN",
    "CompareOptions",
    "CompareSettings",
    "Comparison",
    "ComparisonRow",
    "Skipped",
    "check_request",
    "compare",
]
