"""Policies as settings of serving engines that have the same mechanism built in."""

from autotc.export.base import Capability, Deployment, Engine, Plan, Refusal, plan_export
from autotc.export.registry import ENGINES, get_engine

__all__ = ["ENGINES", "Capability", "Deployment", "Engine", "Plan", "Refusal", "get_engine", "plan_export"]
