# SPDX-License-Identifier: BSD-3-Clause
"""Element types and memory layouts of dense rows: the kernels read them all, and write none."""

import numpy as np
import pytest

from fastmix.core._dense import DenseRows
from fastmix.core._kernels import exact_column_grid, exact_sum_grid

SOURCES = "f8 f4 f2 g i1 u1 i2 u2 i4 u4 i8 u8 ?".split()
N, K = 75, 7


def contiguous(X, tmp_path):
    return np.ascontiguousarray(X)


def fortran(X, tmp_path):
    return np.asfortranarray(X)


def swapped(X, tmp_path):
    return X.astype(X.dtype.newbyteorder())


def negative_strides(X, tmp_path):
    return np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1]


def every_third(X, tmp_path):
    wide = np.ones((3 * len(X), 3 * X.shape[1]), dtype=X.dtype)
    wide[::3, ::3] = X
    return wide[::3, ::3]


def structured_field(X, tmp_path):
    """Unaligned, and with a byte between the rows."""
    records = np.zeros(len(X), dtype=[("flag", "u1"), ("row", X.dtype, X.shape[1:])])
    records["row"] = X
    return records["row"]


def swapped_fortran_field(X, tmp_path):
    return structured_field(X.T.astype(X.dtype.newbyteorder()), tmp_path).T


def memory_map(X, tmp_path):
    np.save(tmp_path / "X.npy", X)
    return np.load(tmp_path / "X.npy", mmap_mode="r")


LAYOUTS = [
    fortran, swapped, negative_strides, every_third, structured_field, swapped_fortran_field,
    memory_map,
]  # fmt: skip


def values(rng, source, d):
    """Rows that every numeric type holds exactly; of bool, bits."""
    return rng.integers(0, 2 if source == "?" else 12, size=(N, d)).astype(source)


def observed(X, dtype, isa=None):
    """Bits of what every pass over X computes."""
    rows = DenseRows(X, dtype, isa)
    n, d = X.shape
    rng = np.random.default_rng(1)
    centers, weights = rng.normal(4, 3, size=(K, d)), rng.random(n)
    rows.set_frame(np.full(d, 2.5), 1.0, exact_sum_grid(np.full(d, 20.0), 1.0, n))
    labels, second = np.full((2, n), -1, dtype=np.int32)
    sums, total = rows.empty_sums(1, K), rows.empty_sums(1, 1)
    residuals, distances = np.empty(n), np.empty((n, K), dtype=dtype)
    rows.assign(0, n, centers, labels, 1, sums, weights, second=second)
    rows.add_all(0, n, 1, total, weights)
    rows.residuals(0, n, centers, labels, residuals, 1)
    rows.distances(0, n, centers, distances, 1)
    inertia = rows.inertia(0, n, centers, labels, exact_column_grid(1e5, n), 1, weights)
    closest, slots = np.full(n, np.inf, dtype=dtype), np.empty((-(-n // rows.block_rows), K))
    rows.potentials(0, n, centers[:1], centers, closest, slots, 1, weights)
    some = (rows.extremes(0, n, 1)[0], labels, second, sums, total, residuals, distances, inertia)
    more = (closest, slots, rows.slot_potentials(0, centers[1:2], closest), rows.take([3, 1]))
    return [np.ascontiguousarray(array).tobytes() for array in (*some, *more)]


@pytest.mark.parametrize("d", [1, 3, 4, 6, 17])
@pytest.mark.parametrize("source", SOURCES)
def test_element_type_does_not_change_a_bit(rng, isa, dtype, source, d):
    X = values(rng, source, d)
    assert observed(X, dtype, isa) == observed(X.astype(dtype), dtype, isa)


@pytest.mark.parametrize("d", [1, 3, 6])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("source", SOURCES)
def test_layout_does_not_change_a_bit(rng, dtype, tmp_path, source, layout, d):
    X = values(rng, source, d)
    assert observed(layout(X, tmp_path), dtype) == observed(X, dtype)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
def test_layout_does_not_change_a_bit_on_any_table(rng, isa, dtype, tmp_path, layout):
    X = rng.normal(size=(N, 5)).astype(dtype)
    assert observed(layout(X, tmp_path), dtype, isa) == observed(X, dtype, isa)


@pytest.mark.parametrize("source", ["f4", "f8", "u1"])
@pytest.mark.parametrize("axis", [0, 1])
def test_zero_strides_are_read_as_the_values_they_repeat(rng, isa, dtype, source, axis):
    X = np.broadcast_to(values(rng, source, 6)[:1] if axis == 0 else values(rng, source, 1), (N, 6))
    assert 0 in X.strides
    assert observed(X, dtype, isa) == observed(np.array(X), dtype, isa)


@pytest.mark.parametrize("source", ["f8", "f4", "f2", "g"])
def test_values_of_every_magnitude_convert_as_numpy_does(rng, isa, dtype, source):
    info = np.finfo(source)
    exponents = rng.integers(max(info.minexp, -120), min(info.maxexp, 120), size=(N, 5))
    X = np.ldexp(rng.uniform(-1, 1, size=(N, 5)), exponents).astype(source)
    X[0] = 0, info.smallest_subnormal, 1, -info.tiny, X.min()
    rows = DenseRows(X, dtype, isa)
    exact = X.astype(dtype)
    np.testing.assert_array_equal(rows.extremes(0, N, 1)[0], [exact.min(axis=0), exact.max(axis=0)])


def test_every_float16_is_read_exactly(isa, dtype):
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    X = every[np.isfinite(every)][:, None]
    residuals, labels = np.empty(len(X)), np.zeros(len(X), dtype=np.int32)
    rows = DenseRows(X, dtype, isa)
    rows.residuals(0, len(X), np.zeros((1, 1)), labels, residuals, 1)
    distances = np.empty((len(X), 1), dtype=dtype)
    rows.distances(0, len(X), np.zeros((1, 1)), distances, 1)
    wide = np.abs(X[:, 0].astype(np.float64))
    # 11 bits squared fit into either dtype, and the root of a square is exact.
    np.testing.assert_array_equal([np.sqrt(residuals), distances[:, 0]], [wide, wide])


@pytest.mark.parametrize("layout", [contiguous, *LAYOUTS[:-1]], ids=lambda f: f.__name__)
@pytest.mark.parametrize("source", SOURCES)
def test_writable_rows_are_not_written(rng, dtype, tmp_path, source, layout):
    X = layout(values(rng, source, 5), tmp_path)
    memory = X
    while isinstance(memory.base, np.ndarray):
        memory = memory.base
    assert memory.flags.writeable
    before = memory.tobytes()
    observed(X, dtype)
    assert memory.tobytes() == before
