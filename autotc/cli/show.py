"""``autotc show``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import autotc
from autotc.cli.command import Command
from autotc.cli.loading import evaluator_of, policy_of
from autotc.cli.options import add_loading_options, add_split_option, add_split_seed_option, from_one
from autotc.cli.output import Output, files_written
from autotc.errors import DataError

if TYPE_CHECKING:
    from autotc.evaluate.looking import RequestOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("policy", metavar="POLICY", help="policy file, or none")
    for name, what in (("image", "a picture"), ("video", "a video"), ("audio", "a clip")):
        parser.add_argument(
            f"--{name}", action="append", metavar="FILE", help=f"{what} of a request to look at; may be repeated"
        )
    parser.add_argument("--prompt", metavar="TEXT", help="what is asked of the media")
    parser.add_argument("--answer", metavar="TEXT", help="its right answer, where it is known")
    parser.add_argument("--sample", action="append", metavar="ID", help="a sample of the data; may be repeated")
    parser.add_argument("--samples", type=from_one, metavar="N", help="the first N samples of each modality")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="draw to x.html, a page for fifty requests, or x.png, a figure a request (default: a page in runs/show)",
    )
    add_split_option(parser)
    add_split_seed_option(parser)
    parser.add_argument("--model", metavar="PATH", help="folder or hub name of a model (default: the embedded model)")
    add_loading_options(parser)
    parser.add_argument(
        "--data", type=Path, metavar="FILE.jsonl", help="your own data (default: the embedded benchmark)"
    )
    parser.add_argument(
        "--metric", metavar="NAME", help="with --data: exact (default), contains, or module:function of your own"
    )


def run(args: argparse.Namespace) -> Output:
    """Print what a policy does, and draw what becomes of requests' tokens under it."""
    from autotc.inspection import check_request

    request: RequestOptions = {
        "image": args.image,
        "video": args.video,
        "audio": args.audio,
        "prompt": args.prompt,
        "answer": args.answer,
        "sample": args.sample,
        "samples": args.samples,
        "split": args.split,
    }
    policy_of(args.policy)  # what is wrong is told before a model is loaded
    asked = check_request(request, args.out)
    for name in ("model", "data", "metric"):
        if getattr(args, name) is not None and not asked:
            raise DataError(f"--{name}: given without a request; add --image, --video, --audio, --sample or --samples")
    evaluator = evaluator_of(args, args.split_seed) if asked else None
    view = autotc.show(args.policy, evaluator, out=args.out, **request)
    written = "\n\n" + files_written(view.files) if view.files else ""
    return Output(view.to_json(), lambda: view.text() + written)


COMMAND = Command(
    name="show",
    function="show",
    summary="print what a policy does and what was measured; draw what becomes of a request's tokens",
    examples=(
        "autotc show policies/x.yaml",
        "autotc show policies/x.yaml --image a.jpg --prompt 'What is this?' --out a.html",
        "autotc show policies/x.yaml --samples 1",
    ),
    add_arguments=add_arguments,
    run=run,
)
