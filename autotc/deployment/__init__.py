"""Policies on serving engines: settings, what stands in for what an engine has not, and what that costs."""

from autotc.deployment.run import Served, export, write_config
from autotc.records.export import AccuracyPair, Export, FlopsPair

__all__ = ["AccuracyPair", "Export", "FlopsPair", "Served", "export", "write_config"]
