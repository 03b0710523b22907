"""Measure a policy in vLLM beside the uncompressed model: two servers, asked in turn in one run."""

from __future__ import annotations

import json
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np

from autotc.bench.generation import prefill_flops
from autotc.bench.serving.servers import running
from autotc.bench.serving.traffic import Client, Traffic
from autotc.cost import prefill_cost, request_shapes
from autotc.errors import DataError, MissingDependencyError, PolicyError, one_line
from autotc.evaluate.batches import chat_text, process_inputs
from autotc.evaluate.samples import Media
from autotc.models import bind
from autotc.models.loading import load_shape
from autotc.policy import UNCOMPRESSED, Policy, read_policy
from autotc.progress import Progress
from autotc.ranges import check_count
from autotc.records.serving import Serving, ServingRow, ServingSide
from autotc.serve import serve_refusal
from autotc.serve.served import served_instead
from autotc.statistics import median_ratio_interval
from autotc.timing import alternate

CONCURRENCY = (1, 4, 16, 64)
REPEATS = 3


@dataclass(frozen=True)
class ServingOptions:
    """Which servers are asked, and how hard.

    Attributes:
        arguments: of ``vllm serve``, by the names that ``vllm.LLM`` has; both servers that are started take them.
        server, baseline: URLs of servers that run already, one with the policy and one without; None starts both.
        concurrency: requests under way at once, a row each.
        repeats: pairs of each row, behind one that warms up.
    """

    arguments: Mapping[str, object] = field(default_factory=dict)
    server: str | None = None
    baseline: str | None = None
    concurrency: Sequence[int] = CONCURRENCY
    repeats: int = REPEATS

    def __post_init__(self) -> None:
        for number in self.concurrency:
            check_count(number, "concurrency")
        check_count(self.repeats, "repeats")
        if (self.server is None) != (self.baseline is None):
            raise DataError("--server: two are needed, --server with the policy and --baseline-server without one")
        if self.server is not None and self.arguments:
            raise DataError("--engine-args: given with --server; they are of servers that are started here")


def bench_serving(
    policy: Policy | str | Path,
    model: str,
    traffic: Traffic | None = None,
    options: ServingOptions | None = None,
    progress: Progress | None = None,
) -> Serving:
    """Requests a second, time to the first token and for each one behind it, in vLLM.

    Args:
        policy: to measure, or its file.
        model: folder or hub name of the checkpoint. With ``{"load_format": "dummy"}`` among the engine's arguments its
            weights are random, and a folder with configuration and processor is enough.
        traffic: what requests hold.
        options: servers, how many requests are under way at once, and how often all is measured.
        progress: called as measurements are done.

    Raises:
        PolicyError: the plug-in cannot serve the policy, or it has no stages.
        DataError: a server does not start, is not there, or a request failed.
        MissingDependencyError: vLLM is not installed.
    """
    traffic, options = traffic or Traffic(), options or ServingOptions()
    name = policy.label() if isinstance(policy, Policy) else str(policy)
    policy = read_policy(policy)
    if not policy.stages:
        raise PolicyError(f"bench: {name} has no stages; with --engine vllm a policy is measured beside none")
    if find_spec("vllm") is None:
        raise MissingDependencyError("--engine vllm: vLLM is not installed; pip install 'autotc[vllm]'")
    predicted = predicted_speedup(model, policy, traffic)
    with _servers(policy, model, options) as urls:
        clients = [Client(url, model, served_name(url)) for url in urls]
        for client, served in zip(clients, (policy.content_hash(), None), strict=True):
            check_serves(client.url, client.named, served)
        rows = []
        for number, concurrency in enumerate(options.concurrency):
            rows.append(_row(clients, traffic, concurrency, options.repeats, first_seed=1000 * number))
            if progress is not None:
                progress(len(rows), len(options.concurrency))
    return Serving(name, policy.label(), model, vars(traffic), predicted, tuple(rows))


def predicted_speedup(model: str, policy: Policy, traffic: Traffic) -> float:
    """Ratio of predicted FLOPs of one request's prefill.

    Raises:
        PolicyError: the policy does not fit the model, or the plug-in cannot serve it.
    """
    from PIL import Image

    shape, processor = load_shape(model)
    bound = bind(shape)
    for stage in policy.stages:
        reason = serve_refusal(stage, bound.architecture)
        if reason is not None:
            raise PolicyError(f"bench: {stage.label()}: {reason}; autotc export POLICY --to vllm names the nearest")
    content = [{"type": traffic.modality}, {"type": "text", "text": "word " * traffic.text}]
    text = chat_text(processor, [{"role": "user", "content": content}])
    frames = np.zeros((traffic.frames, traffic.height, traffic.width, 3), dtype=np.uint8)
    media: Media = {"images": [Image.fromarray(frames[0])]} if traffic.frames == 1 else {"videos": [frames]}
    shapes = request_shapes(bound, process_inputs(bound.adapter, processor, processor, [text], [media]))
    costs = [prefill_cost(bound, each, shapes) for each in (UNCOMPRESSED, policy)]
    before, after = (prefill_flops(cost, 1, cost.lengths[-1]) for cost in costs)
    return float(before / after)


@contextmanager
def _servers(policy: Policy, model: str, options: ServingOptions) -> Iterator[tuple[str, str]]:
    """URLs of the server with the policy and of the one without."""
    if options.server is not None and options.baseline is not None:
        yield options.server.rstrip("/").removesuffix("/v1"), options.baseline.rstrip("/").removesuffix("/v1")
        return
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        file = policy.save(Path(os.path.realpath(folder)) / "policy.yaml")
        under = stack.enter_context(running(model, options.arguments, file))
        yield under, stack.enter_context(running(model, options.arguments, None))


def served_name(url: str) -> str:
    """What a server calls its model.

    Raises:
        DataError: no server is there.
    """
    try:
        with urllib.request.urlopen(f"{url}/v1/models", timeout=30) as answer:
            return str(json.load(answer)["data"][0]["id"])
    except (urllib.error.URLError, OSError, ValueError, LookupError) as error:
        raise DataError(f"--server: {url}: no server of a model answers there ({one_line(error, 100)})") from error


def check_serves(url: str, name: str, policy_hash: str | None) -> None:
    """See that a server has a policy, by what it says of itself in a response; with None, that it has none.

    Raises:
        DataError: it has another.
    """
    question = {"model": name, "messages": [{"role": "user", "content": "word"}], "max_tokens": 1}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(question).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            instead = served_instead(json.load(answer).get("system_fingerprint"), policy_hash)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise DataError(f"--server: {url}: answers no question ({one_line(error, 100)})") from error
    if instead is not None:
        raise DataError(f"--server: {url}: serves {instead}, not {policy_hash or 'the uncompressed model'}")


def _row(clients: Sequence[Client], traffic: Traffic, concurrency: int, repeats: int, first_seed: int) -> ServingRow:
    """Both sides at one number of requests under way, in turn; both sides of a pair are sent the same requests."""
    calls = 0

    def measure(client: Client) -> ServingSide:
        nonlocal calls
        calls += 1
        return client.measure(traffic, concurrency, first_seed + (calls + 1) // 2)

    policy, baseline = alternate(lambda: measure(clients[0]), lambda: measure(clients[1]), repeats)
    return ServingRow(
        concurrency=concurrency,
        requests=traffic.count(concurrency),
        policy=_median(policy),
        baseline=_median(baseline),
        speedup=median_ratio_interval(_seconds(policy), _seconds(baseline)),
    )


def _seconds(sides: Sequence[ServingSide]) -> list[float]:
    """Of a request."""
    return [1 / side.requests_per_second for side in sides]


def _median(sides: Sequence[ServingSide]) -> ServingSide:
    """Each field's median over the repeats."""
    return ServingSide(**{name: median(getattr(side, name) for side in sides) for name in vars(sides[0])})
