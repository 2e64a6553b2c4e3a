"""A page's part on a table: what it draws of few columns and of many, and that text stays text."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from equilibria import Independent
from equilibria.data import Table, write_csv
from equilibria.report import columns, page, tables
from equilibria.report.panels import DRAWN

HOSTILE = '<img src=x onerror=y>$x_1$ & "more"\n\''


def draw(panel: Any) -> str:
    return DRAWN[panel.kind](panel.title, panel.values, panel.note)


def sections(rows: Any, samples: Any, **how: Any) -> str:
    table = Table.fit(rows, kinds="mixed", max_categories=4)
    return tables.sections(table, rows, samples, "held-out rows", draw, **how)


def titles(content: str) -> list[str]:
    return [html.unescape(one) for one in re.findall("<h4>(.*?)</h4>", content)]


def line(content: str, name: str) -> list[str]:
    """The cells of a table's line."""
    found = re.search(f'<th scope="row">{re.escape(html.escape(name))}</th>(.*?)</tr>', content)
    assert found is not None, name
    return [html.unescape(one) for one in re.findall("<td[^>]*>(.*?)</td>", found[1])]


def frame(n: int, width: int, shift: float = 0.0) -> pd.DataFrame:
    """Numbers, the i-th ``shift`` · i / width further than they were."""
    values = np.random.RandomState(n).normal(size=(n, width))
    names = [f"c{i}" for i in range(width)]
    return pd.DataFrame(values + shift * np.arange(width) / width, columns=names)


@pytest.mark.parametrize(("width", "folded"), [(10, 0), (100, 88), (130, 88)])
def test_few_columns_are_seen_and_of_many_those_furthest_apart(width: int, folded: int) -> None:
    content = sections(frame(300, width), frame(400, width, 8.0))
    drawn = [one for one in titles(content) if " and " not in one]
    assert len(drawn) == min(width, 100)
    first = {f"c{i}" for i in range(width // 2, width)}
    assert set(drawn[: min(5, width)]) <= first
    parts = content.partition("</summary>")
    assert parts[0].count("<svg ") == (min(width, tables.OPEN) if folded else width)
    assert (f"<summary>{folded} more columns</summary>" in content) == bool(folded)
    assert ("30 columns are nearer, and not drawn" in content) == (width == 130)
    assert len(re.findall('<th scope="row">c', content)) >= width  # all in numbers


def test_rows_stand_beside_samples_in_numbers() -> None:
    rows = pd.DataFrame({"kind": ["a"] * 30 + ["b"] * 10, "size": [None] * 4 + [1.5] * 36})
    rows.loc[4:, "size"] += np.arange(36)
    samples = pd.DataFrame({"kind": ["b"] * 20, "size": np.arange(20.0)})
    content = sections(rows, samples)
    assert line(content, "kind")[:5] == ["a, 75 %", "b, 100 %", "0.0 %", "0.0 %", "0.750"]
    assert line(content, "size")[:4] == ["19 ± 10.39", "9.5 ± 5.766", "10.0 %", "0.0 %"]
    assert "Cells are missing in 1 of 2 columns. Samples have none" in content
    assert content.rpartition("What was missing")[2].count("<tr>") == 2
    assert "2 of 2 columns are further apart than chance would put them" in content
    svg = content.partition("<svg ")[2]
    assert 'aria-label="kind: a 75% of rows, 0% of samples; b 25% of rows, 100% of samples"' in svg
    assert content.count(">missing</text>") == 2  # of the histogram and the pair; kind has no gap
    assert "Missing" not in sections(*(part.dropna() for part in (rows, samples)))[-200:]


def test_columns_of_one_value_are_named_and_no_fault() -> None:
    table = Table.fit(pd.DataFrame({"x": ["a", "b"] * 20, "y": [1, 2] * 20}), kinds="mixed")
    rows = pd.DataFrame({"x": ["a"] * 30, "y": [1, 2] * 15})
    found = tables.sections(table, rows, rows, "held-out rows", draw)
    assert "Of one value in all rows and samples, and left out: x." in found
    found = tables.sections(table, rows[::2], rows[::2], "held-out rows", draw)
    assert "Every column has one value in all rows and samples." in found


def test_what_gives_them_away_is_said_in_words() -> None:
    rows = pd.DataFrame({"kind": ["a", "b"] * 50, "size": np.arange(100) % 20 / 2})
    content = sections(rows, rows.assign(size=rows["size"] + 100))
    assert line(content, "size ≤ 54.75") == ["100.0 %", "0.0 %"]
    assert line(content, "size > 54.75") == ["0.0 %", "100.0 %"]
    assert "100 % of pairs (95 % interval" in content
    alike = sections(rows, rows)
    assert "no more than chance would" in alike
    assert 'class="rules"' not in alike


def test_dates_gaps_and_columns_that_are_left_out() -> None:
    n = 150
    days = pd.Timestamp("2021-01-01") + pd.to_timedelta(np.arange(n) * 5, unit="D")
    rows = pd.DataFrame({"when": days, "took": pd.to_timedelta(np.arange(n), unit="h")})
    rows["name"] = [f"Mr {i}" for i in range(n)]
    rows["same"] = 7
    rows["all gone"] = [1.0, 2.0] * (n // 2)
    rows.loc[::3, "when"] = None
    samples = rows.assign(when=rows["when"].shift(1) + pd.Timedelta(days=500), name=None)
    samples["all gone"] = np.nan
    content = sections(rows, samples)
    assert "Not modelled, and left out: name, same." in content
    assert len(re.findall(r">202\d-\d\d</text>", content)) >= 2
    assert "Mr 1" not in content
    assert line(content, "when")[0] == "2022-01-11 ± 216 d"
    assert line(content, "all gone")[:4] == ["1, 50 %", "none", "0.0 %", "100.0 %"]


def test_markup_in_names_and_cells_stays_text() -> None:
    values = np.array([HOSTILE + "1", HOSTILE + "2", "plain"])
    stream = np.random.RandomState(0)
    rows = pd.DataFrame({HOSTILE: values[stream.randint(0, 3, 200)]})
    rows["<script>alert(1)</script>"] = stream.normal(size=200)
    rows["$\\frac"] = values[stream.randint(0, 2, 200)]
    samples = rows.assign(**{HOSTILE: values[0], "$\\frac": rows[HOSTILE]})
    content = sections(rows, samples, note="<b>")
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            found.extend([tag, *(name for name, _ in attrs)])

    Reader().feed(content)
    assert not {"img", "script", "b", "onerror"} & set(found)
    assert {"svg", "td", "figure"} <= set(found)
    assert html.escape("$\\frac") in content
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in content


def test_long_names_are_cut_where_they_are_drawn_and_whole_where_they_are_told() -> None:
    long = "a very long name of a value"
    rows = pd.DataFrame({"x": [long, "b"] * 20, "y": ["c", "d"] * 20})
    content = columns.margin("x", tables.differences(rows, rows).margins[0])
    assert ">a very long n…</text>" in content
    assert f"{long} 50% of rows" in content


def test_greys_are_compared_as_the_model_draws_them(
    tmp_path: Path, trained: Callable[..., Path]
) -> None:
    greys = np.random.RandomState(0).uniform(size=(200, 4)).round(3)
    write_csv(tmp_path / "greys.csv", greys, list("abcd"))
    folder = trained(Independent(), tmp_path / "greys.csv", tmp_path / "run", held_out=0.5)
    content = page.write([folder]).read_text(encoding="utf-8")
    assert re.search('aria-label="a: 0 [45]\\d% of rows, [45]\\d% of samples; 1 ', content)
    assert "rows were made so by a draw each" in content


def test_a_page_of_a_table_has_them_all_and_says_what_rows_they_are(
    tmp_path: Path, trained: Callable[..., Path]
) -> None:
    lines = [f"{'yn'[i % 2]},{i / 3:.2f},{'' if i % 4 else i}" for i in range(120)]
    (tmp_path / "table.csv").write_text("\n".join(["vote,size,late", *lines]) + "\n")
    for held_out, kind in ((0.3, "held-out rows"), (0, "training rows")):
        folder = tmp_path / f"run {held_out}"
        trained(Independent(), tmp_path / "table.csv", folder, held_out=held_out)
        content = page.write([folder]).read_text(encoding="utf-8")
        for title in ("Column by column", "Pairs of columns furthest apart", "What was missing"):
            assert f"<h3>{title}</h3>" in content
        assert f">{kind}</span>" in content
        assert f"Missing in {kind}" in content
