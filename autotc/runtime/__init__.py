"""The runtime: attaches a policy to an unchanged Hugging Face model."""

from autotc.runtime.apply import Handle, apply
from autotc.runtime.processor import configure

__all__ = ["Handle", "apply", "configure"]
