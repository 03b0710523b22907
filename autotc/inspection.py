"""`autotc.show`: what a policy is, and what it makes of single requests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from autotc.errors import DataError
from autotc.policy import Policy, read_policy
from autotc.report.figures import overlay_pages, overlay_png
from autotc.report.policy import PolicyView

if TYPE_CHECKING:
    from autotc.evaluate.looking import RequestOptions
    from autotc.evaluate.model import ModelEvaluator
    from autotc.records.shown import RequestView

FORMS = (".html", ".png")
"""Endings of what is drawn."""
_FOLDER = Path("runs", "show")


def show(
    policy: Policy | str | Path,
    evaluator: ModelEvaluator | None = None,
    *,
    out: str | Path | None = None,
    **request: Unpack[RequestOptions],
) -> PolicyView:
    """What a policy does, what was measured of it, and what becomes of the tokens of single requests.

    With a request, each of its pictures, videos and clips is drawn at every stage of the policy: tokens that are left
    stay clear, those that were merged have one colour with their survivor, those that were dropped are dimmed. Beside
    it stand the answers with the policy and without it.

    Args:
        policy: a policy, a policy file, or ``"none"`` for the uncompressed model.
        evaluator: model and samples of requests; None takes the embedded ones.
        out: file to draw to, ``.html`` (a page for fifty requests) or ``.png`` (a figure for each); None takes a page
            in ``runs/show``.
        request: see `RequestOptions`; without any the policy alone is shown, and no model is loaded.

    Raises:
        PolicyError: the policy's file is wrong, or it does not fit the model.
        DataError: a medium cannot be read, the model does not take it, there is no such sample, or ``out`` cannot be
            written.

    Example:
        >>> print(autotc.show("policies/tiny-omni-0.4.yaml"))  # doctest: +SKIP
        >>> seen = autotc.show("policies/tiny-omni-0.4.yaml", image=["a.jpg"], prompt="What is it?")  # doctest: +SKIP
        >>> seen.requests[0].answer.text, seen.requests[0].flops_ratio, seen.files  # doctest: +SKIP
    """
    name = policy.label() if isinstance(policy, Policy) else Path(policy).stem
    view = PolicyView(read_policy(policy))
    if not check_request(request, out):
        return view
    # Imported here, so that a policy alone is shown, and a wrong request told, without torch.
    from autotc.evaluate.embedded import embedded_evaluator
    from autotc.evaluate.looking import look, requested_samples

    evaluator = embedded_evaluator() if evaluator is None else evaluator
    samples = requested_samples(evaluator, request)
    if not samples:
        raise DataError(f"--samples: the {request.get('split', 'test')} split holds none")
    views = tuple(look(evaluator, view.policy, sample, name) for sample in samples)
    return replace(view, requests=views, files=_drawn(views, _destination(name, views, out)))


def check_request(request: RequestOptions, out: str | Path | None) -> bool:
    """Whether a request is asked for; what is wrong with it is told before a model is loaded.

    Args:
        request: what is asked for.
        out: file to draw to.

    Raises:
        DataError: parts of it do not go together, or ``out`` has another ending than `FORMS`.
    """
    own = any(request.get(name) for name in ("image", "video", "audio"))
    asked = own or bool(request.get("sample")) or bool(request.get("samples"))
    for name in ("prompt", "answer"):
        if request.get(name) is not None and not own:
            raise DataError(f"--{name}: given without --image, --video or --audio, which it is asked of")
    if own and not request.get("prompt"):
        raise DataError("--prompt: missing; give the question about the media")
    if out is not None and not asked:
        raise DataError("--out: given without a request; add --image, --video, --audio, --sample or --samples")
    if out is not None and Path(out).suffix.lower() not in FORMS:
        raise DataError(f"--out: {out} given; a file that ends in {' or '.join(FORMS)} is right")
    for kind, paths in (
        ("image", request.get("image")),
        ("video", request.get("video")),
        ("audio", request.get("audio")),
    ):
        for path in paths or ():
            if not Path(path).exists():
                raise DataError(f"--{kind}: {path}: no such file")
    return asked


def _destination(name: str, views: tuple[RequestView, ...], out: str | Path | None) -> Path:
    if out is not None:
        return Path(out)
    what = views[0].id if len(views) == 1 else f"{len(views)}-requests"
    plain = "".join(c if c.isalnum() or c in "-._" else "-" for c in f"{name}-{what}")
    return _FOLDER / f"{plain[:120]}.html"


def _drawn(views: tuple[RequestView, ...], path: Path) -> tuple[Path, ...]:
    """Write the page, or a figure for each request."""
    if path.suffix.lower() == ".html":
        return overlay_pages(views, path)
    if len(views) == 1:
        return (overlay_png(views[0], path),)
    return tuple(overlay_png(view, path.with_stem(f"{path.stem}-{i}")) for i, view in enumerate(views, 1))
