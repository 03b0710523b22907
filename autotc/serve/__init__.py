"""Policies inside serving engines: what an engine's plug-in applies, and the plug-ins."""

from autotc.serve.served import ServedPolicy, read_served
from autotc.serve.support import SERVED, serve_refusal

__all__ = ["SERVED", "ServedPolicy", "read_served", "serve_refusal"]
