# SPDX-License-Identifier: BSD-3-Clause
"""Arguments of the functions: checked before any work, with errors that name them.

The estimators hand over what scikit-learn has validated; the functions have no scikit-learn.
"""

import numbers

import numpy as np
from scipy import sparse

from fastmix.core._dense import DenseRows
from fastmix.core._kernels import element_type
from fastmix.core._source import check_kind
from fastmix.core._sources import as_source

__all__ = [
    "as_centers",
    "as_count",
    "as_data",
    "as_key",
    "as_matrix",
    "as_out",
    "as_random_state",
    "as_rows",
    "as_weights",
    "borrow_random_state",
    "refuse_sparse",
    "reject_columns",
    "result_dtype",
    "return_random_state",
]

# Types whose every value float32 holds exactly compute in float32 tiles.
SMALL = {np.dtype(t) for t in "f4 f2 i1 u1 i2 u2 ?".split()}

# Indices of a CSR array that are looked at together.
PIECE = 2**16


def result_dtype(dtype):
    """dtype of centres for rows of this dtype, scikit-learn's rule: float32 stays, all else is
    float64."""
    return np.dtype(np.float32 if dtype.newbyteorder("=") == np.float32 else np.float64)


def refuse_sparse(X, what):
    """TypeError for a sparse matrix where what wants dense rows."""
    if sparse.issparse(X):
        raise TypeError(f"X is sparse, which {what} are not: pass X.toarray()")


def as_data(X):
    """Rows to work on: a Source where they are not in memory, or in a memory map, else as
    ``as_matrix`` has them."""
    source = as_source(X) if type(X) is not np.ndarray or X.base is not None else None
    return as_matrix(X) if source is None else source


def as_matrix(X, name="X"):
    """X as a two-dimensional numeric ndarray or CSR array; such arrays pass through uncopied."""
    if isinstance(X, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array, whose mask would be ignored: fill it ({name}.filled(...)) "
            "or drop the masked rows first"
        )
    is_sparse = sparse.issparse(X)
    if is_sparse:
        X = X.tocsr()
    elif X is None:
        raise TypeError(f"{name} is None; expected rows of numbers")
    else:
        reject_columns(X, name)
        try:
            X = np.asarray(X)
        except ValueError as error:
            raise ValueError(f"{name} is no matrix: {error}") from None
        if X.dtype.kind == "O":
            X = _from_objects(X, name)
    shape = X.shape
    check_kind(X.dtype, name)
    if len(shape) != 2:
        raise ValueError(
            f"Expected 2D array, got {len(shape)}D array instead: {name} has shape {shape}, "
            "expected (n_samples, n_features)"
        )
    if 0 in shape:
        raise ValueError(
            f"{name} has {shape[0]} sample(s) and {shape[1]} feature(s); "
            "at least one of each is required"
        )
    if is_sparse:
        _check_csr(X, name)
    elif element_type(X.dtype) is None:
        X = X.astype(np.float64)
    return X


def _check_csr(X, name):
    """ValueError for indices outside X, which SciPy does not look for and kernels would follow."""
    starts, columns = X.indptr, X.indices
    n_entries = min(len(columns), len(X.data))
    grows = len(starts) == X.shape[0] + 1 and not (starts[1:] < starts[:-1]).any()
    if not grows or starts[0] != 0 or starts[-1] > n_entries:
        raise ValueError(
            f"{name}.indptr must have {X.shape[0] + 1} entries, begin with 0, never fall and end "
            f"within {name}.indices and {name}.data"
        )
    n_entries = int(starts[-1])
    for at in range(0, n_entries, PIECE):
        piece = columns[at : min(at + PIECE, n_entries)]
        if piece.min() < 0 or piece.max() >= X.shape[1]:
            i = at + int(np.argmax((piece < 0) | (piece >= X.shape[1])))
            raise ValueError(
                f"{name}.indices[{i}] = {columns[i]} is no column of {name}, which has {X.shape[1]}"
            )


def _from_objects(X, name):
    kinds = {type(value) for value in X.flat}
    for kind in kinds:
        if issubclass(kind, str | bytes):
            raise TypeError(f"{name} must be numeric, got an element of type {kind.__name__}")
    try:
        return X.astype(complex if complex in kinds else np.float64)
    except TypeError as error:
        raise TypeError(f"{name} must be numeric: {error}") from None


def as_key(row):
    """A row (d,) float64 as a dictionary's key: equal where the rows are, and -0.0 is 0.0."""
    return (row + 0.0).tobytes()


def reject_columns(X, name="X"):
    """TypeError for a data frame that is not in memory, or that has a column of strings or times,
    from which others read numbers.

    Other containers pass: scikit-learn or ``as_matrix`` refuses what they hold.
    """
    if hasattr(X, "collect") and hasattr(X, "lazy"):
        raise TypeError(f"{name} is a {type(X).__name__}, which has no rows yet: {name}.collect()")
    for column, values in _columns_of(X):
        dtype = np.asarray(values[:0]).dtype
        if dtype.kind in "mM":
            raise TypeError(f"{name} must be numeric, got {dtype} in column {column!r}")
        objects = np.asarray(values) if dtype.kind == "O" else ()
        strings = any(isinstance(value, str | bytes) for value in objects)
        if strings or dtype.kind in "UST":
            raise TypeError(f"{name} must be numeric, got a string in column {column!r}")


def _columns_of(X):
    """Names and values of the columns of a data frame of pandas or Polars, or a table of Arrow."""
    if hasattr(X, "iloc") and hasattr(X, "columns"):
        return ((column, X.iloc[:, j].array) for j, column in enumerate(X.columns))
    if hasattr(X, "get_columns"):
        return zip(X.columns, X.get_columns(), strict=True)
    if hasattr(X, "column_names"):
        return zip(X.column_names, X.columns, strict=True)
    return ()


def as_rows(X, model_dtype=np.float32):
    """Validated X as the rows of a driver, in float32 if that holds both X and the model."""
    small = X.dtype.newbyteorder("=") in SMALL and model_dtype == np.float32
    dtype = np.dtype(np.float32 if small else np.float64)
    if sparse.issparse(X):
        from fastmix.core._sparse import SparseRows

        return SparseRows(X, dtype)
    return DenseRows(X, dtype)


def as_out(out, shape, X, dtypes="fd", contiguous=False):
    """The array that results of this shape, of rows X, are written to; ValueError if none."""
    names = " or ".join(str(np.dtype(char)) for char in dtypes)
    expected = f"out must be an ndarray of {names} and of shape {shape}"
    if not isinstance(out, np.ndarray):
        raise ValueError(f"{expected}, got {out!r:.100}")
    if out.dtype not in map(np.dtype, dtypes) or out.shape != shape:
        raise ValueError(f"{expected}, got {out.dtype} of shape {out.shape}")
    if not out.flags.writeable:
        raise ValueError("out is read-only")
    if contiguous and not (out.flags.c_contiguous and out.flags.aligned):
        raise ValueError(f"{expected}, got one that is not contiguous")
    rows = getattr(X, "original", X)
    if sparse.issparse(rows):
        rows = rows.data, rows.indices, rows.indptr
    for part in rows if isinstance(rows, list | tuple) else [rows]:
        if isinstance(part, np.ndarray) and np.shares_memory(part, out):
            raise ValueError("out shares memory with X, whose rows are read as results are written")
    return out


def as_weights(sample_weight, n, name="sample_weight"):
    """Weights (n,) float64 and the power of two they were divided by; None for weights of one.

    Weights beyond 2^+-60, whose products with squares could leave float64, are brought to about 1.
    """
    if sample_weight is None:
        return None, 1.0
    if isinstance(sample_weight, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be ignored")
    if isinstance(sample_weight, numbers.Real):
        sample_weight = np.full(n, float(sample_weight))
    weights = np.asarray(sample_weight)
    if weights.dtype.kind == "O":
        weights = _from_objects(weights, name)
    if weights.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be numeric, got dtype {weights.dtype}")
    weights = np.ascontiguousarray(weights, dtype=np.float64)
    if weights.ndim != 1:
        raise ValueError("Sample weights must be 1D array or scalar")
    if len(weights) != n:
        raise ValueError(f"{name}.shape == {weights.shape}, expected {(n,)}!")
    bad = ~np.isfinite(weights)
    if bad.any():
        i = int(np.argmax(bad))
        what = "NaN" if np.isnan(weights[i]) else "infinity"
        raise ValueError(f"Input {name} contains {what}: {name}[{i}] = {weights[i]}")
    if weights.min() < 0:
        i = int(np.argmax(weights < 0))
        raise ValueError(f"{name}[{i}] = {weights[i]} is negative; expected weights >= 0")
    most = weights.max()
    if most == 0:
        raise ValueError(f"{name} is zero for every sample; at least one must be positive")
    if 2.0**-60 < most < 2.0**60:
        return weights, 1.0
    # In two steps: 2^-1074 is a float64, its reciprocal is not.
    exponent = int(np.frexp(most)[1]) - 1
    half = exponent // 2
    scaled = np.ldexp(np.ldexp(weights, -half), half - exponent)
    return scaled, float(np.ldexp(1.0, exponent))


def as_centers(centers, k, d, name="init"):
    """Centres (k, d) float64, finite; k None: any number.  Of init in scikit-learn's words."""
    centers = as_matrix(centers, name)
    if sparse.issparse(centers):
        centers = centers.toarray()
    centers = np.ascontiguousarray(centers, dtype=np.float64)
    mismatch = f"The shape of the initial centers {centers.shape} does not match the number of"
    if k is not None and len(centers) != k:
        raise ValueError(f"{mismatch} clusters {k}.")
    if centers.shape[1] != d:
        if name == "init":
            raise ValueError(f"{mismatch} features of the data {d}.")
        raise ValueError(f"{name} has shape {centers.shape}, expected (n_clusters, {d}), as X")
    bad = ~np.isfinite(centers)
    if bad.any():
        j, t = np.argwhere(bad)[0]
        what = "NaN" if np.isnan(centers[j, t]) else "infinity"
        raise ValueError(f"Input {name} contains {what}: {name}[{j}, {t}] = {centers[j, t]}")
    return centers


def as_random_state(seed):
    """None, an integer, a RandomState or a Generator as something with ``uniform`` draws."""
    if seed is None or seed is np.random:
        return np.random.mtrand._rand
    if isinstance(seed, numbers.Integral):
        return np.random.RandomState(seed)
    if isinstance(seed, np.random.RandomState | np.random.Generator):
        return seed
    raise ValueError(
        f"{seed!r} cannot be used to seed a numpy.random.RandomState instance: random_state must "
        "be None, an integer, a RandomState or a Generator"
    )


# RandomStates that nobody else has: one takes 90 us to make, nearly all for entropy, and 2 to seed.
_idle: list[np.random.RandomState] = []


def borrow_random_state(seed):
    """As as_random_state, for draws that end with ``return_random_state``."""
    if not isinstance(seed, numbers.Integral):
        return as_random_state(seed)
    try:
        state = _idle.pop()
    except IndexError:
        state = np.random.RandomState()
    state.seed(seed)
    return state


def return_random_state(state, seed):
    """Take back what ``borrow_random_state(seed)`` gave."""
    if isinstance(seed, numbers.Integral):
        _idle.append(state)


def as_count(value, name, least=1):
    """An integer of at least ``least``, which is 1 or 0."""
    what = "a positive integer" if least else "an integer >= 0"
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be {what}, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be {what}, got {value!r}")
    return int(value)
