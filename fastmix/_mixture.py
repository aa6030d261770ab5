# SPDX-License-Identifier: BSD-3-Clause
"""GaussianMixture as an estimator with scikit-learn's contract."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from fastmix._checkpoint import CHECKPOINT_CONSTRAINTS, checkpoint_of
from fastmix._mixture_fitted import FittedMixture
from fastmix._mixture_verbose import Printer
from fastmix._parameters import ParameterValidation
from fastmix._rollback import Rollback
from fastmix._stepwise import StepwiseUpdates
from fastmix.core import _mixture_fit as core
from fastmix.core._fit import as_callbacks
from fastmix.core._mixture_checkpoint import origin_of
from fastmix.core._mixture_given import check_given, model_of
from fastmix.core._mixture_start import INIT_PARAMS
from fastmix.core._mixture_use import weighted_total
from fastmix.core._parameters import COVARIANCE_TYPES
from fastmix.core._stepwise import MOST_WEIGHT
from fastmix.core._validation import as_count, as_weights, result_dtype
from fastmix.core._warn import warn

__all__ = ["GMM", "GaussianMixture"]


class GaussianMixture(
    FittedMixture, StepwiseUpdates, ParameterValidation, DensityMixin, BaseEstimator
):
    """Gaussian mixture fitted by EM (PRML 9.2) with scikit-learn's interface.

    Parameters
    ----------
    n_components : int, default=1
        Number of components K.
    covariance_type : {"full", "tied", "diag", "spherical"}, default="full"
        One covariance matrix a component, one for all, one diagonal or one variance a component.
    tol : float, default=1e-3
        Stop when the mean log-likelihood of a row changes by less.
    reg_covar : float or "auto", default=1e-6
        Added to every variance.  "auto" adds nothing unless a component collapses, and then a
        fraction of the data's own variances; see Notes.
    max_iter : int, default=100
        Iterations of a start at most.
    n_init : int, default=1
        Number of starts, the best of which is kept.
    init_params : {"kmeans", "k-means++", "random", "random_from_data"}, default="kmeans"
        How a start begins.  "kmeans" takes the best of some short runs of EM from K-means and from
        random rows, in columns divided by their standard deviation; "k-means++" and
        "random_from_data" take rows as means, "random" random responsibilities.
    weights_init : array-like of shape (n_components,), default=None
        Starting weights.
    means_init : array-like of shape (n_components, n_features), default=None
        Starting means.
    precisions_init : array-like, default=None
        Starting precisions in the shape of the covariances.
    random_state : int, RandomState instance or None, default=None
        Source of the random draws, of ``sample`` too; they depend on neither threads nor chunks.
    warm_start : bool, default=False
        Whether fit goes on from the parameters of the fit before.
    verbose : int, default=0
        Print the starts, and every ``verbose_interval`` iterations a line.
    verbose_interval : int, default=10
        Iterations between two lines.
    bounds_memory : int or None, default=None
        Bytes beside X that bounds of full covariances may take, a component one a row and 8 more;
        0 for none.  None: half of X, and at least 24 bytes a row, but at most 2 GiB for rows that
        are not in memory.  They change no bit.
    n_threads : int or None, default=None
        None follows OMP_NUM_THREADS, threadpool_limits, the CPU affinity and the cgroup quota.
    callbacks : callable or list of callables, default=None
        Called after every iteration with a state (``iteration``, ``objective``, ``change``,
        ``seconds``, ``weights``, ``means``, ``covariances``, ...); a true value ends the fit.  They
        are not called in the initialisation of a start, which an interrupt can end.
    checkpoint : str, path-like or None, default=None
        File in which fit keeps what it needs to go on: written to the disk beside it and then put
        in its place in one step, so that a kill leaves the one before or this one.
    checkpoint_every : int, default=1
        Iterations between two checkpoints; each start's first state and last iteration have one.
    resume : bool, default=False
        Whether fit goes on from the checkpoint, to the bits of a fit that nothing interrupted;
        without a file it begins.  ``max_iter`` may be another, and what changes no bit; all else
        and the rows must be the same.
    learning_rate : None, "mean", float or callable, default=None
        Step of partial_fit: None is ``PowerLaw(0.6)``, t^-0.6 in the t-th of equal batches; "mean"
        counts all rows alike; a constant in (0, 1]; ``f(weight before, weight of the new rows)``.
    averaging : bool, default=False
        Whether partial_fit shows the model of the mean of its statistics after each batch so far.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Mixing coefficients (PRML 9.22).
    means_ : ndarray of shape (n_components, n_features)
        Means (PRML 9.17).
    covariances_ : ndarray
        Covariances (PRML 9.19): full (K, D, D), tied (D, D), diag (K, D), spherical (K,).
    precisions_ : ndarray
        Their inverses.
    precisions_cholesky_ : ndarray
        Upper triangular U with U U^T the precision; for diag and spherical its square root.
    converged_ : bool
        Whether the best start stopped by ``tol``.
    n_iter_ : int
        Iterations of the best start.
    lower_bound_ : float
        Mean log-likelihood of a row before the last M-step of the best start.
    lower_bounds_ : list of float
        The same for every iteration; of ``partial_fit`` for every batch.
    objective_trace_ : ndarray of shape (n_iter_,), float64
        ``lower_bounds_`` as an array.
    log_likelihood_ : float
        ln p(X) (PRML 9.14) under the fitted parameters, weighted.
    fit_report_ : dict
        What ran and why: algorithm, reason, isa, n_threads, dtype, covariance_type, n_iter, stopped
        ("tol", "max_iter", "callback", "interrupt" or "checkpoint failed"; "batch" after
        partial_fit, "given" of a model that no fit has made), starts (the last lower
        bound of each, None for one that failed), agreed (starts that ended where the best did),
        failed, repairs (iteration, component or -1 for the tied covariance, "re-seeded" or "held"),
        held (components on the floor), rows_scanned, pairs_evaluated (of a row and a component),
        bounds (where and why they were used), bytes_read (of rows that are not in memory), seconds
        per phase, resumed (iteration of the checkpoint from which fit went on, or None) and
        objective_trace.  Of a fit that went on, rows_scanned, pairs_evaluated and seconds are those
        since.
    n_features_in_ : int
        Number of columns seen in fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where X had any.

    Notes
    -----
    An iteration is one pass over X: the E-step (PRML 9.13) and the moments that the M-step needs
    are taken block by block, and no array of n K or n D numbers is made.  Sums are float64 whatever
    the dtype of X, and are folded in the order of the rows, so that the result has the same bits
    for any number of threads.  Responsibilities below 1e-18 of a row's largest are zero.

    A component that collapses (PRML 9.2.1) is recorded in ``fit_report_["repairs"]``: one that has
    a variance, given the columns before, of less than 1e-6 of the column's over all rows, or where
    reg_covar is a number, which all variances have at least, of nothing but rounding.  With
    ``reg_covar="auto"`` it is first re-seeded on half of the heaviest component, then held: 1e-6 of
    the variance that each column has over all rows is added to its variances.  Starts with a repair
    are kept only where there is none without.  ``reg_covar=0`` leaves no remedy: a start that
    collapses is dropped, and ValueError is raised where all do.

    Parameters are kept in float64 about a pivot, which the attributes round to the dtype of X, but
    where variances or precisions are beyond float32; they cannot be assigned (see
    ``from_parameters``).  Rows of float32 are computed in float64 where standard deviations of two
    columns are so many powers of two apart that float32 has no exponents for both.

    References
    ----------
    C. M. Bishop, Pattern Recognition and Machine Learning, 2006, sections 9.2 and 9.3.

    C. Biernacki, G. Celeux and G. Govaert, "Choosing starting values for the EM algorithm for
    getting the highest likelihood in multivariate Gaussian mixture models", Computational
    Statistics & Data Analysis 41, 2003.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmix import GaussianMixture
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> model = GaussianMixture(n_components=2, random_state=0).fit(X)
    >>> sorted(model.means_.tolist())
    [[1.0, 2.0], [10.0, 2.0]]
    >>> model.predict([[0, 0]]) == model.predict([[1, 2]])
    array([ True])
    """

    _parameter_constraints = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "covariance_type": [StrOptions(set(COVARIANCE_TYPES))],
        "tol": [Interval(Real, 0.0, None, closed="left")],
        "reg_covar": [StrOptions({"auto"}), Interval(Real, 0.0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "init_params": [StrOptions(set(INIT_PARAMS))],
        "weights_init": ["array-like", None],
        "means_init": ["array-like", None],
        "precisions_init": ["array-like", None],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "verbose_interval": [Interval(Integral, 1, None, closed="left")],
        "bounds_memory": [Interval(Integral, 0, None, closed="left"), None],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "callbacks": [callable, list, tuple, None],
        **CHECKPOINT_CONSTRAINTS,
        "learning_rate": [
            None,
            StrOptions({"mean"}),
            Interval(Real, 0, 1, closed="right"),
            callable,
        ],
        "averaging": ["boolean"],
    }

    def __init__(
        self,
        n_components=1,
        *,
        covariance_type="full",
        tol=1e-3,
        reg_covar=1e-6,
        max_iter=100,
        n_init=1,
        init_params="kmeans",
        weights_init=None,
        means_init=None,
        precisions_init=None,
        random_state=None,
        warm_start=False,
        verbose=0,
        verbose_interval=10,
        bounds_memory=None,
        n_threads=None,
        callbacks=None,
        checkpoint=None,
        checkpoint_every=1,
        resume=False,
        learning_rate=None,
        averaging=False,
    ):
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.bounds_memory = bounds_memory
        self.n_threads = n_threads
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.resume = resume
        self.learning_rate = learning_rate
        self.averaging = averaging

    @classmethod
    def from_parameters(cls, weights, means, covariances, covariance_type="full", **params):
        """A fitted mixture from its parameters.

        Parameters
        ----------
        weights : array-like of shape (n_components,)
            Mixing coefficients >= 0, of sum 1.
        means : array-like of shape (n_components, n_features)
            Means.
        covariances : array-like
            In the shape of ``covariance_type``; symmetric and positive definite.
        covariance_type : {"full", "tied", "diag", "spherical"}, default="full"
            What the covariances are.
        **params : dict
            Further parameters of the estimator.

        Returns
        -------
        model : GaussianMixture
            Ready for predict, score, bic, sample and a warm-started fit.  Of the fitted attributes
            it lacks ``log_likelihood_``, which needs rows: see ``score``.

        Raises
        ------
        ValueError
            For parameters that are none of a mixture, with what was expected.
        """
        built, dtype = model_of(covariance_type, weights, means, covariances)
        k, d = built.parameters.means.shape
        model = cls(n_components=k, covariance_type=covariance_type, **params)
        model._model, model._dtype, model.n_features_in_ = built, dtype, d
        model.converged_, model.n_iter_ = True, 0
        model.lower_bound_, model.lower_bounds_ = -np.inf, []
        model.fit_report_ = core.report_of_parameters(built)
        # Rows behind it, covariances on the floor, and what was added to them.
        model._seen, model._held, model._fitted_reg_covar = 0.0, [], 0.0
        return model

    # ------------------------------------------------------------------ fit

    def fit(self, X, y=None, sample_weight=None):
        """Estimate the parameters by EM (PRML 9.23 to 9.28).

        Parameters
        ----------
        X : array-like or source of shape (n_samples, n_features)
            Rows: any numeric dtype, strides and byte order; neither copied nor written.  A source
            is what has its rows elsewhere: see the README.
        y : ignored
            Present by convention.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0; they count in initialisation, moments and likelihood.

        Returns
        -------
        self : GaussianMixture
            Fitted estimator.

        Raises
        ------
        ValueError, TypeError
            For bad input, before any work; the estimator stays as it was.  With ``reg_covar=0``
            also where a component collapses in every start; and where a checkpoint is of another
            fit, naming what differs, or of other data.
        ModelFileError
            The checkpoint is damaged: the member at fault.
        OSError
            A checkpoint cannot be written; the one before is intact, and the attributes hold the
            best state so far, with ``fit_report_["stopped"] == "checkpoint failed"``.
        """
        return self._fit(X, sample_weight)

    def fit_predict(self, X, y=None, sample_weight=None):
        """Fit, and return the component of every row.

        Parameters
        ----------
        X : array-like or source of shape (n_samples, n_features)
            Rows.
        y : ignored
            Present by convention.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int32
            Component of the largest responsibility; equal to ``predict(X)``.
        """
        return self._fit(X, sample_weight).predict(X)

    def _fit(self, X, sample_weight):
        self._check_parameters()
        with Rollback(self) as back:

            def keep(result):
                self._keep(result, X, total)
                back.commit()

            k = as_count(self.n_components, "n_components")
            X = self._validated(X, reset=True)
            if len(X) < k:
                raise ValueError(
                    f"Expected n_samples >= n_components but got n_components = {k}, "
                    f"n_samples = {len(X)}"
                )
            weights, factor = as_weights(sample_weight, len(X))
            total = float(len(X)) if weights is None else weighted_total(weights) * factor
            total = min(total, MOST_WEIGHT)
            given = check_given(self, k, X.shape[1])
            self._warn_few_rows(X, weights)
            back.draws(self.random_state)
            warm = self._warm(k, X.shape[1])
            origin = None
            if self.checkpoint is not None:
                origin = origin_of(warm)
                # What an earlier call left, and its checkpoint, began from the same.
                if self.resume and self.warm_start:
                    origin = self.__dict__.get("_began_from", origin)
                self._began_from = origin
            result = core.fit(
                X,
                k,
                covariance_type=self.covariance_type,
                weights=weights,
                factor=factor,
                tol=self.tol,
                reg_covar=self.reg_covar,
                max_iter=self.max_iter,
                n_init=self.n_init,
                init_params=self.init_params,
                given=given,
                random_state=check_random_state(self.random_state),
                n_threads=self.n_threads,
                callbacks=as_callbacks(self.callbacks),
                printer=Printer(self.verbose, self.verbose_interval) if self.verbose else None,
                warm=warm,
                origin=origin,
                keep=keep,
                on_drowned=self._warn_drowned,
                bounds_memory=self.bounds_memory,
                checkpoint=checkpoint_of(self),
                seed=self.random_state,
            )
        self._keep(result, X, total)
        if not self.converged_ and self.max_iter > 0 and result.report["stopped"] != "callback":
            warn(
                "Best performing initialization did not converge. Try different init parameters, "
                "or increase max_iter, tol, or check for degenerate data.",
                ConvergenceWarning,
            )
        return self

    def _warm(self, k, d):
        """The model and lower bound to go on from, or None."""
        model = self.__dict__.get("_model")
        if not self.warm_start or model is None:
            return None
        mine = (self.covariance_type, (k, d))
        if mine != (model.parameters.covariance_type, model.parameters.means.shape):
            return None
        return model, self.lower_bound_

    def _warn_few_rows(self, X, weights):
        """Warn where the rows about their mean cannot span the columns."""
        n_rows = len(X) if weights is None else np.count_nonzero(weights)
        if self.covariance_type in ("full", "tied") and n_rows <= X.shape[1]:
            warn(
                f"no covariance of {n_rows} rows in {X.shape[1]} columns has full rank: with "
                f"covariance_type={self.covariance_type!r} the fit is of reg_covar="
                f"{self.reg_covar!r} as much as of the data; use 'diag' or 'spherical', or fewer "
                "columns",
            )

    def _warn_drowned(self):
        warn(
            f"reg_covar={self.reg_covar} is a tenth or more of the variance of a column, which it "
            "drowns; scale the data, or use reg_covar='auto'",
        )

    def _keep(self, result, X, total):
        """Take the fitted attributes from a result of the core, of rows X of weight total."""
        self._model, self._dtype = result.model, result_dtype(X.dtype)
        self.converged_ = result.converged
        self.n_iter_ = result.n_iter
        self.lower_bounds_ = result.lower_bounds
        self.lower_bound_ = result.lower_bounds[-1] if result.lower_bounds else -np.inf
        self.log_likelihood_ = result.log_likelihood
        self.fit_report_ = result.report
        self._seen, self._fitted_reg_covar = total, self.reg_covar
        held = result.report["held"]
        self._held = held[:1] if self.covariance_type == "tied" else held  # of the covariances
        self.__dict__.pop("_stepwise", None)


GMM = GaussianMixture
