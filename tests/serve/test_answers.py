"""Evaluating what an engine answers: what is asked, and what is refused. The engine itself: `test_evaluation`."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import autotc
from autotc.cli import main
from autotc.errors import DataError
from autotc.evaluate.engines import EngineOptions
from autotc.evaluate.engines.client import Question
from autotc.evaluate.engines.server import ServerClient, messages
from autotc.policy import UNCOMPRESSED, Policy, Stage
from autotc.serve.served import fingerprint_hash, marked_fingerprint

HALF = Policy(stages=(Stage(modality="image", location="projector", mechanism="divprune", keep_ratio=0.5),))


class Recording(BaseHTTPRequestHandler):
    """A server of the chat API that keeps what it is asked and says of itself what it is told to."""

    fingerprint: str | None = None
    fails_with: str | None = None
    asked: list[dict[str, Any]]

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def _send(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._send(200, {"object": "list", "data": [{"id": "tiny", "object": "model", "created": 0, "owned_by": "x"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked.append(body)
        if self.fails_with:
            self._send(400, {"error": {"message": self.fails_with}})
            return
        text = body["messages"][0]["content"][-1]["text"]
        message = {"role": "assistant", "content": f" {text}!"}
        self._send(
            200,
            {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": "tiny",
                "system_fingerprint": self.fingerprint,
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            },
        )


@pytest.fixture
def server() -> Iterator[tuple[str, type[Recording]]]:
    handler = type("Handler", (Recording,), {"asked": []})
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}", handler
    httpd.shutdown()
    httpd.server_close()


def question(text: str = "which digit", **media: Any) -> Question:
    parts = [{"type": {"images": "image", "videos": "video"}[k]} for k, items in media.items() for _ in items]
    return Question("s1", [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}], media, 5)


def picture(seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)


def pixels(url: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1]))))


def test_media_reach_the_server_without_loss_where_they_stand() -> None:
    clip = np.stack([picture(i) for i in range(3)])
    asked = question("how many", images=[picture(7), Image.fromarray(picture(8))], videos=[clip])
    (turn,) = messages(asked.turns, asked.media)
    first, second, video, text = turn["content"]
    assert turn["role"] == "user"
    assert text == {"type": "text", "text": "how many"}
    assert np.array_equal(pixels(first["image_url"]["url"]), picture(7))
    assert np.array_equal(pixels(second["image_url"]["url"]), picture(8))
    kind, frames = video["video_url"]["url"].split(";base64,")
    assert kind == "data:video/jpeg"
    assert np.array_equal(np.stack([pixels("," + frame) for frame in frames.split(",")]), clip)
    with pytest.raises(DataError, match="audio: the policies"):
        messages([{"role": "user", "content": [{"type": "audio"}]}], {"audio": [clip]})


def test_answers_come_in_order_and_greedily(server: tuple[str, type[Recording]]) -> None:
    url, handler = server
    client = ServerClient(url + "/v1/")
    said = client.answers(UNCOMPRESSED, [question(f"q{i}", images=[picture(i)]) for i in range(40)])
    assert said == [f"q{i}!" for i in range(40)]
    assert all(body["temperature"] == 0 and body["max_tokens"] == 5 for body in handler.asked)
    assert not any("media_io_kwargs" in body for body in handler.asked)
    client.answers(UNCOMPRESSED, [question(videos=[np.stack([picture()])])])
    assert handler.asked[-1]["media_io_kwargs"] == {"video": {"num_frames": -1, "fps": 24.0}}


def test_answers_under_another_policy_are_no_measurement(server: tuple[str, type[Recording]]) -> None:
    url, handler = server
    client = ServerClient(url)
    handler.fingerprint = marked_fingerprint("vllm-0.32.0-0123abcd", HALF.content_hash())
    assert client.answers(HALF, [question()]) == ["which digit!"]
    with pytest.raises(DataError, match=f"serves policy {HALF.content_hash()}, not the uncompressed model"):
        client.answers(UNCOMPRESSED, [question()])
    handler.fingerprint = "vllm-0.32.0-0123abcd"
    with pytest.raises(DataError, match=f"serves no policy of autotc .* not {HALF.content_hash()}; start it with"):
        client.answers(HALF, [question()])


def test_what_a_server_refuses_is_told_with_the_sample(server: tuple[str, type[Recording]]) -> None:
    url, handler = server
    client = ServerClient(url)
    handler.fails_with = "too long"
    with pytest.raises(DataError, match=r"^s1: http.*too long"):
        client.answers(UNCOMPRESSED, [question()])
    handler.fails_with = "Per-request media_io_kwargs are disabled by default"
    with pytest.raises(DataError, match=r"^s1: .*start the server with --trust-request-mm-kwargs"):
        client.answers(UNCOMPRESSED, [question(videos=[np.stack([picture()])])])


def test_fingerprints_name_the_policy() -> None:
    marked = marked_fingerprint("vllm-0.32.0-tp2-0123abcd", "4f48ba9de0572f9b")
    assert marked == "vllm-0.32.0-tp2-0123abcd-autotc-4f48ba9de0572f9b"
    assert fingerprint_hash(marked) == "4f48ba9de0572f9b"
    assert fingerprint_hash(marked_fingerprint(None, "4f48ba9de0572f9b")) == "4f48ba9de0572f9b"
    assert fingerprint_hash("vllm-0.32.0-0123abcd") is None
    assert fingerprint_hash(None) is None


def test_options_that_do_not_go_together() -> None:
    with pytest.raises(DataError, match=r"--engine: 'sglang' given; known: vllm"):
        EngineOptions("sglang")
    with pytest.raises(DataError, match="--engine-args: given with --server"):
        EngineOptions(server="http://127.0.0.1:8000", arguments={"max_model_len": 1})
    with pytest.raises(DataError, match="--engine vllm: needs --model"):
        autotc.evaluator(engine="vllm")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--engine", "vllm"], "--engine vllm: needs --model"),
        (["--engine-args", "{}", "--server", "http://127.0.0.1:9"], "needs --model"),
        (["--engine", "transformers", "--server", "http://127.0.0.1:9"], "--server: given with --engine transformers"),
        (["--engine-args", '{"max_model_len": 9}'], "--engine-args: given without --engine vllm"),
        (["--engine-args", "[1]"], "a JSON object such as"),
    ],
)
def test_wrong_options_are_one_line(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        raise SystemExit(main(["eval", "none", *arguments]))
    assert exit_.value.code == 2
    assert told in capsys.readouterr().err


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--server: http://127.0.0.1:9: Connection error.*is right"):
        ServerClient("http://127.0.0.1:9")
