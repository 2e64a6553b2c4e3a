"""Charts and pictures: what is drawn, that text is escaped, and that nothing is shared between charts."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from equilibria.data import save_grid
from equilibria.report import figures, pixels


def decoded(html: str) -> np.ndarray:
    """The pixels of the first picture in a piece of HTML."""
    data = re.search(r'src="data:image/png;base64,([^"]+)"', html)
    assert data is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data[1]))).convert("RGB")).astype(int)


def rows(stage: str, first: int, values: list[float], name: str = "reconstruction") -> list[dict[str, object]]:
    return [{"step": first + i, "stage": stage, "seconds": 0.1, name: value} for i, value in enumerate(values)]


def test_filters_are_blue_below_zero_white_at_zero_and_red_above() -> None:
    html = pixels.filters(np.array([[-1.0], [0.0], [1.0]]), (1, 3), "Filters", "Weights.")
    picture = decoded(html)
    height, width = picture.shape[0] // 3, picture.shape[1] // 5  # the lines around pixels are as wide as pixels
    blue, white, red = (picture[height + 1, (1 + i) * width + 1] for i in range(3))
    assert blue[2] > blue[0] + 50
    assert red[0] > red[2] + 50
    assert white.min() > 240


def test_the_largest_filters_are_shown_first() -> None:
    weights = np.ones((4, 100)) * np.linspace(0.1, 1, 100)
    html = pixels.filters(weights, (2, 2), "Filters", "Weights.", most=4)
    assert "the 4 of 100 units with the largest weights" in html


def test_greys_share_one_scale() -> None:
    assert pixels.greys([[0, 8, 16, 20]], (2, 2), 0, 16).ravel().tolist() == [0, 0.5, 1, 1]


def test_the_strip_shows_first_middle_and_last_by_step(tmp_path: Path) -> None:
    for step in (1000, 20, 300, 4, 50000):
        save_grid(tmp_path / f"a-stage-{step:09d}.png", np.zeros((4, 2, 2)))
    (tmp_path / "other.png").write_bytes(b"")
    shown = pixels.strip(list(tmp_path.glob("*.png")))
    assert [re.search(r"<h4>(.*?)</h4>", html)[1] for html in shown] == [  # type: ignore[index]
        "After 4 steps (a stage)",
        "After 300 steps (a stage)",
        "After 50,000 steps (a stage)",
    ]
    assert pixels.strip([]) == []


def test_there_is_a_panel_for_each_measure_and_letters_for_stages() -> None:
    history = [*rows("one", 1, [3.0, 2.0]), *rows("two", 3, [2.0, 1.0]), *rows("two", 5, [0.2, 0.1], "a_new_measure")]
    note, panels = figures.curves(history)
    assert note.startswith("Stages: A one, B two.")
    assert [re.search(r"<h4>(.*?)</h4>", html)[1] for html in panels] == ["Reconstruction error", "a new measure"]  # type: ignore[index]
    assert all(">A</text>" in panel and ">B</text>" in panel for panel in panels)
    assert figures.curves([]) == (note.partition("B two. ")[2], [])


@pytest.mark.parametrize(("values", "logarithmic"), [([1.0, 0.9, 0.8], False), ([1000.0, 30.0, 1.0], True), ([1000.0, 30.0, 0.0], False)])
def test_a_wide_range_of_positive_values_is_drawn_on_a_log_scale(values: list[float], logarithmic: bool) -> None:
    panel = figures.curves(rows("train", 1, values))[1][0]
    assert (">10</text>" in panel and ">100</text>" in panel) == logarithmic


def test_a_measure_that_never_moves_is_not_magnified() -> None:
    panel = figures.curves(rows("train", 1, [0.0, 0.0], "dead_units"))[1][0]
    assert ">1.00</text>" in panel


def test_charts_adapt_to_the_page_and_share_no_identifier() -> None:
    panels = figures.curves([*rows("a", 1, [1.0, 2.0]), *rows("a", 3, [1.0, 2.0], "contrast")])[1]
    identifiers = [set(re.findall(r'id="([^"]+)"', panel)) for panel in panels]
    assert identifiers[0]
    assert not identifiers[0] & identifiers[1]
    assert all("currentColor" in panel and figures._INK not in panel and "xmlns" not in panel for panel in panels)
    assert figures.curves(rows("a", 1, [1.0, 2.0])) == figures.curves(rows("a", 1, [1.0, 2.0]))


def test_names_are_drawn_as_they_are() -> None:
    shares = {"<b>": (0.25, 0.5), "$x_1$": (0.75, 0.5), "日": (0.0, 0.0)}
    html = figures.class_shares(shares)
    assert "&lt;b&gt;: 25.0 % of samples, 50.0 % of training rows" in html
    assert "<b>" not in html
    assert "$x_1$" in html
    assert "日" in html
    points = np.zeros((3, 2))
    assert "&lt;i&gt;" in figures.scatter(points, points, ("<i>", "$y$"))


def test_many_classes_lie_down_so_that_their_names_can_be_read() -> None:
    standing, lying = ({f"{i}": (0.1, 0.1) for i in range(n)} for n in (10, 30))
    heights = [float(re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', figures.class_shares(s))[1]) for s in (standing, lying)]  # type: ignore[index]
    assert heights[1] > 3 * heights[0]
