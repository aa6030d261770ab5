# SPDX-License-Identifier: BSD-3-Clause
"""What an estimator takes as rows: scikit-learn's validation, and rows that are not in memory."""

import numpy as np
from sklearn.utils.validation import validate_data

from fastmix.core._sources import as_source
from fastmix.core._validation import as_matrix, reject_columns

__all__ = ["RowsValidation", "check_names"]


class RowsValidation:
    """Mixin: ``_validated_rows`` sets the number and the names of the columns, or compares them."""

    def _validated_rows(self, X, reset, **options):
        source = as_source(X)
        if source is not None:
            return self._validated_source(source, reset)
        # scikit-learn drops masks, reads numbers from strings and times, and does not see the names
        # of a RecordBatch.
        reject_columns(X)
        if type(X).__name__ == "RecordBatch" and hasattr(X, "to_struct_array"):
            from pyarrow import Table

            X = Table.from_batches([X])
        if (
            X is None
            or isinstance(X, list | tuple | np.ma.MaskedArray)
            or (isinstance(X, np.ndarray) and X.dtype.kind in "OUSMm")
        ):
            X = as_matrix(X)
        return as_matrix(
            validate_data(self, X, dtype="numeric", ensure_all_finite=False, reset=reset, **options)
        )

    def _validated_source(self, source, reset):
        known, names = self.__dict__, source.names
        if reset:
            self.n_features_in_ = source.shape[1]
            known.pop("feature_names_in_", None)
            if names is not None:
                self.feature_names_in_ = np.array(names, dtype=object)
            return source
        if source.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {source.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input."
            )
        check_names(self, names)
        return source


def check_names(estimator, names):
    """ValueError where columns with these names, a list or None, are not those of the fit."""
    expected = estimator.__dict__.get("feature_names_in_")
    if names is None or expected is None or list(expected) == names:
        return
    kind, pairs = type(estimator).__name__, enumerate(zip(names, expected, strict=False))
    first = next((f" (column {i}: {a!r}, not {b!r})" for i, (a, b) in pairs if a != b), "")
    raise ValueError(
        f"The columns of X are {', '.join(names):.200}, but {kind} was fitted with "
        f"{', '.join(expected):.200}{first}"
    )
