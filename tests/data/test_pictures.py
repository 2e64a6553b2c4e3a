"""Idx files and folders of pictures in, grids of pictures out, and each refusal."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from equilibria.data import picture_grid, read_folder, read_idx, save_grid


def idx(array: np.ndarray, kind: int) -> bytes:
    header = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def picture(path, array, **options):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path, **options)


def test_idx_gives_back_what_was_written(tmp_path):
    for dtype, kind in [
        ("uint8", 0x08),
        ("int8", 0x09),
        ("int16", 0x0B),
        ("int32", 0x0C),
        ("float32", 0x0D),
        ("float64", 0x0E),
    ]:
        array = (np.arange(2 * 3 * 4) - 5).reshape(2, 3, 4).astype(dtype)
        path = tmp_path / "numbers-idx3"
        for content in (idx(array, kind), gzip.compress(idx(array, kind))):
            path.write_bytes(content)
            read = read_idx(path)
            assert read.dtype == np.dtype(dtype)
            assert (read == array).all()
            read[0] = 1  # a copy that may be written to


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an idx file: it starts with nothing"),
        (bytes([0, 0, 8, 3, 0, 0]), "truncated in its header: 6 bytes"),
        (
            idx(np.zeros((2, 3), np.uint8), 8)[:-1],
            r"truncated: 17 bytes where its header \(2, 3\) asks for 18",
        ),
        (idx(np.zeros((2, 3), np.uint8), 8) + b"x", "too long: more than the 18 bytes"),
        (
            gzip.compress(idx(np.zeros((200, 3), np.uint8), 8), mtime=0)[:-6],
            "not a readable gzip file",
        ),
        (
            gzip.compress(bytes(1000), mtime=0)[:20] + b"!!!!!!!!",
            "not a readable gzip file",
        ),
    ],
)
def test_damaged_idx_is_named(tmp_path, content, message):
    path = tmp_path / "broken-ubyte"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"broken-ubyte: {message}"):
        read_idx(path)


def test_folder_is_read_in_sorted_order_and_skips_what_is_no_picture(tmp_path):
    for name, level in (("b.png", 20), ("a.bmp", 10), ("c.PNG", 30)):
        picture(tmp_path / name, np.full((2, 3), level))
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "._a.png").write_bytes(b"a hidden file that some systems leave behind")
    (tmp_path / "empty").mkdir()
    pictures, labels = read_folder(tmp_path)
    assert labels is None
    assert pictures.dtype == np.uint8
    assert pictures.shape == (3, 2, 3)
    assert pictures[:, 0, 0].tolist() == [10, 20, 30]


def test_subfolders_are_labels(tmp_path):
    for name, level in (("dog/1.png", 3), ("cat/2.png", 2), ("cat/1.png", 1)):
        picture(tmp_path / name, np.full((2, 2), level))
    pictures, labels = read_folder(tmp_path)
    assert labels is not None
    assert labels.tolist() == ["cat", "cat", "dog"]
    assert pictures[:, 0, 0].tolist() == [1, 2, 3]


def test_colour_is_kept_or_made_grey(tmp_path):
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 255
    picture(tmp_path / "red.png", red)
    rgb, _ = read_folder(tmp_path, colour="rgb")
    assert (rgb[0] == red).all()
    grey, _ = read_folder(tmp_path)
    assert grey.shape == (1, 2, 2)
    assert (grey == 76).all()  # 0.299 of 255: ITU-R 601 luma


@pytest.mark.parametrize(("size", "shape"), [(4, (4, 4)), ((2, 6), (2, 6))])
def test_size_scales_and_crops_the_centre(tmp_path, size, shape):
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 200  # the middle third
    picture(tmp_path / "wide.png", wide)
    picture(tmp_path / "square.png", np.full((7, 7), 200))
    pictures, _ = read_folder(tmp_path, size=size)
    assert pictures.shape == (2, *shape)
    if size == 4:
        assert (
            pictures[1, :, 1:3] > 190
        ).all()  # squeezing the sides in would have left three quarters of it black


def test_transparency_is_laid_on_white_and_16_bits_are_scaled(tmp_path):
    transparent = np.zeros((2, 2, 4), np.uint8)
    transparent[0, 0] = (0, 0, 0, 255)
    picture(tmp_path / "a.png", transparent)
    Image.fromarray(np.full((2, 2), 32896, np.uint16)).save(tmp_path / "b.png")
    pictures, _ = read_folder(tmp_path)
    assert pictures[0].tolist() == [[0, 255], [255, 255]]
    assert (pictures[1] == 128).all()


def test_rotation_of_a_camera_is_undone(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° to be seen upright
    picture(tmp_path / "turned.png", np.zeros((2, 5)), exif=exif)
    assert read_folder(tmp_path)[0].shape == (1, 5, 2)


def test_folder_refusals(tmp_path):
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(
        ValueError, match=r"holds no pictures; expected files that end in one of .*\.png"
    ):
        read_folder(tmp_path)
    picture(tmp_path / "a.png", np.zeros((2, 2)))
    with pytest.raises(ValueError, match="colour='blue': expected 'grey' or 'rgb'"):
        read_folder(tmp_path, colour="blue")
    for size in (0, True, (3,), (3, -1), "8"):
        with pytest.raises(ValueError, match=r"size=.*: expected None or a whole number of pixels"):
            read_folder(tmp_path, size=size)
    picture(tmp_path / "b.png", np.zeros((3, 5)))
    with pytest.raises(
        ValueError, match=r"b\.png is 3×5 but .*a\.png is 2×2.*choose it, e\.g\. size=2"
    ):
        read_folder(tmp_path)
    picture(tmp_path / "cat" / "c.png", np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"holds a\.png beside sub-folders of pictures"):
        read_folder(tmp_path)


@pytest.mark.parametrize("cut", [0, 60])
def test_an_unreadable_picture_is_named(tmp_path, cut):
    picture(tmp_path / "good.png", np.zeros((30, 30)))
    noise = np.arange(900).reshape(30, 30) % 251
    picture(tmp_path / "torn.png", noise)
    (tmp_path / "torn.png").write_bytes((tmp_path / "torn.png").read_bytes()[:cut])
    with pytest.raises(
        ValueError, match=r"torn\.png: not a readable picture .*repair or remove it"
    ):
        read_folder(tmp_path)


def test_grid_puts_every_picture_in_its_place():
    images = np.stack([np.full((2, 3), level, np.uint8) for level in (10, 20, 30, 40, 50)])
    grid = picture_grid(images, columns=3, pad=2)
    assert grid.dtype == np.uint8
    assert grid.shape == (2 + 2 * 4, 2 + 3 * 5)
    for place, level in enumerate((10, 20, 30, 40, 50)):
        top, left = 2 + 4 * (place // 3), 2 + 5 * (place % 3)
        assert (grid[top : top + 2, left : left + 3] == level).all()
    covered = np.isin(grid, (10, 20, 30, 40, 50)).sum()
    assert covered == 5 * 6  # all else is a line or an empty place
    assert (grid[~np.isin(grid, (10, 20, 30, 40, 50))] == 128).all()


def test_grid_of_numbers_colours_and_tensors():
    greys = np.array([[[0.0, 0.5, 1.0]]])
    assert picture_grid(greys, pad=0).tolist() == [[0, 128, 255]]
    assert picture_grid(torch.tensor(greys), pad=0).tolist() == [[0, 128, 255]]
    assert picture_grid(greys > 0.4, pad=0).tolist() == [[0, 255, 255]]
    colours = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 3), np.uint8)
    grid = picture_grid(colours)
    assert grid.shape == (1 + 3 * 5, 1 + 3 * 5, 3)  # 7 pictures in a square of 3 × 3
    assert (grid[1:5, 6:10] == colours[1]).all()


def test_saved_grid_is_the_grid_enlarged(tmp_path):
    images = np.random.default_rng(0).random((4, 3, 3))
    save_grid(tmp_path / "grid.png", images, columns=2, zoom=3)
    saved = np.asarray(Image.open(tmp_path / "grid.png"))
    assert (saved[1::3, 1::3] == picture_grid(images, 2)).all()
    assert saved.shape == (27, 27)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (np.zeros((3, 4)), {}, r"images has shape \(3, 4\): expected \(n, height, width\)"),
        (np.zeros((0, 2, 2)), {}, "at least one picture"),
        (
            np.full((1, 2, 2), 1.5),
            {},
            r"images: values from 1\.5 to 1\.5; expected uint8, or numbers in \[0, 1\]",
        ),
        (np.full((1, 2, 2), np.nan), {}, "images: values from nan"),
        (np.zeros((1, 2, 2)), {"columns": 0}, "columns=0, pad=1: expected at least one column"),
    ],
)
def test_grid_refusals(images, options, message):
    with pytest.raises(ValueError, match=message):
        picture_grid(images, **options)


def test_save_grid_refusals(tmp_path):
    with pytest.raises(
        ValueError, match=r"path='.*grid\.xyz': expected a name that ends in one of \.png"
    ):
        save_grid(tmp_path / "grid.xyz", np.zeros((1, 2, 2)))
    with pytest.raises(ValueError, match="zoom=0: expected a whole number"):
        save_grid(tmp_path / "grid.png", np.zeros((1, 2, 2)), zoom=0)
