# SPDX-License-Identifier: BSD-3-Clause
"""scikit-learn's checks of every estimator."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from fastmix import GaussianMixture, KMeans

SHUFFLED = (
    "the check shuffles one of the two data sets: equal draws meet other rows, so that the fits "
    "have different starts (scikit-learn expects the same of its own KMeans)"
)
EXPECTED_TO_FAIL = {
    "check_sample_weight_equivalence_on_dense_data": SHUFFLED,
    "check_sample_weight_equivalence_on_sparse_data": SHUFFLED,
}


@parametrize_with_checks(
    [
        KMeans(n_clusters=3),
        KMeans(n_clusters=2, n_init=2, algorithm="elkan"),
        GaussianMixture(n_components=2),
        GaussianMixture(n_components=2, covariance_type="diag", reg_covar="auto", n_init=2),
    ],
    expected_failed_checks=lambda estimator: (
        EXPECTED_TO_FAIL if isinstance(estimator, KMeans) else {}
    ),
)
def test_estimator_passes_check(estimator, check):
    check(estimator)
