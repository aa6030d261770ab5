# SPDX-License-Identifier: BSD-3-Clause
"""Rows that are not in memory, of every kind that fastmix reads."""

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import zarr

from fastmix import ArrowSource

N, D = 5_003, 5


class Sliced:
    """What HDF5 datasets and Zarr arrays have in common."""

    def __init__(self, X):
        self.X, self.shape, self.dtype, self.reads = X, X.shape, X.dtype, 0

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        self.reads += 1
        return self.X[rows]


class Blocks:
    """Blocks of ragged sizes, some without rows, in one buffer that is written again and again."""

    def __init__(self, X, sizes=(1, 0, 700, 3, 64)):
        self.X, self.sizes = X, sizes

    def __iter__(self):
        at, index = 0, 0
        buffer = np.empty((max(self.sizes), self.X.shape[1]), dtype=self.X.dtype)
        while at < len(self.X):
            part = self.X[at : at + self.sizes[index % len(self.sizes)]]
            buffer[: len(part)] = part
            yield buffer[: len(part)]
            at, index = at + len(part), index + 1


def rows(dtype, seed=0, n=N, d=D):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) + 6 * rng.integers(0, 7, size=(n, 1))
    return (16 * X).astype(dtype) if np.dtype(dtype).kind in "iu" else X.astype(dtype)


def hdf5(X, folder, **layout):
    """An HDF5 dataset, in a file that stays open as long as it is there."""
    return h5py.File(folder / "x.h5", "w").create_dataset("x", data=X, **layout)


def zarr_array(X, folder, **layout):
    """A Zarr array on the disk."""
    array = zarr.open_array(folder / "x.zarr", mode="w", shape=X.shape, dtype=X.dtype, **layout)
    array[:] = X
    return array


# Chunks of 777 rows divide no slot, and no window; chunks of 3 columns none of their rows.
STORES = {
    "hdf5": lambda X, folder: hdf5(X, folder, chunks=(777, 3)),
    "hdf5 compressed": lambda X, folder: hdf5(
        X, folder, chunks=(777, X.shape[1]), compression="gzip", shuffle=True
    ),
    "hdf5 contiguous": hdf5,
    "zarr": lambda X, folder: zarr_array(X, folder, chunks=(777, 3)),
}


def source_of(kind, X, folder):
    if kind == "memory map":
        np.save(folder / "x.npy", X)
        return np.load(folder / "x.npy", mmap_mode="r")
    if kind == "array":
        return Sliced(X)
    if kind in STORES:
        return STORES[kind](X, folder)
    if kind == "blocks":
        return Blocks(X)
    names = [f"c{j}" for j in range(X.shape[1])]
    table = pyarrow.table(dict(zip(names, X.T, strict=True)))
    pyarrow.parquet.write_table(table, folder / "x.parquet", row_group_size=777)
    return ArrowSource(folder / "x.parquet")


def bits(*values):
    return [np.asarray(value).tobytes() for value in values]
