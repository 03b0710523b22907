"""Requests to a server, as vLLM's own benchmark client makes and times them."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass

from autotc.errors import DataError
from autotc.ranges import check_count
from autotc.records.serving import ServingSide


@dataclass(frozen=True)
class Traffic:
    """What every request holds: one random picture, or one random clip, and random words.

    Attributes:
        height, width: of a frame, in pixels.
        frames: 1 for a picture.
        text: tokens of the question.
        new_tokens: of each answer, from 2.
        requests: of a measurement; None takes twice as many as are under way at once, at least 16.
    """

    height: int = 896
    width: int = 896
    frames: int = 1
    text: int = 32
    new_tokens: int = 16
    requests: int | None = None

    def __post_init__(self) -> None:
        for name in ("height", "width", "frames", "text"):
            check_count(getattr(self, name), name)
        check_count(self.new_tokens, "new_tokens", least=2)
        if self.requests is not None:
            check_count(self.requests, "requests")

    @property
    def modality(self) -> str:
        """Of the medium that a request holds."""
        return "image" if self.frames == 1 else "video"

    def count(self, concurrency: int) -> int:
        """Requests of a measurement."""
        return self.requests or max(16, 2 * concurrency)


@dataclass(frozen=True)
class Client:
    """vLLM's benchmark client, of one server.

    Attributes:
        url: of the server.
        model: whose tokenizer counts.
        named: what the server calls the model.
    """

    url: str
    model: str
    named: str

    def measure(self, traffic: Traffic, concurrency: int, seed: int) -> ServingSide:
        """Send requests, so many under way at once; equal seeds send equal ones.

        Raises:
            DataError: a request failed.
        """
        from vllm.benchmarks.serve import add_cli_args, main
        from vllm.utils.argparse_utils import FlexibleArgumentParser

        parser = FlexibleArgumentParser()
        add_cli_args(parser)
        args = parser.parse_args(self._arguments(traffic, concurrency, seed))
        with contextlib.redirect_stdout(io.StringIO()):  # its tables
            found = main(args)
        wanted = traffic.count(concurrency)
        if found["completed"] < wanted:
            raise DataError(
                f"--engine vllm: {wanted - found['completed']} of {wanted} requests failed at {self.url}; is a request"
                f" of {traffic.width}x{traffic.height} pixels longer than --max-model-len?"
            )
        return ServingSide(
            requests_per_second=float(found["request_throughput"]),
            first_token_ms=float(found["median_ttft_ms"]),
            first_token_p99_ms=float(found["p99_ttft_ms"]),
            output_token_ms=float(found["median_tpot_ms"]),
            output_token_p99_ms=float(found["p99_tpot_ms"]),
            prompt_tokens=found["total_input_tokens"] / found["completed"],
        )

    def _arguments(self, traffic: Traffic, concurrency: int, seed: int) -> list[str]:
        limits = {"image": int(traffic.frames == 1), "video": int(traffic.frames > 1)}
        options = {
            "backend": "openai-chat",
            "endpoint": "/v1/chat/completions",
            "base-url": self.url,
            "model": self.model,
            "served-model-name": self.named,
            "dataset-name": "random-mm",
            "random-input-len": traffic.text,
            "random-output-len": traffic.new_tokens,
            "random-mm-base-items-per-request": 1,
            "random-mm-num-mm-items-range-ratio": 0,
            "random-mm-limit-mm-per-prompt": json.dumps(limits),
            "random-mm-bucket-config": f"{{({traffic.height}, {traffic.width}, {traffic.frames}): 1.0}}",
            "max-concurrency": concurrency,
            "num-prompts": traffic.count(concurrency),
            "percentile-metrics": "ttft,tpot",
            "metric-percentiles": "99",
            "temperature": 0,
            "seed": seed,
        }
        return [*(word for key, value in options.items() for word in (f"--{key}", str(value))), "--disable-tqdm"]
