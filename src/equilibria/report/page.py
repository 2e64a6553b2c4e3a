"""One self-contained HTML page about one or several runs: what to trust, the numbers, the pictures, how to make it again."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path

from equilibria.errors import RunError
from equilibria.numbers import Measure
from equilibria.report import assessment, panels
from equilibria.report.assessment import CLASS_SHARE
from equilibria.report.story import Story
from equilibria.training.files import replace_file

__all__ = ["write"]

_CSS = """
:root{color-scheme:light dark;--ink:#1d2126;--soft:#5a626c;--line:#d9dde2;--page:#fff;--box:#f4f6f8;--mark:#2f7fc1}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8ea;--soft:#a5adb6;--line:#3a4048;--page:#15181b;--box:#1e2327}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1120px;margin:0 auto;padding:24px 16px 64px;overflow-wrap:anywhere}
h1{font-size:1.7rem;line-height:1.2;margin:.2em 0 .6em}
h2{font-size:1.4rem;line-height:1.25;margin:2.2em 0 .3em;padding-top:1em;border-top:1px solid var(--line)}
h3{font-size:1.1rem;margin:1.8em 0 .6em}
h4{font-size:.95rem;margin:0 0 .4em}
nav ul{padding-left:1.2em}
a{color:inherit}
.trust{background:var(--box);border-left:5px solid var(--mark);border-radius:4px;padding:12px 18px;margin:1em 0}
.trust h3{margin:0 0 .3em}
.trust ul{margin:.3em 0;padding-left:1.2em}
.trust li{margin:.25em 0}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,310px),1fr));gap:24px 28px;align-items:start}
.strip{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(45%,200px),1fr));gap:16px 20px}
figure{margin:0}
figcaption,.note{color:var(--soft);font-size:.85rem;margin-top:.4em}
figcaption{max-width:440px}
svg,img{display:block;width:100%;height:auto}
img{image-rendering:pixelated;border-radius:2px}
.key{display:inline-flex;align-items:center;gap:6px;margin-right:16px;font-size:.85rem}
.key i{width:14px;height:4px;border-radius:2px}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:8px 22px 8px 0;border-bottom:1px solid var(--line)}
thead th,td.how{color:var(--soft);font-size:.88rem}
thead th{font-weight:normal}
tbody th{font-weight:600;width:32%}
td.value{white-space:nowrap;font-variant-numeric:tabular-nums;font-weight:600}
details{margin:1.2em 0;border:1px solid var(--line);border-radius:4px;padding:8px 14px}
summary{cursor:pointer}
pre{background:var(--box);padding:10px 12px;border-radius:4px;white-space:pre-wrap;font-size:.85rem}
code{font-size:.92em}
@media(max-width:640px){thead{display:none}tr,tbody th,td{display:block;width:auto;border:0;padding:1px 0}
 tr{border-bottom:1px solid var(--line);padding:8px 0}}
"""


def write(runs: Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Write the page about some finished runs, and return its path.

    It needs no other file, no network and no JavaScript, and the same runs give the same page.

    Parameters
    ----------
    runs : sequence of path
        Run folders, in the order to show them.
    out : path, optional
        The file to write, by default ``report.html`` in the folder of the first run.

    Raises
    ------
    RunError
        When a folder is no finished run or is damaged, or the page cannot be written.
    ValueError
        For no run.
    """
    if isinstance(runs, str | Path) or not runs:
        raise ValueError(f"runs={runs!r}: expected a list of one run folder or more")
    stories = [Story(Path(run)) for run in runs]
    target = stories[0].run.path / "report.html" if out is None else Path(out)
    page = _page(stories).encode()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, page)
    except OSError as error:
        raise RunError(f"out={str(target)!r} cannot be written ({error}): name a file that you may write") from error
    return target


# ---------------------------------------------------------------- the page


def _page(stories: Sequence[Story]) -> str:
    title = stories[0].title if len(stories) == 1 else f"{len(stories)} trained models"
    links = "".join(f'<li><a href="#run-{i}">{escape(story.title)}</a></li>' for i, story in enumerate(stories, 1))
    nav = f"<nav><ul>{links}</ul></nav>" if len(stories) > 1 else ""
    sections = "".join(_section(story, i, alone=len(stories) == 1) for i, story in enumerate(stories, 1))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n{nav}{sections}</main>\n</body>\n</html>\n"
    )


def _section(story: Story, number: int, alone: bool) -> str:
    heading = "" if alone else f"<h2>{escape(story.title)}</h2>"
    parts = [
        heading,
        f"<p>{escape(story.sentence)}</p>",
        _trust(story),
        panels.pictures(story),
        _numbers(story),
        panels.curves(story),
        _again(story),
    ]
    return f'<section id="run-{number}">' + "\n".join(part for part in parts if part) + "</section>\n"


def _trust(story: Story) -> str:
    sentences = [*story.model.health_, *assessment.remarks(story.results or ())]
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<div class="trust"><h3>Can it be trusted?</h3><ul>{items}</ul>{_missing(story)}</div>'


def _missing(story: Story) -> str:
    parts = []
    if story.results is None:
        command = f"equilibria evaluate {shlex.quote(str(story.run.path))}"
        parts.append(f"<p>It has not been evaluated on held-out rows yet. To do so: <code>{escape(command)}</code></p>")
    if story.no_data:
        parts.append(f"<p>Its data are not shown: {escape(story.no_data)}.</p>")
    return "".join(parts)


# ---------------------------------------------------------------- numbers


def _numbers(story: Story) -> str:
    if not story.results:
        return ""
    shares = [result for result in story.results if result.name.startswith(CLASS_SHARE)]
    rest = [result for result in story.results if not result.name.startswith(CLASS_SHARE)]
    folded = f"<details><summary>Class by class</summary>{_table(shares)}</details>" if shares else ""
    return f"<h3>What was measured</h3>{_table(rest)}{folded}"


def _table(results: Sequence[Measure]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(result.name[:1].upper() + result.name[1:])}</th>'
        f'<td class="value">{escape(_value(result))}</td><td class="how">{escape(_how(result))}</td></tr>'
        for result in results
    )
    return f"<table><thead><tr><th>Measure</th><th>Value</th><th>How to read it</th></tr></thead><tbody>{rows}</tbody></table>"


def _value(result: Measure) -> str:
    if math.isnan(result.value):
        return "not defined"
    if "nats" in result.name:
        return f"{result.value:.3f}"
    return f"{result.value:.4g}" + (f" of {result.ideal:.0f}" if result.name.endswith(" found") and result.ideal is not None else "")


def _how(result: Measure) -> str:
    """Interval, chance level, ideal value, sample count, method and remarks, as sentences."""
    parts = []
    if result.low is not None and result.high is not None and not result.is_exact:
        parts.append(f"{100 * result.level:g} % interval {result.low:.4g} to {result.high:.4g}")
    parts += [f"Chance alone gives {result.chance:.4g}"] if result.chance is not None else []
    parts += [f"A perfect sampler scores {result.ideal:.4g}"] if result.ideal is not None else []
    parts.append(result.method[:1].upper() + result.method[1:])
    if result.n is not None:
        parts.append(f"n = {result.n:,}" + ("" if result.ess is None else f", effectively {result.ess:.0f}"))
    parts += [result.warning, result.note]
    return " ".join(part if part.endswith(".") else f"{part}." for part in parts if part)


# ---------------------------------------------------------------- making it again


def _again(story: Story) -> str:
    params = "".join(f'<tr><th scope="row">{escape(k)}</th><td>{escape(repr(v))}</td></tr>' for k, v in story.run.config["params"].items())
    data = f"<p>Data: {escape(story.model.schema_.describe())}</p>"
    return (
        f"<details><summary>Parameters, and how to make it again</summary>{data}<pre>{escape(story.reproduction)}</pre>"
        f"<table><tbody>{params}</tbody></table></details>"
    )
