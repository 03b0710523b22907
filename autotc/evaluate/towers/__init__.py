"""What a model's towers make of prepared inputs, kept for all processes of a machine."""

from autotc.evaluate.towers.place import LIMIT_VARIABLE, OFF, VARIABLE, cache_of
from autotc.evaluate.towers.store import BatchTowers, Towers

__all__ = ["LIMIT_VARIABLE", "OFF", "VARIABLE", "BatchTowers", "Towers", "cache_of"]
