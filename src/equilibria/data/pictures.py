"""Pictures: idx files and folders of pictures in, grids of pictures out."""

from __future__ import annotations

import io
import logging
import math
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from equilibria import durable
from equilibria.check import affordable, choice, optional, sequence, whole
from equilibria.data.reading import opened, read_bytes, reading

__all__ = ["parse_idx", "picture_grid", "read_folder", "read_idx", "save_grid"]

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_IDX_HEADER = 4 + 4 * 255  # bytes at most
_WRITABLE = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_SUFFIXES = frozenset({*_WRITABLE, ".pgm", ".ppm"})
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # EPS would start another program
_MODES = {"grey": "L", "rgb": "RGB"}
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else it writes to standard error
_GAP = 128  # neither the black background of digits nor the white one of drawings


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an idx file (the format of MNIST), compressed or not.

    The format, from http://yann.lecun.com/exdb/mnist: two zero bytes, a type, the number of
    dimensions, each dimension as a big-endian 32-bit integer, then the values row by row.
    """
    name, head = str(path), read_bytes(path, _IDX_HEADER, whole=False)
    _, _, expected = _idx_header(head, name)
    affordable("source", name, min(expected, 1 << 90) / 4)  # of more there is no float
    return parse_idx(read_bytes(path, expected + 1, whole=False), name)


def parse_idx(content: bytes, name: str) -> np.ndarray:
    """The array in the content of an idx file; ``name`` is what errors call it.

    Examples
    --------
    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]), "three bytes")
    array([7, 8, 9], dtype=uint8)
    """
    dtype, shape, expected = _idx_header(content, name)
    if len(content) < expected:
        asked = f"{len(content):,} bytes where its header {shape} asks for {expected:,}"
        raise ValueError(f"{name}: truncated: {asked}; fetch it again")
    if len(content) > expected:
        what = f"too long: more than the {expected:,} bytes that its header {shape} asks for"
        raise ValueError(f"{name}: {what}; fetch it again")
    with reading(name, "idx file"):  # numpy's arrays have at most 64 dimensions
        values = np.frombuffer(content, dtype, offset=4 + 4 * len(shape)).reshape(shape)
        return values.astype(dtype.newbyteorder("="))  # a copy: writable


def _idx_header(content: bytes, name: str) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Type and shape of the array in an idx file, and how many bytes the file then has."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_TYPES or not content[3]:
        found = f"it starts with {content[:4].hex(' ') or 'nothing'}"
        wanted = "expected 00 00, a type and a dimension count"
        raise ValueError(f"{name}: not an idx file: {found}; {wanted}")
    dtype, start = np.dtype(_IDX_TYPES[content[2]]), 4 + 4 * content[3]
    if len(content) < start:
        raise ValueError(f"{name}: truncated in its header: {len(content)} bytes; fetch it again")
    shape = tuple(int(side) for side in np.frombuffer(content, ">u4", content[3], 4))
    return dtype, shape, start + math.prod(shape) * dtype.itemsize


def read_folder(
    folder: str | os.PathLike[str],
    *,
    size: int | tuple[int, int] | None = None,
    colour: str = "grey",
) -> tuple[np.ndarray, np.ndarray | None]:
    """The pictures in a folder, in sorted order.

    Where the folder has sub-folders with pictures, a picture's label is the name of its sub-folder.
    Hidden files and files that are not pictures (by their suffix) are skipped. Transparent pictures
    are laid on white.

    ``size`` (an int, or (height, width)) is what pictures are scaled to, cropped around the centre
    where the proportions differ; without it they must agree. ``colour="rgb"`` keeps colours.

    Returns
    -------
    pictures : ndarray of uint8, shape (n, height, width) or (n, height, width, 3)
    labels : ndarray of str, shape (n,), or None
    """
    sides = (size, size) if isinstance(size, int | np.integer) else size
    pixels = "a whole number of pixels, 1 or more, or (height, width) of them"
    height_width = optional(sequence(whole(1), 2, pixels, 2))("size", sides)
    choice(*_MODES)("colour", colour)
    paths, labels = _picture_paths(Path(folder))
    first = _read_picture(paths[0], height_width, _MODES[colour])
    affordable("source", str(folder), len(paths) * first.size / 4)
    pictures = np.empty((len(paths), *first.shape), np.uint8)
    for place, path in enumerate(paths):
        picture = first if place == 0 else _read_picture(path, height_width, _MODES[colour])
        if picture.shape != first.shape:
            sizes = ("×".join(map(str, one.shape[:2])) for one in (picture, first))
            what = f"{path} is {next(sizes)} but {paths[0]} is {next(sizes)}: pictures must be of"
            raise ValueError(f"{what} one size; choose it, e.g. size={min(first.shape[:2])}")
        pictures[place] = picture
    return pictures, labels


def picture_grid(
    images: np.ndarray | Tensor, columns: int | None = None, pad: int = 1
) -> np.ndarray:
    """One picture (H, W) or (H, W, 3), uint8, of many, with grey lines of ``pad`` pixels between.

    ``images`` are (n, height, width) or (n, height, width, 3), uint8 or numbers in [0, 1];
    ``columns`` of them stand in a row, by default so many that the grid is about square.

    Examples
    --------
    >>> picture_grid(np.ones((2, 1, 1)), columns=2)
    array([[128, 128, 128, 128, 128],
           [128, 255, 128, 255, 128],
           [128, 128, 128, 128, 128]], dtype=uint8)
    """
    tiles = _as_bytes(np.asarray(images))
    columns = math.ceil(math.sqrt(len(tiles))) if columns is None else columns
    if columns < 1 or pad < 0:
        what = "expected at least one column and no negative pad"
        raise ValueError(f"columns={columns}, pad={pad}: {what}")
    height, width = tiles.shape[1] + pad, tiles.shape[2] + pad
    sides = pad + height * math.ceil(len(tiles) / columns), pad + width * columns
    canvas = np.full((*sides, *tiles.shape[3:]), _GAP, np.uint8)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        top, left = pad + row * height, pad + column * width
        canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return canvas


def save_grid(
    path: str | os.PathLike[str],
    images: np.ndarray | Tensor,
    columns: int | None = None,
    pad: int = 1,
    zoom: int = 1,
) -> None:
    """Write :func:`picture_grid` to a picture file, each pixel ``zoom`` times enlarged; whole or
    not at all."""
    if Path(path).suffix.lower() not in _WRITABLE:
        expected = f"a name that ends in one of {', '.join(_WRITABLE)}"
        raise ValueError(f"path={str(path)!r}: expected {expected}")
    zoom = whole(1)("zoom", zoom)
    grid = picture_grid(images, columns, pad)
    picture = Image.fromarray(grid.repeat(zoom, axis=0).repeat(zoom, axis=1))
    content, kind = io.BytesIO(), Image.registered_extensions()[Path(path).suffix.lower()]
    picture.save(content, kind)
    durable.replace(Path(path), content.getvalue())


def _picture_paths(folder: Path) -> tuple[list[Path], np.ndarray | None]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    loose, inside = _pictures(folder)
    labelled = [(path, sub.name) for sub in inside for path in _pictures(sub)[0]]
    if loose and labelled:
        found = f"holds {loose[0].name} beside sub-folders of pictures"
        raise ValueError(f"{folder}: {found}; put every picture into the sub-folder of its label")
    if labelled:
        labels = sorted({label for _, label in labelled})
        odd = next((label for label in labels if not label.isprintable()), None)
        if odd is not None:  # bytes that are no text, or a line break, in the name of a class
            what = f"the sub-folder {odd!r} gives its pictures their label; give it a plain name"
            raise ValueError(f"{folder}: {what}")
        return [path for path, _ in labelled], np.array([label for _, label in labelled])
    if not loose:
        expected = f"expected files that end in one of {', '.join(sorted(_SUFFIXES))}"
        raise ValueError(f"{folder}: holds no pictures; {expected}")
    return loose, None


def _pictures(folder: Path) -> tuple[list[Path], list[Path]]:
    """What a folder holds that is called a picture, and its folders; both without hidden ones."""
    with reading(folder, "folder", "see who may read it"):
        found = sorted(path for path in folder.iterdir() if path.name[0] != ".")
        folders = [path for path in found if path.is_dir()]
    named = (path for path in found if path.suffix.lower() in _SUFFIXES)
    return [path for path in named if not path.is_dir()], folders


def _read_picture(path: Path, size: tuple[int, int] | None, mode: str) -> np.ndarray:
    with opened(path) as file, reading(path, "picture", "repair or remove it"):
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            found = Image.open(file, formats=_FORMATS)
        except UnidentifiedImageError:  # which quotes the open file
            raise ValueError(f"it is none of {', '.join(_FORMATS)}") from None
        with found:
            picture = _flatten(ImageOps.exif_transpose(found)).convert(mode)
        if size is not None:
            picture = ImageOps.fit(picture, (size[1], size[0]), Image.Resampling.LANCZOS)
        return np.asarray(picture)


def _flatten(picture: Image.Image) -> Image.Image:
    """Without transparency, and with 8 bits a channel."""
    if picture.mode.startswith("I"):  # 16-bit greys, which a plain conversion would clip at 255
        values = np.asarray(picture).astype(np.float64).clip(0, 65535) / 257
        return Image.fromarray(values.round().astype(np.uint8))
    if not picture.has_transparency_data:
        return picture
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)


def _as_bytes(images: np.ndarray) -> np.ndarray:
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3) or not images.size:
        expected = "expected (n, height, width) or (n, height, width, 3), at least one picture"
        raise ValueError(f"images has shape {images.shape}: {expected}")
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind not in "biuf":
        raise ValueError(f"images is of type {images.dtype}: expected uint8, or numbers in [0, 1]")
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):  # also where they are NaN
        expected = "expected uint8, or numbers in [0, 1]"
        raise ValueError(f"images: values from {low:g} to {high:g}; {expected}")
    return np.rint(images.astype(np.float64) * 255).astype(np.uint8)
