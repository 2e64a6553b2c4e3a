"""Data: by name or path (:func:`load`), translated for a model (:class:`Schema`), in resumable batches (:class:`Batches`)."""

from equilibria.data.batches import Batch, Batches, binarise
from equilibria.data.catalogue import Data, load, names
from equilibria.data.images import picture_grid, read_folder, read_idx, save_grid
from equilibria.data.labels import LabelCoding
from equilibria.data.layers import SchemaLayer
from equilibria.data.schema import Schema
from equilibria.data.sequences import windows
from equilibria.data.split import divide
from equilibria.data.tables import read_csv, read_npy, read_npz, write_csv
from equilibria.data.toy import GaussianMixture, bars_and_stripes

__all__ = [
    "Batch",
    "Batches",
    "Data",
    "GaussianMixture",
    "LabelCoding",
    "Schema",
    "SchemaLayer",
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
