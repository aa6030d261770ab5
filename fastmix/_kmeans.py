# SPDX-License-Identifier: BSD-3-Clause
"""KMeans as an estimator with scikit-learn's contract."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from fastmix._centers import CentersModel
from fastmix._checkpoint import CHECKPOINT_CONSTRAINTS, checkpoint_of
from fastmix._parameters import ParameterValidation
from fastmix._rollback import Rollback
from fastmix._rows import RowsValidation
from fastmix._sequential import SequentialUpdates
from fastmix.core import _fit as core
from fastmix.core._finite import is_checked_later
from fastmix.core._kernels import distinct_labels
from fastmix.core._threads import thread_limit
from fastmix.core._validation import (
    as_count,
    as_data,
    as_out,
    as_weights,
    result_dtype,
)
from fastmix.core._warn import warn

__all__ = ["KMeans"]


class KMeans(
    CentersModel,
    SequentialUpdates,
    ParameterValidation,
    RowsValidation,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClusterMixin,
    BaseEstimator,
):
    """K-means clustering (PRML 9.1) with scikit-learn's interface.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters K.
    init : {"k-means++", "random"}, array-like (n_clusters, n_features) or callable
        Starting centres.  "k-means++" is the greedy variant with 2 + ln K trials, "random" draws
        distinct rows; both draw by weight.  A callable is called as
        ``init(X, n_clusters, random_state=...)`` with a read-only X.
    n_init : "auto" or int, default="auto"
        Number of starts, the best of which is kept; "auto" is 1, but 10 for "random" and for a
        callable.
    max_iter : int, default=300
        Iterations at most.
    tol : float, default=1e-4
        Stop when the squared shifts of all centres add up to at most ``tol`` times the mean
        variance of the columns.
    verbose : int, default=0
        Print a line per iteration.
    random_state : int, RandomState instance or None, default=None
        Source of the random draws; they depend on neither threads nor chunks.
    copy_x : bool, default=True
        Accepted because scikit-learn has it; X is never written.
    algorithm : {"auto", "lloyd", "elkan"}, default="auto"
        "lloyd" compares every row with every centre in every iteration, "elkan" only those that
        bounds of the distances cannot rule out, "auto" does so where it pays; ``fit_report_`` says
        what was done.  The result has the same bits.
    bounds_memory : int or None, default=None
        Most bytes that bounds may take beyond X and 4 a row, of which more make them tighter; None:
        half as much as X, and at least 24 a row, but at most 2 GiB for rows that are not in memory.
    n_threads : int or None, default=None
        None follows OMP_NUM_THREADS, threadpool_limits, the CPU affinity and the cgroup quota.
    callbacks : callable or list of callables, default=None
        Called after every iteration with a state (``iteration``, ``objective``, ``center_shift``,
        ``n_changed``, ``seconds``, ``centers``, ``labels``, ...); a true value ends the fit.
    checkpoint : str, path-like or None, default=None
        File in which fit keeps what it needs to go on: written to the disk beside it and then put
        in its place in one step, so that a kill leaves the one before or this one.
    checkpoint_every : int, default=1
        Iterations between two checkpoints; each start's first state and last iteration have one.
    resume : bool, default=False
        Whether fit goes on from the checkpoint, to the bits of a fit that nothing interrupted;
        without a file it begins.  ``max_iter`` may be another, and what changes no bit; all else
        and the rows must be the same.
    learning_rate : "mean", float or callable, default="mean"
        How far partial_fit moves a centre towards the mean of its new rows: so that it is the mean
        of all its rows, a constant in (0, 1], or ``f(weight before, weight of the new rows)``.
    batch_size : int or None, default=None
        Rows between two moves of the centres in partial_fit; None: all of a call.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
        Centres in the dtype of X if that is float32, else float64: the rounding of the float64
        centres that predict uses.  A copy; assigning it replaces those.
    labels_ : ndarray of shape (n_samples,), int32
        Cluster of every row of fit, equal to ``predict(X)``; after partial_fit, of its rows when
        they were met.
    inertia_ : float
        Objective J (PRML 9.1), by differences in float64; of CSR arrays by squares about zero,
        which lose digits far from it.
    n_iter_ : int
        Iterations of the best start.
    objective_trace_ : ndarray of shape (2 * n_iter_,), float64
        J after each E-step and after each M-step, in turn, from sums: to the precision of squared
        distances from the mean of all rows.
    fit_report_ : dict
        What ran and why: algorithm, reason, isa, n_threads, dtype, n_iter, stopped ("strict",
        "tol", "max_iter", "callback", "interrupt" or "checkpoint failed"), e_steps, products
        (row-centre products, of floats or of whole numbers that find a label; not those by which
        codes of few bits rule centres out), rows_scanned (rows whose label nothing proved),
        rows_shortlisted (of those, the ones whose label was found in whole numbers), rows_changed,
        bytes_read (of rows that are not in memory), seconds per phase, repairs (iteration, cluster,
        row), resumed (iteration of the checkpoint from which fit went on, or None) and
        objective_trace.  Of a fit that went on, e_steps, products, rows_scanned and seconds are
        those since.
    counts_ : ndarray of shape (n_clusters,), float64
        Weight of the rows behind each centre.
    n_steps_ : int
        Moves of the centres by partial_fit, since fit if that was called: batches, or rows.
    n_features_in_ : int
        Number of columns seen in fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where X had any.

    Notes
    -----
    An iteration costs n K d multiply-adds on tiles with rows in the SIMD lanes, fewer where bounds
    rule centres out ("yinyang" in the report: Ding et al., ICML 2015; "hamerly": Hamerly, SDM 2010,
    the few centres that move most apart; both with room for rounding).
    Sums are exact and independent of order, so that the result has the same bits for any number of
    threads; see the README for the promises.  On Ctrl-C, fit raises KeyboardInterrupt and leaves
    the best state in the attributes, with ``fit_report_["stopped"] == "interrupt"``.

    References
    ----------
    C. M. Bishop, Pattern Recognition and Machine Learning, 2006, section 9.1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmix import KMeans
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> model = KMeans(n_clusters=2, init=X[[0, 3]]).fit(X)
    >>> model.labels_
    array([0, 0, 0, 1, 1, 1], dtype=int32)
    >>> model.cluster_centers_
    array([[ 1.,  2.],
           [10.,  2.]])
    """

    _parameter_constraints = {
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "init": [StrOptions({"k-means++", "random"}), callable, "array-like"],
        "n_init": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
        "copy_x": ["boolean"],
        "algorithm": [StrOptions(set(core.ALGORITHMS))],
        "bounds_memory": [Interval(Integral, 0, None, closed="left"), None],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "callbacks": [callable, list, tuple, None],
        **CHECKPOINT_CONSTRAINTS,
        "learning_rate": [StrOptions({"mean"}), Interval(Real, 0, 1, closed="right"), callable],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
    }

    _many_starts = 10  # with n_init="auto"

    def __init__(
        self,
        n_clusters=8,
        *,
        init="k-means++",
        n_init="auto",
        max_iter=300,
        tol=1e-4,
        verbose=0,
        random_state=None,
        copy_x=True,
        algorithm="auto",
        bounds_memory=None,
        n_threads=None,
        callbacks=None,
        checkpoint=None,
        checkpoint_every=1,
        resume=False,
        learning_rate="mean",
        batch_size=None,
    ):
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.bounds_memory = bounds_memory
        self.n_threads = n_threads
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.resume = resume
        self.learning_rate = learning_rate
        self.batch_size = batch_size

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # ------------------------------------------------------------------ fit

    def fit(self, X, y=None, sample_weight=None):
        """Compute the clustering.

        Parameters
        ----------
        X : {array-like, CSR array, source} of shape (n_samples, n_features)
            Rows to cluster: any numeric dtype, strides and byte order; neither copied nor written,
            but for a CSR array in which several entries stand for one element.  A source is what
            has its rows elsewhere: see the README.
        y : ignored
            Present by convention.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0; they count in seeding, centres, objective and tolerance.

        Returns
        -------
        self : KMeans
            Fitted estimator.

        Raises
        ------
        ValueError, TypeError
            For bad input, before any work; the estimator stays as it was.  Also where a checkpoint
            is of another fit, naming what differs, or of other data.
        ModelFileError
            The checkpoint is damaged: the member at fault.
        OSError
            A checkpoint cannot be written; the one before is intact, and the attributes hold the
            best state so far, with ``fit_report_["stopped"] == "checkpoint failed"``.
        """
        self._check_parameters()
        k = self._check_n_clusters()
        with Rollback(self) as back:

            def keep(result):
                self._keep(result)
                back.commit()

            X = self._validated(X, reset=True)
            weights, factor = as_weights(sample_weight, X.shape[0])
            n_init = self._resolve_n_init()
            options = {
                name: getattr(self, name)
                for name in ("max_iter", "tol", "algorithm", "bounds_memory")
            }
            init = core.check_arguments(X.shape, k, self.init, n_init, **options)
            back.draws(self.random_state)
            if self.algorithm == "elkan" and k == 1:
                warn(
                    "algorithm='elkan' doesn't make sense for a single cluster. Using 'lloyd' "
                    "instead.",
                    RuntimeWarning,
                )
            result = core.fit(
                X,
                k,
                weights=weights,
                factor=factor,
                init=init,
                n_init=n_init,
                **options,
                random_state=self.random_state,
                n_threads=self.n_threads,
                callbacks=core.as_callbacks(self.callbacks),
                verbose=self.verbose,
                keep=keep,
                checkpoint=checkpoint_of(self),
            )
        self._keep(result)
        found = distinct_labels(self.labels_, k)
        if found < k and self.fit_report_["stopped"] != "callback":
            warn(
                f"Number of distinct clusters ({found}) found smaller than n_clusters ({k}). "
                "Possibly due to duplicate points in X.",
                ConvergenceWarning,
            )
        return self

    def _check_n_clusters(self):
        # bool is an Integral, which scikit-learn's own validation lets through.
        return as_count(self.n_clusters, "n_clusters")

    def _resolve_n_init(self):
        if self.n_init == "auto":
            many = callable(self.init) or (isinstance(self.init, str) and self.init == "random")
            self._n_init = self._many_starts if many else 1
        else:
            self._n_init = self.n_init
        given = not isinstance(self.init, str) and not callable(self.init)
        if given and self._n_init != 1:
            warn(
                "Explicit initial center position passed: performing only one init in "
                f"{type(self).__name__} instead of n_init={self._n_init}.",
                RuntimeWarning,
            )
            self._n_init = 1
        return self._n_init

    def _validated(self, X, reset):
        if type(X) is np.ndarray and X.dtype.kind == "f" and X.size:
            # Nothing to convert and no names: 0.1 ms saved, which 150 rows notice.
            if reset:
                X = as_data(X)
                self.n_features_in_ = X.shape[1]
                self.__dict__.pop("feature_names_in_", None)
                return X
            known = self.__dict__
            if "feature_names_in_" not in known and X.shape[1:] == (known.get("n_features_in_"),):
                return as_data(X)
        return self._validated_rows(X, reset, accept_sparse="csr")

    def _keep(self, result):
        """Take the fitted attributes from a result of the core."""
        self._model = result.model
        self._centers = result.centers
        self._sizes = result.counts
        for name in ("_learnt", "n_steps_"):  # what they tell is over
            self.__dict__.pop(name, None)
        self.labels_ = result.labels
        self.inertia_ = result.inertia
        self.n_iter_ = result.n_iter
        self.objective_trace_ = result.report["objective_trace"]
        self.fit_report_ = result.report

    # ------------------------------------------------------------------ use

    def _rows(self, X, once=False):
        """Rows of X in the model's frame, the centres there, and the threads to use.

        With once, those of a source are not checked, and have no bounds: their one pass does that.
        """
        check_is_fitted(self, "cluster_centers_")
        n_threads = thread_limit(self.n_threads)
        X = self._validated(X, reset=False)
        check = not (once and is_checked_later(X))
        return *core.model_rows(X, self._model, n_threads, check), n_threads

    def predict(self, X, out=None):
        """Nearest centre of every row (PRML 9.2).

        Parameters
        ----------
        X : {array-like, CSR array, source} of shape (n_samples, n_features)
            New rows.
        out : ndarray of shape (n_samples,), int32, optional
            Where to write, such as a memory map.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int32
            Index of the nearest centre; ties go to the lowest; ``out`` where given.
        """
        rows, centers, n_threads = self._rows(X, once=out is None)
        if out is not None:
            as_out(out, (rows.n,), rows.X, "i", contiguous=True)
        return core.predict(rows, centers, n_threads, out=out, check=rows.column_range is None)

    def transform(self, X):
        """Distances to all centres.

        They are to ``cluster_centers_``: where these are float32, another centre than that of
        ``predict``, which uses float64 ones, may be the nearest by a rounding.

        Parameters
        ----------
        X : {array-like, CSR array, source} of shape (n_samples, n_features)
            New rows.

        Returns
        -------
        distances : ndarray of shape (n_samples, n_clusters)
            Euclidean distances by differences (of CSR arrays by squares about zero), in the dtype
            of X if float32, else float64.
        """
        rows, _, n_threads = self._rows(X, once=True)
        # To the public centres, not the float64 ones: a centre is at distance zero from itself.
        centers = self._centers.astype(np.float64) * rows.scale - rows.offset
        distances = core.distances(rows, centers, n_threads, check=rows.column_range is None)
        return distances.astype(result_dtype(rows.X.dtype), copy=False)

    def score(self, X, y=None, sample_weight=None):
        """Minus the objective of new rows.

        Parameters
        ----------
        X : {array-like, CSR array, source} of shape (n_samples, n_features)
            New rows.
        y : ignored
            Present by convention.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0.

        Returns
        -------
        score : float
            -J (PRML 9.1), as ``inertia_`` is computed.
        """
        rows, centers, n_threads = self._rows(X)
        weights, factor = as_weights(sample_weight, rows.n)
        return float(-factor * core.objective(rows, centers, weights, n_threads))
