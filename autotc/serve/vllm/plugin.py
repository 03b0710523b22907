"""What vLLM calls in each of its processes (entry point ``vllm.general_plugins``): say which classes serve a policy."""

from __future__ import annotations

import functools
import sys
from types import TracebackType
from typing import TYPE_CHECKING

from vllm.entrypoints.serve.utils import fingerprint
from vllm.model_executor.models.config import MODELS_CONFIG_MAP, VerifyAndUpdateConfig
from vllm.model_executor.models.registry import ModelRegistry
from vllm.platforms import current_platform

from autotc.errors import AutotcError
from autotc.serve.served import marked_fingerprint
from autotc.serve.support import SERVED
from autotc.serve.vllm.configuration import CLASSES, configure, served_name
from autotc.serve.vllm.serving import Serving

if TYPE_CHECKING:
    from vllm.config import VllmConfig


def register() -> None:
    """Register the classes, and have a policy looked for in the configuration of every model; safe to call twice."""
    for architecture in SERVED:
        ModelRegistry.register_model(served_name(architecture), CLASSES[architecture])
    for architecture in ModelRegistry.get_supported_archs():
        inner = MODELS_CONFIG_MAP.get(architecture)
        if not hasattr(inner, "looks_for_policies"):
            MODELS_CONFIG_MAP[architecture] = _looking_for_policies(inner)
    _tell_in_responses()
    _mend_cpu_runner()
    _say_errors_in_one_line()


def _looking_for_policies(inner: type[VerifyAndUpdateConfig] | None) -> type[VerifyAndUpdateConfig]:
    """A configuration's hook that does what the one before it did, and then reads ``additional_config``.

    This table of vLLM's own is the one place where a model's whole configuration passes before anything is built, also
    that of a model which no policy can be served for: so a policy is never overlooked.
    """
    parent = VerifyAndUpdateConfig if inner is None else inner

    class LooksForPolicies(parent):  # type: ignore[misc, valid-type]
        looks_for_policies = True

        @staticmethod
        def verify_and_update_config(vllm_config: VllmConfig) -> None:
            parent.verify_and_update_config(vllm_config)
            configure(vllm_config)

    return LooksForPolicies


def _tell_in_responses() -> None:
    """Put the hash of the policy behind the ``system_fingerprint`` that a server's responses have."""
    inner = fingerprint.build_system_fingerprint
    if hasattr(inner, "tells_policies"):
        return

    @functools.wraps(inner)
    def build(vllm_config: VllmConfig, mode: str = "full", custom_value: str | None = None) -> str | None:
        told: str | None = inner(vllm_config, mode, custom_value)
        serving = Serving.of(vllm_config.model_config.hf_config)
        return told if serving is None or mode in ("custom", "none") else marked_fingerprint(told, serving.hash)

    build.tells_policies = True  # type: ignore[attr-defined]
    fingerprint.build_system_fingerprint = build


def _mend_cpu_runner() -> None:
    """Let the runner for CPUs know that tokens are pruned: vLLM 0.32 sets this in its runner for GPUs alone."""
    if not current_platform.is_cpu():
        return
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    inner = CPUModelRunner.load_model
    if hasattr(inner, "knows_pruning"):
        return

    @functools.wraps(inner)
    def load_model(self: CPUModelRunner, *args: object, **kwargs: object) -> None:
        inner(self, *args, **kwargs)
        if getattr(self.get_model(), "serving", None) is not None:
            self.is_multimodal_pruning_enabled = True

    load_model.knows_pruning = True  # type: ignore[attr-defined]
    CPUModelRunner.load_model = load_model


def _say_errors_in_one_line() -> None:
    """Print what is wrong with a policy as one line; every other error as before."""
    before = sys.excepthook
    if hasattr(before, "of_autotc"):
        return

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, AutotcError):
            print(f"autotc: {error}", file=sys.stderr)
        else:
            before(kind, error, trace)

    show.of_autotc = True  # type: ignore[attr-defined]
    sys.excepthook = show
