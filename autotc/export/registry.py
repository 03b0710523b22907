"""The engines, by name."""

from __future__ import annotations

from autotc.errors import PolicyError, quote
from autotc.export.engine import Engine
from autotc.export.openvino import OpenVINO
from autotc.export.sglang import SGLang
from autotc.export.tensorrt_edge_llm import TensorRTEdgeLLM
from autotc.export.tensorrt_llm import TensorRTLLM
from autotc.export.vllm import VLLM
from autotc.export.vllm_plug_in import VLLMPlugIn
from autotc.names import nearest

ENGINES: dict[str, Engine] = {
    engine.name: engine for engine in (VLLMPlugIn(), VLLM(), SGLang(), TensorRTLLM(), TensorRTEdgeLLM(), OpenVINO())
}
"""Every engine that policies can be exported to."""


def get_engine(name: str) -> Engine:
    """An engine by name.

    Raises:
        PolicyError: there is none of that name.
    """
    if name not in ENGINES:
        raise PolicyError(f"engine: {quote(name)} is not known; {nearest(name, ENGINES)}")
    return ENGINES[name]
