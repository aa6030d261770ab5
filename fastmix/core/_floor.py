# SPDX-License-Identifier: BSD-3-Clause
"""Singularities (PRML 9.2.1): how covariances are regularised, and what becomes of a component
that collapses."""

import numpy as np

from fastmix.core._parameters import Parameters, conditional_variances, factors_of, whiten

__all__ = ["ILL_DEFINED", "LEAST_VARIANCE", "CollapseError", "Floor"]

# scikit-learn's words, which users search for and its tests want.
ILL_DEFINED = (
    "Fitting the mixture model failed because some components have ill-defined empirical "
    "covariance (for instance caused by singleton or collapsed samples). Try to decrease the "
    "number of components, increase reg_covar, or scale the input data."
)

# reg_covar="auto": least variance of a column given those before it, as a fraction of the column's
# variance over all rows.  A thousandth of its standard deviation: starts on iris that end with less
# than this are the singular ones (19 of 30 at K=8), and the published optima have 1e-3 and more.
RELATIVE = 1e-6

# Covariances are differences of moments about the pivot: what is below so many units in the last
# place of the moment is rounding, not variance.
NOISE = 2.0**-46

# A component with less of all the weight than this is empty.
EMPTY = 2.0**-40

# Columns of which the framed variance is no more than this count as constant: the reciprocal of a
# standard deviation, a thousandth of which is the floor, stays a number, and so do squares.
LEAST_VARIANCE = {np.dtype(np.float32): 2.0**-200, np.dtype(np.float64): 2.0**-1000}


class CollapseError(ValueError):
    """A component collapsed, and reg_covar=0 leaves no remedy."""

    @classmethod
    def of(cls, covariance_type, component, iteration):
        """With the message that says where."""
        what = "the shared covariance" if covariance_type == "tied" else f"component {component}"
        return cls(f"{ILL_DEFINED} Here: {what}, in iteration {iteration}; reg_covar=0.")


class Floor:
    """The policy of one fit, in its frame.

    * ``reg_covar`` > 0 is added to every variance, as scikit-learn does; ``"auto"`` adds nothing.
    * A covariance *meets the floor* where a column's variance, given the columns before it, is
      below 1e-6 of that column's variance over all rows ("auto"), or lost in rounding (a number).
    * Under "auto" a component that meets the floor or empties is re-seeded once in a start: it
      takes half of the heaviest other component.  After that, and with a number from the first
      time on, it is held: the floor is added to its variances for the rest of the start.
    * ``reg_covar=0`` has no remedy: CollapseError.

    The floor is relative to the data's own variances, so that units do not matter.

    Parameters
    ----------
    reg_covar : float or "auto"
        In the user's units.
    variances : ndarray of shape (d,)
        Of the framed columns, over all rows.
    frame : Frame
        Where the fit computes.
    n_threads : int
        For the factors.
    """

    def __init__(self, reg_covar, variances, frame, n_threads=1):
        self.reg_covar, self.n_threads = reg_covar, n_threads
        self.auto = isinstance(reg_covar, str)
        self.remedy = self.auto or reg_covar > 0
        self.added = 0.0 if self.auto else float(reg_covar) * frame.scale * frame.scale
        most = variances.max()
        if not most > 0:
            most = 1.0
        varies = variances > LEAST_VARIANCE[frame.dtype]
        # A constant column has no unit of its own: it takes that of the column that varies most.
        self.variances = np.where(varies, variances, most)
        # Whether reg_covar is a tenth of the least variance of a column, or more.
        self.drowned = bool((self.added >= 0.1 * variances[variances > 0]).any())

    def diagonal(self, covariance_type, covariances, values, which=slice(None)):
        """Covariances with values (d,) added to the variances of some components."""
        out = covariances.copy()
        if covariance_type == "spherical":
            out[which] += np.cumsum(values)[-1] / len(values)
        elif covariance_type == "diag":
            out[which] += values
        elif covariance_type == "full":
            at = np.arange(len(values))
            part = out[which]
            part[:, at, at] += values
            out[which] = part
        elif np.arange(1)[which].size:
            at = np.arange(len(values))
            out[at, at] += values
        return out

    def factors(self, parameters, held, moments=None):
        """Parameters as regularised, their factors, and which covariances (m,) meet the floor.

        held (m,) are the covariances to which the floor is added; m is 1 for tied, else k.
        """
        kind, d = parameters.covariance_type, len(self.variances)
        covariances = self._raised(parameters, held, 1.0)
        P, log_det, bad = whiten(kind, covariances, d, self.n_threads)
        if (bad & held).any():
            covariances = self._variances_alone(kind, covariances, np.flatnonzero(bad & held))
            P, log_det, bad = whiten(kind, covariances, d)
        if kind == "spherical":
            limit = np.full((1, 1), RELATIVE * np.cumsum(self.variances)[-1] / d)
        else:
            limit = RELATIVE * self.variances
        if not self.auto:
            limit = 0.0 if moments is None else NOISE * moments.raw_second()
        met = bad | (conditional_variances(kind, P) < limit).any(axis=1)
        parameters = parameters._replace(covariances=covariances)
        return parameters, factors_of(parameters, P, log_det), met & ~held

    def lowered(self, parameters, held):
        """Parameters without what regularises them, which every M-step adds anew."""
        return parameters._replace(covariances=self._raised(parameters, held, -1.0))

    def _raised(self, parameters, held, sign):
        """Covariances with what regularises them, times a sign."""
        kind, covariances = parameters.covariance_type, parameters.covariances
        if self.added:
            added = np.full(len(self.variances), sign * self.added)
            covariances = self.diagonal(kind, covariances, added)
        if held.any():
            floor = sign * RELATIVE * self.variances
            covariances = self.diagonal(kind, covariances, floor, np.flatnonzero(held))
        return covariances

    def _variances_alone(self, kind, covariances, which):
        """Covariances of which some, that are held, keep their variances alone, and these no less
        than the floor: rounding has left them indefinite, where a component is many standard
        deviations of all rows from the pivot."""
        floor = RELATIVE * self.variances
        if kind == "spherical":
            floor = np.cumsum(floor)[-1] / len(floor)
        out = covariances.copy()
        if kind in ("diag", "spherical"):
            out[which] = np.maximum(out[which], floor)
            return out
        stack = out if kind == "full" else out[np.newaxis]
        for j in which:
            stack[j] = np.diag(np.maximum(np.diagonal(stack[j]), floor))
        return out

    def empty(self, parameters):
        """Which components (k,) have no weight to speak of."""
        return parameters.weights < EMPTY

    def split(self, parameters, component, spared):
        """Parameters with a component moved onto half of the heaviest one that is not spared.

        Both halves keep the covariance; their means move apart by one standard deviation along the
        column in which that is largest, relative to the data.  None where there is no other.
        """
        weights = np.where(spared, -1.0, parameters.weights)
        weights[component] = -1.0
        donor = int(np.argmax(weights))
        if not weights[donor] > 0:
            return None
        kind = parameters.covariance_type
        covariance = parameters.covariances if kind == "tied" else parameters.covariances[donor]
        variances = np.diagonal(covariance) if kind in ("full", "tied") else covariance
        variances = np.broadcast_to(variances, self.variances.shape)
        column = int(np.argmax(variances / self.variances))
        step = np.sqrt(variances[column]) / 2
        weights, means = parameters.weights.copy(), parameters.means.copy()
        covariances = parameters.covariances.copy()
        weights[[component, donor]] = (weights[component] + weights[donor]) / 2
        means[component] = means[donor]
        means[donor, column] -= step
        means[component, column] += step
        if kind != "tied":
            covariances[component] = covariances[donor]
        return Parameters(kind, weights, means, covariances)
