"""Charts and pictures: what is drawn, that text is escaped, that charts share nothing."""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from equilibria.data import Table, save_grid
from equilibria.report import charts


def decoded(html: str) -> np.ndarray:
    """The pixels of the first picture in a piece of HTML."""
    data = re.search(r'src="data:image/png;base64,([^"]+)"', html)
    assert data is not None
    picture = Image.open(io.BytesIO(base64.b64decode(data[1])))
    return np.asarray(picture.convert("RGB")).astype(int)


def heading(html: str) -> str:
    found = re.search(r"<h4>(.*?)</h4>", html)
    assert found is not None
    return found[1]


def rows(stage: str, first: int, values: list[float], name: str = "reconstruction") -> list[Any]:
    return [
        {"step": first + i, "stage": stage, "seconds": 0.1, name: value}
        for i, value in enumerate(values)
    ]


def test_signed_pictures_are_blue_below_zero_white_at_zero_and_red_above() -> None:
    picture = decoded(charts.signed(np.array([[[-1.0, 0.0, 1.0]]]), "Weights"))
    height, width = picture.shape[0] // 3, picture.shape[1] // 5  # lines around, as wide as pixels
    blue, white, red = (picture[height + 1, (1 + i) * width + 1] for i in range(3))
    assert blue[2] > blue[0] + 50
    assert red[0] > red[2] + 50
    assert white.min() > 240


def test_pictures_share_the_scale_of_the_data() -> None:
    X = np.array([[0, 8, 16, 16], [0, 0, 0, 4]], dtype=np.uint8)
    table = Table.fit(X, value_range=(0, 16), picture_shape=(2, 2))
    assert charts.as_pictures(table, X[1:]).ravel().tolist() == [0, 0, 0, 0.25]
    unknown = Table.fit(X * 1.5, picture_shape=(2, 2))
    assert charts.as_pictures(unknown, X[1:]).max() == 1


def test_the_strip_shows_first_middle_and_last_by_step(tmp_path: Path) -> None:
    for step in (1000, 20, 300, 4, 50000):
        save_grid(tmp_path / f"a-stage-{step:09d}.png", np.zeros((4, 2, 2)))
    (tmp_path / "other.png").write_bytes(b"")
    assert [heading(html) for html in charts.strip(list(tmp_path.glob("*.png")))] == [
        "After 4 steps (a stage)",
        "After 300 steps (a stage)",
        "After 50,000 steps (a stage)",
    ]
    assert charts.strip([]) == []
    whole = (tmp_path / "a-stage-000000300.png").read_bytes()
    (tmp_path / "a-stage-000000300.png").write_bytes(whole[:-30])
    os.mkfifo(tmp_path / "a-stage-000000001.png")
    first, middle, last = charts.strip(list(tmp_path.glob("*.png")))
    assert "a-stage-000000001.png is damaged" in first
    assert "a-stage-000000300.png is damaged" in middle
    assert "<img" in last


def test_there_is_a_curve_for_whatever_was_logged_and_letters_for_stages() -> None:
    history = [*rows("one", 1, [3.0, 2.0]), *rows("two", 3, [2.0, 1.0])]
    history += rows("two", 5, [0.2, float("inf"), 0.1], "a_new_measure")
    note, panels = charts.curves(history)
    assert note.startswith("Stages: A one, B two.")
    assert [heading(html) for html in panels] == ["Reconstruction error", "A new measure"]
    assert all(">A</text>" in panel and ">B</text>" in panel for panel in panels)
    assert charts.curves([]) == (note.partition("B two. ")[2], [])
    both = rows("fit", 1, [1.0, 0.5], "train_objective")
    assert "held out" not in charts.curves(both)[1][0], "what was not logged has no key"


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [([1.0, 0.9, 0.8], False), ([1000.0, 30.0, 1.0], True), ([1000.0, 30.0, 0.0], False)],
)
def test_a_wide_range_of_positive_values_is_drawn_on_a_log_scale(
    values: list[float], logarithmic: bool
) -> None:
    panel = charts.curves(rows("train", 1, values))[1][0]
    assert (">10</text>" in panel and ">100</text>" in panel) == logarithmic


def test_a_measure_that_never_moves_is_not_magnified() -> None:
    assert ">1.00</text>" in charts.curves(rows("train", 1, [0.0, 0.0], "dead_units"))[1][0]


def test_charts_adapt_to_the_page_and_share_no_identifier() -> None:
    history = [*rows("a", 1, [1.0, 2.0]), *rows("a", 3, [1.0, 2.0], "contrast")]
    panels = charts.curves(history)[1]
    identifiers = [set(re.findall(r'id="([^"]+)"', panel)) for panel in panels]
    assert identifiers[0]
    assert not identifiers[0] & identifiers[1]
    for panel in panels:
        assert "currentColor" in panel
        assert charts.INK not in panel
        assert "xmlns" not in panel
    assert charts.curves(history)[1] == panels


def test_names_are_drawn_as_they_are() -> None:
    shares = {"<b>": (25.0, 50.0), "$x_1$": (75.0, 50.0), "日": (0.0, 0.0)}
    html = charts.bars("Classes", shares, "", ("samples", "rows"), "share, %")
    assert "&lt;b&gt;: 25, 50" in html
    assert "<b>" not in html
    assert "$x_1$" in html
    assert "日" in html
    points = np.zeros((3, 2))
    assert "&lt;i&gt;" in charts.scatter(points, points, ("<i>", "$y$"))
    assert "&lt;u&gt;" in charts.curve("<u>", [1.0, 2.0])


def test_many_bars_lie_down_so_that_their_names_can_be_read() -> None:
    heights = []
    for n in (10, 30):
        html = charts.bars("Bars", {str(i): 0.1 for i in range(n)})
        box = re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', html)
        assert box is not None
        heights.append(float(box[1]))
    assert heights[1] > 3 * heights[0]
