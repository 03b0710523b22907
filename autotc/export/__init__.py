"""Policies as settings of serving engines."""

from autotc.export.built_in import Break, BuiltInEngine, Capability, Versions
from autotc.export.engine import Deployment, Engine, Target
from autotc.export.nearest import Flops, combined, nearest
from autotc.export.plan import Plan, Refusal, plan_export
from autotc.export.registry import ENGINES, get_engine

__all__ = [
    "ENGINES",
    "Break",
    "BuiltInEngine",
    "Capability",
    "Deployment",
    "Engine",
    "Flops",
    "Plan",
    "Refusal",
    "Target",
    "Versions",
    "combined",
    "get_engine",
    "nearest",
    "plan_export",
]
