# SPDX-License-Identifier: BSD-3-Clause
"""Bounds by which the E-steps of a mixture leave out pairs of a row and a component.

The maps of the bounds from one set of parameters to the next, composed, as
src/kernels/mixture_bounds.inc.h reads them; and which E-steps use them.
"""

import math

import numpy as np

__all__ = ["Bounds", "Pruning"]

# Codes are one byte, and the range of them this much of a usual threshold, the root of twice the
# cut-off and of a row's squared distance to its own component, about d.
RANGE_CODES = 255.0
USUAL_CODES = 160.0
# Codes are renewed where what has been composed would push a usual threshold beyond this part.
RENEWED_PART = 0.85
# About FM_TWICE_CUTOFF of src/kernels/mixture_bounds.inc.h: it steers, and proves nothing.
TWICE_CUTOFF = 83.0

# Rounding of a few float32 operations, and of what is computed here, each many times.
SLACK = 2.0**-19
SMALL = 1e-6

# A component whose computed distances may be off by more is never left out.
GREATEST_ERROR = 1 / 16
# Nor is one whose factor has no usable inverse.
GREATEST_RESIDUAL = 1e-3


def _norms(matrices):
    return np.sqrt(np.square(matrices).sum(axis=(1, 2)))


class Maps:
    """How distances to components may change from one set of parameters to the next.

    low m - shift <= m' <= high m + shift for every row; (k,) float64.  low is 0 and high infinite
    where nothing can be said.
    """

    def __init__(self, old, new):
        d = new.P.shape[1]
        unit = 4 * d * 2.0**-53
        A = new.P @ old.inverse
        squares = np.linalg.eigvalsh(
            np.where(np.isfinite(A), A, 0).transpose(0, 2, 1) @ np.where(np.isfinite(A), A, 0)
        )
        rounding = 1e-12 * np.square(_norms(A))
        # P' = A P + P' (I - P^-1 P) with the inverse as computed.
        size = new.norm * old.inverse_norm
        error = size * (1.1 * old.residual + unit)
        self.low = (np.sqrt(np.maximum(squares[:, 0] - rounding, 0)) - error) * (1 - SMALL)
        self.high = (np.sqrt(squares[:, -1] + rounding) + error) * (1 + SMALL)
        moved = new.means - old.means
        step = np.square((new.P * moved[:, np.newaxis]).sum(axis=2)).sum(axis=1)
        self.shift = np.sqrt(step) * (1 + SMALL) + unit * new.norm * np.sqrt(
            np.square(moved).sum(axis=1)
        )
        known = np.isfinite(A).all(axis=(1, 2)) & (old.residual < GREATEST_RESIDUAL)
        known &= np.isfinite(self.shift) & np.isfinite(self.high) & (self.low > 0)
        self.low[~known], self.high[~known], self.shift[~known] = 0.0, np.inf, 0.0

    def loss(self, distance):
        """How much the lower bound of a row at this distance loses, (k,)."""
        return distance * (1 - self.low) + self.shift


class Whitening:
    """P (k, d, d) and means (k, d) as the kernels read them, and what their inverses tell."""

    def __init__(self, factors, dtype):
        self.P = factors.P.astype(dtype).astype(np.float64)
        self.means = factors.means.astype(dtype).astype(np.float64)
        k, d = self.means.shape
        unit = np.finfo(dtype).eps / 2
        diagonal = np.diagonal(self.P, axis1=1, axis2=2)
        sound = np.isfinite(self.P).all(axis=(1, 2)) & (diagonal > 0).all(axis=1)
        usable = np.where(sound[:, np.newaxis, np.newaxis], self.P, np.eye(d))
        try:
            self.inverse = np.linalg.inv(usable)
        except np.linalg.LinAlgError:
            sound[:] = False
            self.inverse = np.broadcast_to(np.eye(d), (k, d, d))
        self.norm, self.inverse_norm = _norms(usable), _norms(self.inverse)
        condition = self.norm * self.inverse_norm
        self.residual = _norms(np.eye(d) - self.inverse @ usable) + 4 * d * 2.0**-53 * condition
        self.residual[~(sound & (self.residual < GREATEST_RESIDUAL))] = np.inf
        # Of a computed distance, relative: at the head of src/kernels/mahalanobis.inc.h.
        self.error = 1.1 * (d + 4) * unit * (condition + 1)
        self.error[~np.isfinite(self.residual)] = np.inf


class Bounds:
    """Bounds of all rows for all components: k + 8 bytes a row.

    Parameters
    ----------
    rows : MixtureRows
    k : int
    """

    def __init__(self, rows, k):
        self.k, self.dtype = k, rows.dtype
        self.step = math.sqrt(TWICE_CUTOFF + rows.d) / USUAL_CODES
        # Blocks start at multiples of 64 rows, and only the last has another size.
        self.codes = np.zeros((rows.n + 63) // 64 * 64 * k, dtype=np.uint8)
        self.best = np.zeros(rows.n, dtype=np.int32)
        self.upper = np.zeros(rows.n, dtype=np.float32)
        self.low, self.low_shift = np.ones(k), np.zeros(k)
        self.high, self.high_shift = np.ones(k), np.zeros(k)

    def start(self, white, constants):
        """Parameters of an E-step that takes the bounds of all pairs."""
        self.low[:], self.low_shift[:], self.high[:], self.high_shift[:] = 1, 0, 1, 0
        self._tables(white, constants, None)

    def move(self, maps, white, constants):
        """Parameters of the next E-step, and the maps to them."""
        self.low_shift = maps.low * self.low_shift + maps.shift
        self.low = maps.low * self.low
        with np.errstate(invalid="ignore"):
            self.high_shift = maps.high * self.high_shift + maps.shift
            self.high = maps.high * self.high
        usual = USUAL_CODES * self.step
        most = RENEWED_PART * RANGE_CODES * self.step
        renewed = ~(usual + self.low_shift <= most * self.low) | ~np.isfinite(self.high_shift)
        renewal = None
        if renewed.any():
            lost = renewed & ~(np.isfinite(self.high_shift) & (self.low > 0))
            scale = np.where(lost, 0.0, self.low * (1 - SLACK))
            shift = np.where(lost, 0.0, -self.low_shift * (1 + SLACK) / self.step - 2.0**-10)
            up_scale = np.where(lost, 0.0, np.where(renewed, self.high * (1 + SLACK), 1.0))
            up_shift = np.where(renewed, self.high_shift * (1 + 2 * SLACK) + SLACK, 0.0)
            up_shift[lost] = np.inf
            renewal = [renewed.astype(np.uint8)]
            renewal += [a.astype(np.float32) for a in (scale, shift, up_scale, up_shift)]
            self.low[renewed], self.low_shift[renewed] = 1, 0
            self.high[renewed], self.high_shift[renewed] = 1, 0
        self._tables(white, constants, renewal)

    def _tables(self, white, constants, renewal):
        """The floats of the kernels, each rounded to the safe side."""
        low, shift, high, up = self.low, self.low_shift, self.high, self.high_shift
        step, error = self.step, np.minimum(white.error, 1.0)
        # GREATEST_ERROR keeps (1 - error) (1 + 2 error) above one.
        unusable = ~(white.error <= GREATEST_ERROR)
        low_scale = low * step * (1 - error) * (1 - SLACK)
        low_scale[unusable] = 0.0
        code_scale = (1 - error) / (low * step) * (1 - SLACK)
        code_scale[unusable] = 0.0
        upper_scale = (1 + 2 * error) / high * (1 + SLACK)
        upper_scale[unusable] = np.inf
        tables = {
            "low_scale": low_scale,
            "low_shift": (shift + RANGE_CODES * low * step * SLACK) * (1 + SLACK),
            "code_scale": code_scale,
            "code_shift": shift / (low * step) * (1 - SLACK) - 2.0**-10,
            "up_scale": high * (1 + error) * (1 + SLACK),
            "up_shift": up * (1 + error) * (1 + 4 * SLACK) + SLACK,
            "upper_scale": upper_scale,
            "upper_shift": up / high,
        }
        with np.errstate(over="ignore", invalid="ignore"):
            self.tables = {name: values.astype(np.float32) for name, values in tables.items()}
            relative = (constants - constants.max()).astype(self.dtype)
            self.tables["twice"] = (2 * relative.astype(np.float64)).astype(np.float32)
        self.renewal = renewal


# Nanoseconds on one thread (Zen 4, float64; only the ratios matter).  A pair of a dense E-step: of
# each entry of the triangle and its column.  With bounds: of every pair, and of each that is
# computed, its columns, and its entries times this.
DENSE_ENTRY = 0.03
BOUND_PAIR, OPEN_PAIR, OPEN_COLUMN, OPEN_FACTOR = 0.35, 3.0, 0.25, 1.2

# Bounds are taken where at most this part of the pairs has a share, and promises this part of a
# dense E-step's time at most; and kept while they take less than all of it.
MOST_LIVE = 1 / 4
WORTHWHILE = 0.8
# Standard deviations that a lower bound of the usual threshold may lose in an iteration, on
# average: with 3 nearly all pairs were open again, with 0.3 few (32 separated components in 16
# columns).
MOST_LOSS = 1.0
# Finding the maps costs some d^3 a component, this many times fewer than there are rows.
LEAST_ROWS = 1000
# The moments of fewer columns take no lists of rows.
LEAST_COLUMNS = 5


class Pruning:
    """Which E-steps of one run of EM use bounds: decided from counts, never from the clock.

    Parameters
    ----------
    rows : MixtureRows
    covariance_type : str
    k : int
    memory : int
        Bytes that the bounds may take.
    """

    def __init__(self, rows, covariance_type, k, memory):
        self.rows, self.k = rows, k
        self.pairs = self.live = self.computed = 0
        self.iteration, self.first, self.n_bounded = 0, None, 0
        self.share = None  # of the pairs, that have a share
        self.bounds = self.white = None
        self.pruned = False
        self.wait, self.next_wait = 0, 2
        self.why_none = None
        if covariance_type != "full":
            self.why_none = "there are no bounds for these covariances"
        elif rows.n * (k + 8) > memory:
            self.why_none = "no memory for bounds"
        elif (
            rows.d < LEAST_COLUMNS
            or rows.n < LEAST_ROWS * rows.d
            or not self._pays(1 / k, WORTHWHILE)
        ):
            self.why_none = "bounds could not pay"

    def _pays(self, share, part=1.0):
        """Whether bounds that leave this share of the pairs take less than a part of all."""
        d, size = self.rows.d, self.rows.dtype.itemsize / 8
        dense = DENSE_ENTRY * size * d * (d + 3) / 2
        pair = OPEN_PAIR + OPEN_COLUMN * size * d + OPEN_FACTOR * dense
        return BOUND_PAIR + pair * share < part * dense

    def begin(self, factors):
        """Keywords of the calls of ``expect`` of the next E-step."""
        self.iteration += 1
        self.pruned = False
        self.live = self.computed = 0
        self.wait = max(0, self.wait - 1)
        wanted = self.share is not None and self.share <= MOST_LIVE and not self.wait
        if self.why_none or not (wanted and self._pays(self.share, WORTHWHILE)):
            self.bounds = self.white = None
            return {}
        old, self.white = self.white, Whitening(factors, self.rows.dtype)
        constants = factors.constants
        if self.bounds is None:
            self.bounds = Bounds(self.rows, self.k)
            self.bounds.start(self.white, constants)
            return {"bounds": self.bounds, "take": True}
        maps = Maps(old, self.white)
        if maps.loss(math.sqrt(TWICE_CUTOFF + self.rows.d)).mean() > MOST_LOSS:
            self._give_up()
            return {}
        self.bounds.move(maps, self.white, constants)
        self.pruned = True
        return {"bounds": self.bounds}

    def last(self, factors):
        """The same of a pass after the last E-step, which takes no bounds."""
        return {} if self.bounds is None else self.begin(factors)

    def count(self):
        """Adds what the last call of ``expect`` did."""
        self.live += self.rows.live
        self.computed += self.rows.computed

    def end(self):
        """Decides how the next E-step is to be done."""
        pairs = self.rows.n * self.k
        self.share = self.live / pairs
        self.pairs += self.computed
        if not self.pruned:
            return
        self.first, self.n_bounded = self.first or self.iteration, self.n_bounded + 1
        if not self._pays(self.computed / pairs):
            self._give_up()

    def _give_up(self):
        """No bounds for some E-steps, more of them each time."""
        self.bounds = self.white = None
        self.wait, self.next_wait = self.next_wait, 2 * self.next_wait

    def reason(self):
        """Why these E-steps were computed as they were."""
        if self.first is None:
            return self.why_none or "bounds would not have paid"
        return f"bounds in {self.n_bounded} of {self.iteration} E-steps, first in {self.first}"
