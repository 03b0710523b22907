"""What became of requests' tokens, as one HTML page that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from autotc.errors import missing_dependency
from autotc.files import write_text
from autotc.records.shown import RequestView
from autotc.report.figures.overlay import INLINE_BYTES, LEGEND, overlay_data_uri, stage_words

PAGE_BYTES = 2_000_000
"""Of a page, at most."""
PAGE_REQUESTS = 50
"""On a page, at most; more would leave each picture too few bytes to be of use."""
_SPARE = 20_000
"""Bytes of a page that are left free."""

_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>autotc: {{ views[0].policy }}</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d5d9de; --soft: #57606a;
  --good: #1a7f37; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ed; --paper: #15181c; --line: #3a4048; --soft: #9aa4af; --good: #4ac26b; --bad: #ff8a80; }
}
body { margin: 0 auto; padding: 1rem; max-width: 60rem; color: var(--ink); background: var(--paper);
  font: 16px/1.45 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.35rem; margin: 0 0 .3rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { margin: .3rem 0; }
.soft { color: var(--soft); }
.prompt { white-space: pre-wrap; }
.right { color: var(--good); } .wrong { color: var(--bad); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.stages { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; flex: 0 1 auto; max-width: 100%; }
.narrow { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(15rem, 100%), 1fr)); }
figure img { display: block; max-width: 100%; height: auto; }
.narrow figure img { width: 100%; }
figcaption { font-size: .85rem; color: var(--soft); margin: .25rem 0; }
</style>
</head>
<body>
<h1>{{ views[0].policy }}</h1>
<p class="soft">What became of each token at every stage. {{ legend[0]|upper }}{{ legend[1:] }}.</p>
{% for view in views %}
<section>
<h2>{{ view.id }}</h2>
<p class="prompt">{{ view.prompt }}</p>
<div class="scroll"><table>
<tr><th scope="row">with the policy</th><td>{{ view.answer.text }}</td>
<td class="{{ view.answer.verdict }}">{{ view.answer.verdict }}</td></tr>
<tr><th scope="row">without it</th><td>{{ view.baseline.text }}</td>
<td class="{{ view.baseline.verdict }}">{{ view.baseline.verdict }}</td></tr>
{% if view.right is not none %}<tr><th scope="row">right answer</th><td>{{ view.right }}</td><td></td></tr>{% endif %}
<tr><th scope="row">FLOPs ratio</th><td>{{ "%.3f"|format(view.flops_ratio) }}</td><td></td></tr>
</table></div>
{% for modality in view.untouched %}<p class="soft">No stage of the policy acts on {{ modality }}.</p>{% endfor %}
<div class="scroll"><table>
<tr><th scope="col">stage</th><th scope="col">tokens left</th></tr>
{% for label, tokens in view.tokens() %}<tr><td>{{ label }}</td><td class="number">{{ tokens }}</td></tr>
{% endfor %}</table></div>
{% for medium in view.media %}
{% set m = loop.index0 %}
<h3>{{ medium.modality }} {{ loop.index }}</h3>
<div class="stages{% if medium.modality == "image" %} narrow{% endif %}">
{% for stage in medium.stages %}
<figure><img src="{{ picture(view, m, loop.index0) }}"
alt="{{ words(medium, stage) }}, drawn over the {{ medium.modality }}">
<figcaption>{{ words(medium, stage) }}</figcaption></figure>
{% endfor %}
</div>
{% endfor %}
</section>
{% endfor %}
</body>
</html>
"""


def overlay_pages(views: Sequence[RequestView], path: str | Path) -> tuple[Path, ...]:
    """Write requests under a policy to pages of at most `PAGE_REQUESTS` each; returns their paths.

    Args:
        views: what became of them, at least one.
        path: of the page; where there are several, ``-1``, ``-2``, ... is put behind its name.

    Raises:
        MissingDependencyError: jinja2 or Pillow is not installed.
        DataError: the file cannot be written.
    """
    path = Path(path)
    parts = [views[i : i + PAGE_REQUESTS] for i in range(0, len(views), PAGE_REQUESTS)]
    if len(parts) == 1:
        return (write_text(path, page_html(views), "--out"),)
    return tuple(
        write_text(path.with_stem(f"{path.stem}-{number}"), page_html(part), "--out")
        for number, part in enumerate(parts, 1)
    )


def page_html(views: Sequence[RequestView]) -> str:
    """The page: every text escaped, pictures inside, light and dark, down to a phone's width."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise missing_dependency(error) from error
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(_TEMPLATE)

    def page(picture: Callable[[RequestView, int, int], str]) -> str:
        return template.render(views=views, legend=LEGEND, picture=picture, words=stage_words)

    count = sum(len(medium.stages) for view in views for medium in view.media)
    text = len(page(lambda view, medium, stage: " " * 30).encode())
    # Three bytes of a picture become four signs of text.
    limit = min(INLINE_BYTES, max(0, PAGE_BYTES - _SPARE - text) * 3 // 4 // max(1, count))
    return page(lambda view, medium, stage: overlay_data_uri(view, medium=medium, stage=stage, limit=limit))
