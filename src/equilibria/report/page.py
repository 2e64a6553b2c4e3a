"""One self-contained HTML page about runs: trust, pictures, numbers, how to repeat."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path

from equilibria import durable
from equilibria.errors import RunError
from equilibria.evaluation.verdict import Answer
from equilibria.numbers import Measure
from equilibria.report import charts, panels
from equilibria.report.compare import Comparison
from equilibria.report.health import remarks
from equilibria.report.summary import Summary
from equilibria.report.view import CLASS_SHARE
from equilibria.training.run import PAGE_MARK, is_page

__all__ = ["refuse_foreign", "write"]

_CSS = """
:root{color-scheme:light dark;--ink:#1d2126;--soft:#5a626c;--line:#d9dde2;--page:#fff;
 --box:#f4f6f8;--mark:#2f7fc1}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8ea;--soft:#a5adb6;--line:#3a4048;
 --page:#15181b;--box:#1e2327}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
 font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1120px;margin:0 auto;padding:24px 16px 64px;overflow-wrap:anywhere}
h1{font-size:1.7rem;line-height:1.2;margin:.2em 0 .6em}
h2{font-size:1.4rem;line-height:1.25;margin:2.2em 0 .3em;padding-top:1em;
 border-top:1px solid var(--line)}
h3{font-size:1.1rem;margin:1.8em 0 .6em}
h4{font-size:.95rem;margin:0 0 .4em}
nav ul{padding-left:1.2em}
a{color:inherit}
.trust{background:var(--box);border-left:5px solid var(--mark);border-radius:4px;
 padding:12px 18px;margin:1em 0}
.trust h3{margin:0 0 .3em}
.trust ul{margin:.3em 0;padding-left:1.2em}
.trust li{margin:.25em 0}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,310px),1fr));
 gap:24px 28px;align-items:start}
.strip{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(45%,200px),1fr));
 gap:16px 20px}
.small{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,200px),1fr));
 gap:18px 20px;margin:1em 0;align-items:start}
.small h4{font-size:.85rem;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
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
.rules tbody th{width:60%;font-weight:normal}
.numbers{font-size:.88rem}
.numbers tbody th{width:22%}
.numbers th,.numbers td{overflow-wrap:break-word;padding-right:14px}
.numbers td:nth-child(n+4){white-space:nowrap}
td.value{white-space:nowrap;font-variant-numeric:tabular-nums;font-weight:600}
details{margin:1.2em 0;border:1px solid var(--line);border-radius:4px;padding:8px 14px}
summary{cursor:pointer}
pre{background:var(--box);padding:10px 12px;border-radius:4px;white-space:pre-wrap;font-size:.85rem}
code{font-size:.92em}
@media(max-width:640px){thead{display:none}
 td[data-of]::before{content:attr(data-of) ": ";color:var(--soft)}
 tr,tbody th,td{display:block;width:auto;border:0;padding:1px 0}
 tr{border-bottom:1px solid var(--line);padding:8px 0}}
"""


def write(
    runs: Sequence[str | Path],
    out: str | Path | None = None,
    comparison: Comparison | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the page about finished runs, in their order, and return its path.

    A ``comparison`` of the runs is shown above them. ``out`` is by default ``report.html`` in the
    folder of the first run. A file that is no such page is replaced with ``overwrite`` alone. The
    page needs no other file, no network and no JavaScript, and the same runs give the same page. A
    ``RunError`` says which folder is no finished run or is damaged, or that the page cannot be
    written.
    """
    if isinstance(runs, str | Path) or not runs:
        raise ValueError(f"runs={runs!r}: expected a list of one run folder or more")
    target = Path(runs[0]) / "report.html" if out is None else Path(out)
    if not overwrite:
        refuse_foreign(target)
    found = [Summary(run) for run in runs]
    page = _page(found, comparison).encode()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        durable.replace(target, page)
    except OSError as error:
        what = f"out={str(target)!r} cannot be written ({error})"
        raise RunError(f"{what}: name a file that you may write") from error
    return target


def refuse_foreign(target: Path) -> None:
    """Refuse to replace a file that :func:`write` did not write."""
    if os.path.lexists(target) and not is_page(target):
        what = f"out={str(target)!r} is there already, and is not known to be a page of equilibria"
        raise RunError(f"{what}: choose another name, move it away, or use --overwrite")


def _page(found: Sequence[Summary], comparison: Comparison | None = None) -> str:
    alone = len(found) == 1
    title = escape(found[0].title if alone else f"{len(found)} trained models")
    nav, sections = "", ""
    for i, one in enumerate(found, 1):
        name = escape(one.title)
        nav += f'<li><a href="#run-{i}">{name}</a></li>'
        note, curves = charts.curves(one.history)
        parts = [
            "" if alone else f"<h2>{name}</h2>",
            f"<p>{escape(one.sentences)}</p>",
            _trust(one),
            panels.pictures(one),
            _numbers(one),
            charts.grid("How it was trained", curves, note),
            _again(one),
        ]
        content = "\n".join(filter(None, parts))
        sections += f'<section id="run-{i}">{content}</section>\n'
    nav = "" if alone else f"<nav><ul>{nav}</ul></nav>"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'{PAGE_MARK}\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{title}</h1>\n{nav}{_compared(comparison)}{sections}</main>\n</body>\n</html>\n"
    )


def _compared(comparison: Comparison | None) -> str:
    """The table of a comparison, and what can be concluded from it."""
    if comparison is None:
        return ""
    head, *rows = comparison.table
    names = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    said = "".join(f"<li>{escape(sentence)}</li>" for sentence in comparison.sentences)
    table = f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"
    return f'{table}<div class="trust"><h3>What can be concluded</h3><ul>{said}</ul></div>'


def _trust(summary: Summary) -> str:
    verdict, items = summary.verdict, ""
    if verdict is not None:
        answers = [f"<b>{escape(one.question)}</b> {_short(one)}" for one in verdict.answers]
        answers += [f"<b>To {escape(use)}</b>: {_short(one)}" for use, one in verdict.uses.items()]
        items = "".join(f"<li>{answer}</li>" for answer in answers)
    sentences = [*summary.model.health_, *remarks(summary.results or (), verdict is not None)]
    items += "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    if summary.results is None:
        command = escape(f"equilibria evaluate {shlex.quote(str(summary.run.path))}")
        what = "It has not been evaluated on held-out rows" if verdict is None else "More numbers"
        items += f"<li>{what}: <code>{command}</code></li>"
    if summary.no_data:
        items += f"<li>Its data are not shown: {escape(summary.no_data)}.</li>"
    return f'<div class="trust"><h3>Can it be trusted?</h3><ul>{items}</ul></div>'


def _short(one: Answer) -> str:
    return f"<b>{one.short.capitalize()}</b>: {escape(one.sentence)}"


def _numbers(summary: Summary) -> str:
    if not summary.results:
        return ""
    shares = [one for one in summary.results if one.name.startswith(CLASS_SHARE)]
    rest = [one for one in summary.results if not one.name.startswith(CLASS_SHARE)]
    folded = ""
    if shares:
        folded = f"<details><summary>Class by class</summary>{_table(shares)}</details>"
    return f"<h3>What was measured</h3>{_table(rest)}{folded}"


def _table(results: Sequence[Measure]) -> str:
    rows, said = "", ""
    for one in results:
        method = "" if one.method == said else one.method  # said once, of neighbours that share it
        rows += (
            f'<tr><th scope="row">{escape(one.name[:1].upper() + one.name[1:])}</th>'
            f'<td class="value">{escape(_value(one))}</td>'
            f'<td class="how">{escape(_how(one, method))}</td></tr>'
        )
        said = one.method
    names = "<tr><th>Measure</th><th>Value</th><th>How to read it</th></tr>"
    return f"<table><thead>{names}</thead><tbody>{rows}</tbody></table>"


def _value(one: Measure) -> str:
    if math.isnan(one.value):
        return "not defined"
    if "nats" in one.name:
        return f"{one.value:.3f}"
    counted = one.name.endswith(" found") and one.ideal is not None
    return f"{one.value:.4g}" + (f" of {one.ideal:.0f}" if counted else "")


def _how(one: Measure, method: str) -> str:
    """Interval, chance level, ideal value, sample count, method and remarks, as sentences."""
    parts = []
    if one.low is not None and one.high is not None and not one.is_exact:
        parts.append(f"{100 * one.level:g} % interval {one.low:.4g} to {one.high:.4g}")
    parts += [f"Chance alone gives {one.chance:.4g}"] if one.chance is not None else []
    parts += [f"A perfect sampler scores {one.ideal:.4g}"] if one.ideal is not None else []
    parts.append(method[:1].upper() + method[1:])
    if one.n is not None:
        parts.append(f"n = {one.n:,}" + ("" if one.ess is None else f", effectively {one.ess:.0f}"))
    parts += [one.warning, one.note]
    return " ".join(part if part.endswith(".") else f"{part}." for part in parts if part)


def _again(summary: Summary) -> str:
    params = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(repr(value))}</td></tr>'
        for name, value in summary.model.settings_.get_params(deep=False).items()
    )
    table = escape(summary.model.table_.describe())
    return (
        "<details><summary>Parameters, and how to make it again</summary>"
        f"<p>Data: {table}</p><pre>{escape(summary.reproduction)}</pre>"
        f"<table><tbody>{params}</tbody></table></details>"
    )
