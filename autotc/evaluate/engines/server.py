"""An OpenAI-compatible server that runs already."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np

from autotc.errors import DataError, MissingDependencyError, one_line
from autotc.evaluate.engines.client import FPS, Question
from autotc.evaluate.samples import PLACEHOLDERS, Media
from autotc.policy import Policy
from autotc.serve.served import served_instead

CONCURRENCY = 16
"""Requests that are under way at once."""


class ServerClient:
    """Asks a server over HTTP, several requests at once.

    Every answer says which policy it was given under: one that was given under another is an error, not a measurement.

    Args:
        url: of the server, with or without ``/v1``.

    Raises:
        DataError: no server is there, or it serves no model.
        MissingDependencyError: the package ``openai`` is not installed.
    """

    def __init__(self, url: str) -> None:
        if find_spec("openai") is None:
            raise MissingDependencyError("--server: openai is not installed; pip install 'autotc[server]'")
        import openai

        self._url = url.rstrip("/").removesuffix("/v1")
        self._client = openai.OpenAI(base_url=f"{self._url}/v1", api_key="none", max_retries=2)
        try:
            models = self._client.models.list().data
        except openai.OpenAIError as error:
            raise DataError(
                f"--server: {url}: {one_line(error, 120)}; the address of a server that runs is right, such as"
                " http://127.0.0.1:8000"
            ) from error
        if not models:
            raise DataError(f"--server: {url}: serves no model")
        self._model = models[0].id
        self.name = f"server {self._url}, model {self._model}"

    def answers(self, policy: Policy, questions: Sequence[Question]) -> list[str]:
        """Greedy answers under a policy; see `Client`."""
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            return list(pool.map(lambda question: self._answer(policy, question), questions))

    def _answer(self, policy: Policy, question: Question) -> str:
        import openai

        # All frames, at the rate that is taken in process too: a server by itself takes the first 32 of a video.
        watching = {"media_io_kwargs": {"video": {"num_frames": -1, "fps": FPS}}}
        try:
            said = self._client.chat.completions.create(
                model=self._model,
                messages=messages(question.turns, question.media),  # type: ignore[arg-type]
                temperature=0.0,
                max_tokens=question.new_tokens,
                extra_body=watching if question.media.get("videos") else None,
            )
        except openai.OpenAIError as error:
            if "media_io_kwargs" in str(error):
                raise DataError(
                    f"{question.named}: {self._url}: takes no video as it is sent; start the server with"
                    " --trust-request-mm-kwargs, so that it takes all frames"
                ) from error
            raise DataError(f"{question.named}: {self._url}: {one_line(error, 200)}") from error
        self._check(policy, said.system_fingerprint)
        return (said.choices[0].message.content or "").strip()

    def _check(self, policy: Policy, fingerprint: str | None) -> None:
        """See that an answer was given under the policy.

        Raises:
            DataError: it was not, or the server does not tell.
        """
        wanted = policy.content_hash() if policy.stages else None
        serves = served_instead(fingerprint, wanted)
        if serves is None:
            return
        if wanted is None:
            raise DataError(f"--server: {self._url}: serves {serves}, not the uncompressed model")
        raise DataError(
            f"--server: {self._url}: serves {serves} (system_fingerprint {fingerprint!r}), not {wanted}; start it with"
            ' --additional-config \'{"autotc": {"policy": "PATH"}}\' and without --fingerprint-mode'
        )


def messages(turns: Sequence[Mapping[str, object]], media: Media) -> list[dict[str, object]]:
    """A conversation as the chat API takes it: each medium's part with its content, without loss.

    Args:
        turns: as chat templates take them.
        media: of the parts, in their order.
    """
    rest = {PLACEHOLDERS[key]: iter(items) for key, items in media.items()}
    out = []
    for turn in turns:
        content = turn["content"]
        parts = [_part(part, rest) for part in content] if isinstance(content, list) else content
        out.append({"role": turn["role"], "content": parts})
    return out


def _part(part: Mapping[str, object], rest: Mapping[str, Iterator[object]]) -> dict[str, object]:
    kind = part["type"]
    if kind == "text":
        return {"type": "text", "text": part["text"]}
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": "data:image/png;base64," + _png(next(rest["image"]))}}
    if kind == "video":
        # Frames by commas; the name says JPEG, but each is read by what it is.
        frames = ",".join(_png(frame) for frame in np.asarray(next(rest["video"])))
        return {"type": "video_url", "video_url": {"url": "data:video/jpeg;base64," + frames}}
    raise DataError(f"{kind}: the policies that autotc runs in vLLM are of images and videos")


def _png(picture: object) -> str:
    """A picture (H, W, 3) as base64 of a PNG."""
    from PIL import Image

    image = picture if isinstance(picture, Image.Image) else Image.fromarray(np.asarray(picture))
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode()
