# SPDX-License-Identifier: BSD-3-Clause
"""Parameters are accepted and refused as scikit-learn's own validation does."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import InvalidParameterError

from fastmix import KMeans

X = np.arange(12.0).reshape(6, 2)
VALUES = [None, True, -1, 0, 1, 2.5, np.nan, "auto", "random", "x", [1], np.ones((2, 2)), print]
NAMES = sorted(KMeans().get_params())


def outcome(validate, model):
    try:
        return validate(model)
    except InvalidParameterError as error:
        return str(error)


@pytest.mark.parametrize("name", NAMES)
def test_validation_agrees_with_scikit_learn(name):
    for value in VALUES:
        model = KMeans().set_params(**{name: value})
        assert outcome(KMeans._validate_params, model) == outcome(
            BaseEstimator._validate_params, model
        )


def test_invalid_parameter_raises_and_leaves_the_estimator():
    model = KMeans(2, random_state=0).fit(X)
    before = dict(model.__dict__)
    with pytest.raises(InvalidParameterError, match="'max_iter' parameter of KMeans"):
        model.set_params(max_iter=0).fit(X)
    assert {**model.__dict__, "max_iter": before["max_iter"]} == before


def test_invalid_default_of_a_subclass_raises():
    class Fewer(KMeans):
        def __init__(self, n_clusters=0):
            super().__init__(n_clusters)

    with pytest.raises(InvalidParameterError, match="n_clusters"):
        Fewer()._validate_params()


def test_skip_parameter_validation_leaves_the_checks_to_the_core():
    with (
        config_context(skip_parameter_validation=True),
        pytest.raises(ValueError, match="max_iter must be a positive integer") as caught,
    ):
        KMeans(2, max_iter=0).fit(X)
    assert not isinstance(caught.value, InvalidParameterError)


def test_seeded_fits_inside_a_callback_leave_the_draws_of_the_fit():
    def nested(state):
        KMeans(3, n_init=1, random_state=9).fit(X)

    options = {"n_clusters": 3, "n_init": 4, "random_state": 5, "tol": 0}
    alone, around = KMeans(**options).fit(X), KMeans(**options, callbacks=nested).fit(X)
    np.testing.assert_array_equal(alone.labels_, around.labels_)
    np.testing.assert_array_equal(alone.objective_trace_, around.objective_trace_)
