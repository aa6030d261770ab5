# SPDX-License-Identifier: BSD-3-Clause
"""Sufficient statistics of a Gaussian mixture: they add up, and the M-step reads them."""

import math
import numbers

import numpy as np

from fastmix.core._finite import finite_calls, is_checked_later
from fastmix.core._frame import Frame, extremes, place
from fastmix.core._mixture import MixtureRows
from fastmix.core._parameters import (
    Parameters,
    check_covariance_type,
    covariance_shape,
    ordered_sum,
)
from fastmix.core._passes import slot_passes
from fastmix.core._threads import thread_limit
from fastmix.core._validation import (
    as_count,
    as_data,
    as_weights,
    refuse_sparse,
    result_dtype,
)

__all__ = ["Moments", "framed_rows"]


def framed_rows(X, frame, n_threads, check=True):
    """Validated X as the rows of the driver in a given frame; with check, ValueError if one is not
    finite."""
    small = result_dtype(X.dtype) == np.float32 == frame.dtype
    rows = MixtureRows(X, np.dtype(np.float32 if small else np.float64))
    if check:
        rows.column_range = extremes(rows, n_threads)
    place(rows, frame)
    return rows


class Moments:
    """Weighted moments of rows under the responsibilities of a mixture (PRML 9.18).

    With r_nk the responsibility times the row's weight and y_n = (x_n - pivot) * scale.

    Parameters
    ----------
    covariance_type : {"full", "tied", "diag", "spherical"}
        Which second moments are kept.
    n_components : int
        Number of components K.
    n_features : int
        Number of columns D.
    frame : Frame, optional
        Pivot and scale; default: the origin, unscaled.
    factors : Factors, optional
        Current parameters in the frame, which ``accumulate`` needs; ``under`` makes both.

    Attributes
    ----------
    weight : ndarray of shape (n_components,), float64
        N_k = sum_n r_nk (PRML 9.18).
    first : ndarray of shape (n_components, n_features), float64
        sum_n r_nk y_n.
    second : ndarray, float64
        full (K, D, D): lower triangle of sum_n r_nk y_n y_n^T; tied (D, D): that of sum_n w_n y_n
        y_n^T; diag (K, D): sum_n r_nk y_ni^2; spherical (K,): sum_n r_nk |y_n|^2.
    log_likelihood : float
        sum_n w_n ln p(x_n) (PRML 9.14), of framed rows.
    entropy : float
        -sum_n w_n sum_k r_nk ln r_nk, of responsibilities before weighting.
    total : float
        sum_n w_n.

    Raises
    ------
    ValueError, TypeError
        For a covariance type that there is not, or numbers below 1.

    Notes
    -----
    Moments of the same type, frame and parameters add up: those of parts of the rows, merged, are
    those of all rows to rounding.

    References
    ----------
    C. M. Bishop, Pattern Recognition and Machine Learning, 2006, equations 9.17 to 9.22.
    """

    def __init__(self, covariance_type, n_components, n_features, frame=None, factors=None):
        k, d = as_count(n_components, "n_components"), as_count(n_features, "n_features")
        check_covariance_type(covariance_type)
        if frame is None:
            frame = Frame.identity(d, np.float64)
        self.covariance_type, self.frame, self.factors = covariance_type, frame, factors
        self.weight = np.zeros(k)
        self.first = np.zeros((k, d))
        self.second = np.zeros(covariance_shape(covariance_type, k, d))
        self.log_likelihood = 0.0
        self.entropy = 0.0
        self.total = 0.0

    @classmethod
    def under(cls, weights, means, covariances, covariance_type="full"):
        """Moments of no rows yet, for an E-step under this mixture.

        Parameters
        ----------
        weights : array-like of shape (n_components,)
            Mixing coefficients, which sum to one.
        means : array-like of shape (n_components, n_features)
            Means; float32 ones let float32 rows be computed in float32.
        covariances : array-like
            In the shape of ``covariance_type``; positive definite.
        covariance_type : {"full", "tied", "diag", "spherical"}
            What the covariances are, and which second moments are kept.

        Returns
        -------
        moments : Moments
            With the mixture's frame and factors.

        Raises
        ------
        ValueError, TypeError
            For what is no mixture.

        Examples
        --------
        One iteration of EM, over rows that come in two parts:

        >>> from fastmix.core import Moments
        >>> mixture = [0.5, 0.5], [[0.0], [6.0]], [1.0, 1.0]
        >>> parts = [
        ...     Moments.under(*mixture, "spherical").accumulate(rows)
        ...     for rows in ([[-1.0], [1.0], [5.0]], [[7.0]])
        ... ]
        >>> weights, means, covariances = parts[0].merge(parts[1]).mixture()
        >>> means.round(4)
        array([[0.],
               [6.]])
        """
        from fastmix.core._mixture_given import model_of  # which imports this module

        model, _ = model_of(covariance_type, weights, means, covariances)
        return cls(covariance_type, *model.parameters.means.shape, model.frame, model.factors)

    def mixture(self):
        """M-step (PRML 9.17, 9.19, 9.22), in the units of the rows.

        Returns
        -------
        weights : ndarray of shape (n_components,), float64
            Mixing coefficients.
        means : ndarray of shape (n_components, n_features), float64
            Means.
        covariances : ndarray, float64
            In the shape of the covariance type; maximum-likelihood, and so not always positive
            definite.

        Raises
        ------
        ValueError
            Without any row.
        """
        weights, means, covariances = self.parameters()[1:]
        scale = self.frame.scale
        return weights, self.frame.out_of(means), covariances / scale / scale

    def accumulate(self, X, weights=None, n_threads=None):
        """E-step over rows (PRML 9.23), whose moments are added.

        Parameters
        ----------
        X : array-like or source of shape (n_samples, n_features)
            Any numeric dtype, strides and byte order; neither copied nor written.
        weights : array-like of shape (n_samples,), optional
            Weights >= 0.
        n_threads : int, optional
            As for :func:`fastmix.core.kmeans`.

        Returns
        -------
        self : Moments
            The same object.

        Raises
        ------
        ValueError, TypeError
            For bad input, or without ``factors``; nothing is added then.
        """
        if self.factors is None:
            raise ValueError(
                "accumulate needs the current parameters: Moments.under(weights, means, "
                "covariances, covariance_type)"
            )
        refuse_sparse(X, "the moments of a mixture")
        X = as_data(X)
        k, d = self.first.shape
        if X.shape[1] != d:
            raise ValueError(f"X has {X.shape[1]} columns, but the moments are of {d}")
        weights, unit = as_weights(weights, len(X), "weights")
        n_threads = thread_limit(n_threads)
        later = is_checked_later(X)
        rows = framed_rows(X, self.frame, n_threads, check=not later)
        part = Moments(self.covariance_type, k, d, self.frame, self.factors)
        calls = slot_passes(rows, self.covariance_type, k, n_threads)
        for start, stop, threads in finite_calls(rows, calls, n_threads, later):
            rows.expect(start, stop, self.factors, threads, weights=weights, moments=part)
        return self.merge(part.scale(unit) if unit != 1 else part)

    def merge(self, other):
        """Add the moments of other rows.

        Parameters
        ----------
        other : Moments
            Of the same covariance type, shape and frame.

        Returns
        -------
        self : Moments
            The same object.

        Raises
        ------
        ValueError, TypeError
            Where the two cannot be added, or leave float64; nothing is changed then.
        """
        if not isinstance(other, Moments):
            raise TypeError(f"other must be Moments, got {type(other).__name__}")
        for name, mine, its in (
            ("covariance type", self.covariance_type, other.covariance_type),
            ("shape", self.first.shape, other.first.shape),
            ("scale", self.frame.scale, other.frame.scale),
            ("pivot", self.frame.pivot.tolist(), other.frame.pivot.tolist()),
        ):
            if mine != its:
                raise ValueError(
                    f"moments of different {name} cannot be merged: {mine!r:.100}, {its!r:.100}"
                )
        with np.errstate(over="ignore", invalid="ignore"):
            self._become(
                [mine + its for mine, its in zip(self._sums(), other._sums(), strict=True)]
            )
        return self

    def _sums(self):
        return self.weight, self.first, self.second, self.total, self.log_likelihood, self.entropy

    def _become(self, sums):
        """Take the values of these sums; ValueError where moments are not finite."""
        if not all(np.isfinite(values).all() for values in sums[:4]):
            raise ValueError("the moments leave float64: rows or weights are too large")
        self.weight[...], self.first[...], self.second[...] = sums[:3]
        self.total, self.log_likelihood, self.entropy = sums[3:]

    def scale(self, factor):
        """Multiply all sums, as if every weight had been multiplied.

        Parameters
        ----------
        factor : float
            A number >= 0: below 1 it forgets, as stepwise EM does.

        Returns
        -------
        self : Moments
            The same object.

        Raises
        ------
        ValueError, TypeError
            For a factor that is no number, negative or not finite, or where the moments leave
            float64; nothing is changed then.
        """
        if not isinstance(factor, numbers.Real):
            raise TypeError(f"factor must be a finite number >= 0, got {factor!r:.100}")
        try:
            value = float(factor)
        except OverflowError:  # of an integer
            value = math.inf
        if not 0 <= value < math.inf:
            raise ValueError(f"factor must be a finite number >= 0, got {factor!r:.100}")
        with np.errstate(over="ignore"):
            self._become([values * value for values in self._sums()])
        return self

    def parameters(self, previous=None):
        """M-step (PRML 9.17, 9.19, 9.22): weights, means and covariances in the frame.

        Parameters
        ----------
        previous : Parameters, optional
            Gives the mean and the covariance of a component without any weight; default: the mean
            and the second moment of all.

        Returns
        -------
        parameters : Parameters
            Maximum-likelihood, without any floor or regularisation.

        Raises
        ------
        ValueError
            Without any row.
        """
        weight = self.weight
        total = ordered_sum(weight)
        if not total > 0:
            raise ValueError("there are no moments: no row with a weight has been accumulated")
        empty = ~(weight > 0)
        safe = np.where(empty, 1.0, weight)
        overall = ordered_sum(self.first) / total
        means = self.first / safe[:, np.newaxis]
        means[empty] = overall if previous is None else previous.means[empty]
        if self.covariance_type == "tied":
            covariances = self._tied(means, np.where(empty, 0.0, weight), total)
        else:
            covariances = self._own(means, safe)
            if empty.any():
                if previous is None:
                    covariances[empty] = self._pooled(overall, total)
                else:
                    covariances[empty] = previous.covariances[empty]
        return Parameters(self.covariance_type, weight / total, means, covariances)

    def _own(self, means, safe):
        if self.covariance_type == "full":
            second = self.second / safe[:, np.newaxis, np.newaxis]
            products = means[:, :, np.newaxis] * means[:, np.newaxis, :]
            lower = np.tril(second - products)
            return lower + np.tril(lower, -1).transpose(0, 2, 1)
        if self.covariance_type == "diag":
            return self.second / safe[:, np.newaxis] - np.square(means)
        return (self.second / safe - ordered_sum(np.square(means), axis=1)) / means.shape[1]

    def _tied(self, means, weight, total):
        products = weight[:, np.newaxis, np.newaxis] * (
            means[:, :, np.newaxis] * means[:, np.newaxis, :]
        )
        lower = np.tril((self.second - ordered_sum(products)) / total)
        return lower + np.tril(lower, -1).T

    def _pooled(self, overall, total):
        """Covariance of all rows, for a component that has none."""
        single = Moments(self.covariance_type, 1, len(overall), self.frame)
        single.second[0] = ordered_sum(self.second)
        return single._own(overall[np.newaxis], np.array([total]))[0]

    def raw_second(self):
        """Second moment of every column about the pivot, over N_k.

        The covariance is its difference with the squared mean, so that no covariance is known
        better than to a few units in the last place of this.

        Returns
        -------
        moments : ndarray of shape (m, n_features), or (n_components, 1) for spherical, float64
            m is 1 for tied, else n_components.
        """
        if self.covariance_type == "tied":
            return np.diagonal(self.second)[np.newaxis] / ordered_sum(self.weight)
        safe = np.where(self.weight > 0, self.weight, 1.0)[:, np.newaxis]
        if self.covariance_type == "full":
            return np.diagonal(self.second, axis1=1, axis2=2) / safe
        if self.covariance_type == "diag":
            return self.second / safe
        return self.second[:, np.newaxis] / safe
