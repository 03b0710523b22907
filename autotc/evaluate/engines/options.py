"""Which engine answers, and how it is reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from transformers import ProcessorMixin

from autotc.errors import DataError, quote
from autotc.evaluate.engines.client import Client
from autotc.evaluate.engines.local import LocalClient
from autotc.evaluate.engines.server import ServerClient
from autotc.models.settings import Loading
from autotc.names import nearest

NAMES = ("vllm",)


@dataclass(frozen=True)
class EngineOptions:
    """A serving engine that answers in place of transformers.

    Attributes:
        name: ``vllm``.
        server: URL of a server that runs, such as ``http://127.0.0.1:8000``; None starts the engine in this process.
        arguments: of the engine that is started, by the names that ``vllm.LLM`` has.
    """

    name: str = "vllm"
    server: str | None = None
    arguments: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise DataError(f"--engine: {quote(self.name)} given; {nearest(self.name, NAMES)}")
        if self.server is not None and self.arguments:
            raise DataError("--engine-args: given with --server; they are of an engine that is started here")


def connect(options: EngineOptions, model: str, processor: ProcessorMixin, loading: Loading) -> Client:
    """The engine, reachable: a server is asked whether it is there; an engine in this process starts when it is asked.

    Args:
        options: which, and how.
        model: folder or hub name of the checkpoint.
        processor: of the checkpoint.
        loading: how the checkpoint is loaded.

    Raises:
        DataError: the server cannot be reached.
        MissingDependencyError: the engine, or what talks to its server, is not installed.
    """
    if options.server is not None:
        return ServerClient(options.server)
    return LocalClient(model, processor, loading, options.arguments)
