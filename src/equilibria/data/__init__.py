"""Data by name or path (:func:`load`), encoded (:class:`Table`), in batches (:class:`Batches`)."""

from equilibria.data.batches import Batch, Batches, binarise
from equilibria.data.columns import KINDS, Column, Kind
from equilibria.data.labels import LabelCoding
from equilibria.data.layer import Layer
from equilibria.data.load import Data, divide, load, names, read_csv, read_npy, read_npz, write_csv
from equilibria.data.pictures import picture_grid, read_folder, read_idx, save_grid
from equilibria.data.table import Statistics, Table
from equilibria.data.toy import GaussianMixture, bars_and_stripes
from equilibria.data.windows import windows

__all__ = [
    "KINDS",
    "Batch",
    "Batches",
    "Column",
    "Data",
    "GaussianMixture",
    "Kind",
    "LabelCoding",
    "Layer",
    "Statistics",
    "Table",
    "bars_and_stripes",
    "binarise",
    "divide",
    "load",
    "names",
    "picture_grid",
    "read_csv",
    "read_folder",
    "read_idx",
    "read_npy",
    "read_npz",
    "save_grid",
    "windows",
    "write_csv",
]
