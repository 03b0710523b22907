"""Policies as settings of serving engines that have the same mechanism built in."""

from autotc.export.engine import Break, Capability, Deployment, Engine, Versions
from autotc.export.nearest import Flops, combined, nearest
from autotc.export.plan import Plan, Refusal, plan_export
from autotc.export.registry import ENGINES, get_engine

__all__ = [
    "ENGINES",
    "Break",
    "Capability",
    "Deployment",
    "Engine",
    "Flops",
    "Plan",
    "Refusal",
    "Versions",
    "combined",
    "get_engine",
    "nearest",
    "plan_export",
]
