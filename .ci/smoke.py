# SPDX-License-Identifier: BSD-3-Clause
"""An installed package works: the functions, the estimators and the command's parser."""

import subprocess
import sys
from pathlib import Path

import numpy as np

import fastmix

X = np.repeat([[0.0, 1.0], [8.0, 9.0]], 3, axis=0)
assert fastmix.kmeans(X, 2, random_state=0).inertia == 0
assert list(fastmix.KMeans(2, random_state=0).fit(X).labels_[[0, 3]]) in ([0, 1], [1, 0])
mixture = fastmix.GaussianMixture(2, covariance_type="spherical", random_state=0).fit(X)
assert list(mixture.predict(X[[0, 3]])) in ([0, 1], [1, 0])
command = Path(sys.executable).with_name("fastmix")
subprocess.run([command, "--version"], check=True)
fastmix.show_versions()
