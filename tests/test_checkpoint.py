# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints: a fit that goes on has the bits of one that nothing interrupted."""

import os

import numpy as np
import pytest

from checkpoint_cases import CASES, CROWDED, DENSE, digest, fit
from fastmix import GaussianMixture, KMeans
from fastmix.callbacks import TimeLimit

KINDS = ["plain", "full"]


class Stop(Exception):
    """Ends a fit from a callback."""


@pytest.fixture
def path(tmp_path):
    """Where a checkpoint goes."""
    return tmp_path / "fit.ckpt"


def stop_after(calls):
    """A callback that raises when it is called for the so-manieth time."""
    states = []

    def callback(state):
        states.append(state)
        if len(states) == calls:
            raise Stop

    return callback


def stopped(name, path, calls=3, **options):
    """Leave the checkpoint of a case that was stopped in its so-manieth iteration."""
    with pytest.raises(Stop):
        fit(name, checkpoint=path, callbacks=stop_after(calls), **options)


# The same bits.


@pytest.mark.parametrize("name", CASES)
def test_fit_with_checkpoints_has_the_bits_of_one_without(name, path):
    assert digest(fit(name, checkpoint=path)) == digest(fit(name))


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_resumed_fit_has_the_bits_of_one_that_ran_through(name, path, every):
    expected = digest(fit(name))
    seen = []
    fit(name, callbacks=seen.append)
    at = {1, 2, 3, len(seen) // 2 + 1, len(seen) - 1, len(seen)}
    for calls in sorted(at & set(range(1, len(seen) + 1))):
        path.unlink(missing_ok=True)
        stopped(name, path, calls, checkpoint_every=every)
        model = fit(name, checkpoint=path, resume=True)
        assert digest(model) == expected, f"stopped in iteration {calls} of {len(seen)}"


@pytest.mark.parametrize("name", CASES)
def test_finished_checkpoint_resumes_to_the_same_end(name, path):
    expected = digest(fit(name, checkpoint=path))
    before = path.read_bytes()
    model = fit(name, checkpoint=path, resume=True)
    assert digest(model) == expected
    assert model.fit_report_["resumed"] is not None
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", CASES)
def test_fit_that_is_stopped_in_every_iteration_ends_with_the_same_bits(name, path):
    expected = digest(fit(name))
    for _ in range(300):
        try:
            # The second iteration of a call is the first with a checkpoint of its own before it.
            model = fit(name, checkpoint=path, resume=True, callbacks=stop_after(2))
            break
        except Stop:
            pass
    assert digest(model) == expected


def test_tolerance_is_that_of_the_first_iteration(path, monkeypatch):
    from fastmix.core import _lloyd

    options = {"n_clusters": 12, "tol": 1e-6, "random_state": 3, "checkpoint": path}
    with pytest.raises(Stop):
        KMeans(**options, callbacks=stop_after(3)).fit(DENSE)
    expected = digest(KMeans(12, tol=1e-6, random_state=3).fit(DENSE))
    # Other sums may round it to another value; this one would end the fit at once.
    monkeypatch.setattr(_lloyd, "column_variance", lambda *_: np.inf)
    assert digest(KMeans(**options, resume=True).fit(DENSE)) == expected


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("name", KINDS)
def test_resumed_fit_has_the_same_bits_for_any_number_of_threads(name, path, n_threads):
    stopped(name, path, n_threads=2)
    assert digest(fit(name, checkpoint=path, resume=True, n_threads=n_threads)) == digest(fit(name))


@pytest.mark.parametrize("algorithm", ["auto", "lloyd", "elkan"])
def test_resumed_fit_may_take_another_algorithm(path, algorithm):
    stopped("bounds", path)
    model = fit("bounds", checkpoint=path, resume=True, algorithm=algorithm)
    assert digest(model) == digest(fit("bounds"))


def test_k_means_goes_on_with_the_rows_in_another_order(path):
    options = {"init": DENSE[:12], "n_clusters": 12, "tol": 0, "checkpoint": path}
    with pytest.raises(Stop):
        KMeans(**options, callbacks=stop_after(4)).fit(DENSE)
    model = KMeans(**options, resume=True).fit(DENSE[::-1])
    expected = KMeans(12, init=DENSE[:12], tol=0).fit(DENSE)
    assert model.fit_report_["resumed"] == 3
    assert model.cluster_centers_.tobytes() == expected.cluster_centers_.tobytes()
    np.testing.assert_array_equal(model.labels_[::-1], expected.labels_)


@pytest.mark.parametrize("name", KINDS)
def test_max_iter_may_be_larger_when_a_fit_goes_on(name, path):
    fit(name, checkpoint=path, max_iter=3)
    model = fit(name, checkpoint=path, resume=True)
    assert (digest(model), model.fit_report_["resumed"]) == (digest(fit(name)), 3)


@pytest.mark.parametrize("name", KINDS)
def test_max_iter_that_is_behind_ends_where_the_checkpoint_is(name, path):
    fit(name, checkpoint=path, max_iter=4)
    model = fit(name, checkpoint=path, resume=True, max_iter=2)
    assert digest(model) == digest(fit(name, max_iter=4))


@pytest.mark.parametrize("name", ["starts", "diag"])
def test_draws_of_the_users_random_state_go_on_as_if_nothing_had_happened(name, path):
    through = np.random.RandomState(8)
    expected = digest(fit(name, random_state=through))
    stopped(name, path, 12, random_state=np.random.RandomState(8))
    resumed = np.random.RandomState(1234)
    assert digest(fit(name, checkpoint=path, resume=True, random_state=resumed)) == expected
    assert resumed.uniform() == through.uniform()


def test_generator_of_the_user_goes_on_too():
    # The estimators take no Generator, the core does.
    from fastmix.core._checkpoint import made_random_state, random_state_values

    for kind in (np.random.MT19937, np.random.PCG64, np.random.Philox, np.random.SFC64):
        draws = np.random.Generator(kind(5))
        draws.uniform(size=3)
        draws.integers(9, dtype=np.int32)  # leaves half a word behind
        again = made_random_state(random_state_values(draws))
        assert again.uniform() == draws.uniform()


def test_sample_weight_counts_in_what_is_the_same_data(path):
    stopped("weights", path)
    weights = CASES["weights"][3].copy()
    weights[[0, 1]] += 1
    model = KMeans(12, n_init=2, tol=0, max_iter=40, random_state=3, checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="other data"):
        model.fit(DENSE, sample_weight=weights)


# What is told.


@pytest.mark.parametrize("name", KINDS)
def test_callbacks_are_given_the_iterations_that_are_left(name, path):
    through, resumed = [], []
    fit(name, callbacks=through.append)
    stopped(name, path, 5)
    model = fit(name, checkpoint=path, resume=True, callbacks=resumed.append)
    assert [state.iteration for state in resumed] == list(range(4, len(through)))
    assert [state.objective for state in resumed] == [state.objective for state in through[4:]]
    assert model.fit_report_["resumed"] == 4


@pytest.mark.parametrize("name", KINDS)
def test_report_says_that_a_fit_did_not_go_on(name, path):
    assert fit(name).fit_report_["resumed"] is None
    assert fit(name, checkpoint=path, resume=True).fit_report_["resumed"] is None


@pytest.mark.parametrize("name", ["starts", "diag"])
def test_callbacks_are_given_the_number_of_the_start(name, path):
    through, resumed = [], []
    fit(name, callbacks=through.append)
    calls = next(i for i, state in enumerate(through) if state.init == 1) + 3
    stopped(name, path, calls)
    fit(name, checkpoint=path, resume=True, callbacks=resumed.append)
    at = [(state.init, state.iteration) for state in through]
    assert [(state.init, state.iteration) for state in resumed] == at[calls - 1 :]


@pytest.mark.parametrize("name", CASES)
def test_states_count_the_rows_that_were_seen(name):
    states = []
    fit(name, callbacks=states.append)
    n = CASES[name][2].shape[0]
    steps = np.diff([0, *[state.rows for state in states]]) / n
    # A start of K-means that did not end by "strict" has a last E-step that no callback sees.
    assert set(steps) <= {1, 2}
    assert states[0].rows == n
    assert {state.bytes_read for state in states} == {0}


# When they are written.


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("name", ["plain", "full"])
def test_checkpoints_are_written_every_so_many_iterations_and_at_the_end(
    name, path, every, monkeypatch
):
    from fastmix import _checkpoint

    saved, write = [], _checkpoint.write

    def note(path, form, name, values, arrays):
        saved.append(values["n_iter"])
        write(path, form, name, values, arrays)

    monkeypatch.setattr(_checkpoint, "write", note)
    n_iter = fit(name, checkpoint=path, checkpoint_every=every).n_iter_
    assert saved == [*range(0, n_iter, every), n_iter]


@pytest.mark.parametrize("name", KINDS)
def test_fit_without_resume_replaces_an_older_checkpoint(name, path):
    fit(name, checkpoint=path)
    model = fit(name, checkpoint=path, random_state=5)
    assert model.fit_report_["resumed"] is None
    assert digest(model) == digest(fit(name, random_state=5))


@pytest.mark.parametrize("name", KINDS)
def test_time_limit_leaves_a_checkpoint_that_goes_on(name, path):
    model = fit(name, checkpoint=path, callbacks=TimeLimit(1e-9))
    assert (model.fit_report_["stopped"], model.n_iter_) == ("callback", 1)
    assert digest(fit(name, checkpoint=path, resume=True)) == digest(fit(name))


@pytest.mark.parametrize("name", KINDS)
def test_interrupt_keeps_the_best_state_and_the_checkpoint(name, path):
    cls, options, X, _ = CASES[name]

    def interrupt(state):
        if state.iteration == 3:
            raise KeyboardInterrupt

    options = {"random_state": 3, "max_iter": 40, "checkpoint": path, **options}
    model = cls(**options, callbacks=interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert (model.fit_report_["stopped"], model.n_iter_) == ("interrupt", 4)
    assert digest(fit(name, checkpoint=path, resume=True)) == digest(fit(name))


# What is refused.


@pytest.mark.parametrize(
    "name, options, what",
    [
        ("plain", {"n_clusters": 11}, "n_clusters is 12 there and 11 here"),
        ("plain", {"tol": 1e-3}, "tol is 0 there and 0.001 here"),
        ("plain", {"init": "random", "n_init": 1}, "init is 'k-means\\+\\+' there"),
        ("plain", {"n_init": 2}, "n_init is 1 there and 2 here"),
        ("plain", {"random_state": 4}, "random_state is 3 there and 4 here"),
        ("empty", {"init": CROWDED[::-1]}, "init is 'array "),
        ("full", {"n_components": 5}, "n_components is 6 there and 5 here"),
        ("full", {"covariance_type": "diag"}, "covariance_type is 'full' there and 'diag' here"),
        ("full", {"reg_covar": "auto"}, "reg_covar is 1e-06 there and 'auto' here"),
        (
            "full",
            {"init_params": "random"},
            "init_params is 'random_from_data' there",
        ),
        ("full", {"tol": 1e-4}, "tol is 1e-05 there and 0.0001 here"),
        ("full", {"weights_init": np.full(6, 1 / 6)}, "weights_init is None there and 'array "),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_checkpoint_of_another_fit_is_refused_by_what_differs(path, name, options, what):
    stopped(name, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"checkpoint is of another fit: {what}"):
        fit(name, checkpoint=path, resume=True, **options)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "change, what",
    [
        (lambda X: X[:-1], "another fit: n_samples is 1500 there and 1499 here"),
        (lambda X: X[:, :3], "another fit: n_features is 4 there and 3 here"),
        (lambda X: X.astype(np.float32), "another fit: dtype is 'float64' there and 'float32'"),
        (lambda X: X + 5, "other data: the "),
        (lambda X: np.where(np.arange(X.size).reshape(X.shape) == 77, 0.5, X), "other data: the "),
    ],
    ids=["rows", "columns", "dtype", "shifted", "one value"],
)
@pytest.mark.parametrize("calls", [1, 4])
@pytest.mark.parametrize("name", KINDS)
def test_checkpoint_of_other_data_is_refused(path, name, calls, change, what):
    stopped(name, path, calls)
    cls, options, X, _ = CASES[name]
    draws = np.random.RandomState(0)
    options = {"random_state": 3, "checkpoint": path, "resume": True, **options}
    model = cls(**options)
    with pytest.raises(ValueError, match=f"the checkpoint is of {what}"):
        model.fit(change(X))
    assert not hasattr(model, "fit_report_")
    assert draws.uniform() == np.random.RandomState(0).uniform()


def test_objective_that_differs_is_refused(path, monkeypatch):
    from fastmix.core import _kmeans_checkpoint

    # The scan cannot tell: as if the data differed where nothing but the last iteration looks.
    stopped("plain", path, 5)
    load = _kmeans_checkpoint.KMeansCheckpoints.resume

    def resume(self, new_run):
        start, run, best = load(self, new_run)
        run.trace[-1] = np.nextafter(run.trace[-1], np.inf)
        return start, run, best

    monkeypatch.setattr(_kmeans_checkpoint.KMeansCheckpoints, "resume", resume)
    with pytest.raises(ValueError, match="other data: the objective"):
        fit("plain", checkpoint=path, resume=True)


def test_checkpoint_of_another_class_is_refused(path):
    stopped("plain", path)
    with pytest.raises(ValueError, match="is of a KMeans, not of a GaussianMixture"):
        fit("full", checkpoint=path, resume=True)


def test_resume_without_a_path_is_refused():
    with pytest.raises(ValueError, match="resume=True needs checkpoint="):
        KMeans(2, resume=True).fit(DENSE)
    with pytest.raises(ValueError, match="resume=True needs checkpoint="):
        GaussianMixture(2, resume=True).fit(DENSE)


@pytest.mark.parametrize("name", KINDS)
def test_missing_folder_is_refused_before_any_work(name, tmp_path):
    calls = []
    path = str(tmp_path / "none" / "fit.ckpt")
    with pytest.raises(FileNotFoundError) as caught:
        fit(name, checkpoint=path, callbacks=calls.append)
    assert caught.value.filename == path
    assert not calls


@pytest.mark.parametrize(
    "options",
    [{"checkpoint": 3}, {"checkpoint_every": 0}, {"checkpoint_every": 1.5}, {"resume": "yes"}],
    ids=repr,
)
@pytest.mark.parametrize("name", KINDS)
def test_parameters_that_cannot_be_are_refused(name, options):
    with pytest.raises(ValueError, match=f"The '{next(iter(options))}' parameter of"):
        fit(name, **options)


def test_subclass_has_checkpoints_too(path):
    class Mine(KMeans):
        pass

    options = {"n_clusters": 12, "tol": 0, "random_state": 3, "checkpoint": path}
    with pytest.raises(Stop):
        Mine(**options, callbacks=stop_after(3)).fit(DENSE)
    assert digest(Mine(**options, resume=True).fit(DENSE)) == digest(
        KMeans(12, tol=0, random_state=3).fit(DENSE)
    )


def test_leftovers_of_killed_processes_are_removed(path):
    from fastmix._atomic import replacing

    with replacing(path) as file:
        leftover = os.path.basename(file.name)
    path.unlink()
    (path.parent / leftover).write_bytes(b"half of a checkpo")
    (path.parent / ".fastmix-other.tmp").write_bytes(b"not ours")
    fit("plain", checkpoint=path, resume=True)
    assert sorted(os.listdir(path.parent)) == [".fastmix-other.tmp", "fit.ckpt"]


@pytest.mark.parametrize("warm_start", [False, True])
def test_a_start_is_saved_before_its_first_iteration(path, warm_start, rng):
    X, seen = rng.normal(size=(300, 2)), []
    model = GaussianMixture.from_parameters([1.0], [[3.0, 3.0]], [np.eye(2)])
    model.set_params(warm_start=warm_start, checkpoint=path, tol=0, max_iter=2)
    # A callback comes before what its iteration saves.
    model.set_params(callbacks=lambda state: seen.append(path.exists())).fit(X)
    assert seen[0]


def test_a_warm_start_goes_on_from_its_own_checkpoint_only(path, rng):
    X = rng.normal(size=(300, 2)) + [[0.0, 3.0]] * rng.integers(0, 2, (300, 1))
    options = {"random_state": 0, "tol": 0, "max_iter": 5}

    def warm(**more):
        return GaussianMixture.from_parameters(
            [0.5, 0.5],
            [[6.0, 6.0], [0.0, 0.0]],
            [np.eye(2)] * 2,
            warm_start=True,
            **options,
            **more,
        )

    GaussianMixture(2, checkpoint=path, **options).fit(X)
    with pytest.raises(
        ValueError, match=r"fit: warm_start is None there and 'array \w+\.\.\.' here"
    ):
        warm(checkpoint=path, resume=True).fit(X)
    warm(checkpoint=path, callbacks=lambda state: state.iteration == 1).fit(X)
    resumed = warm(checkpoint=path, resume=True).fit(X)
    assert resumed.fit_report_["resumed"] == 2
    np.testing.assert_array_equal(resumed.means_, warm().fit(X).means_)
    # The other way round, and on with the object that was stopped.
    with pytest.raises(ValueError, match=r"warm_start is 'array \w+\.\.\.' there and None here"):
        GaussianMixture(2, checkpoint=path, resume=True, **options).fit(X)
    same = warm(checkpoint=path, callbacks=lambda state: state.iteration == 1).fit(X)
    same.set_params(resume=True, callbacks=None).fit(X)
    assert same.fit_report_["resumed"] == 2
    np.testing.assert_array_equal(same.means_, resumed.means_)
    # What it has learnt since is another beginning.
    same.partial_fit(X)
    with pytest.raises(ValueError, match="another fit: warm_start"):
        same.fit(X)
