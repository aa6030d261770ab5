# SPDX-License-Identifier: BSD-3-Clause
"""HDF5 datasets and Zarr arrays, as h5py and zarr have them."""

import re

import h5py
import pytest

from fastmix import GaussianMixture, KMeans
from fastmix.core import _source, kmeans
from fastmix.core._sources import as_source
from source_cases import STORES, bits, hdf5, rows, source_of

CLOSED = "X is an HDF5 dataset whose file is closed: open the file again"


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    """Windows of at most 2,000 rows, of which a pass needs several."""
    monkeypatch.setattr(_source, "WINDOW_BYTES", 40_000)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", ">f4", "float16"])
@pytest.mark.parametrize("kind", STORES)
def test_kmeans_has_the_bits_of_memory(kind, dtype, tmp_path):
    X = rows(dtype)
    source = source_of(kind, X, tmp_path)
    options = {"init": "random", "n_init": 2, "random_state": 0}
    wanted = KMeans(9, **options).fit(X)
    for n_threads in (1, 3):
        model = KMeans(9, n_threads=n_threads, **options).fit(source)
        assert bits(model.cluster_centers_, model.labels_, model.inertia_) == bits(
            wanted.cluster_centers_, wanted.labels_, wanted.inertia_
        )
    assert bits(model.predict(source), model.score(source)) == bits(
        wanted.predict(X), wanted.score(X)
    )


@pytest.mark.parametrize("kind", STORES)
def test_seeding_has_the_bits_of_memory(kind, tmp_path):
    X = rows("float32")
    found = kmeans(source_of(kind, X, tmp_path), 5, random_state=0, max_iter=2)
    assert bits(found.centers) == bits(kmeans(X, 5, random_state=0, max_iter=2).centers)


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
@pytest.mark.parametrize("kind", STORES)
def test_mixture_has_the_bits_of_memory(kind, covariance_type, tmp_path):
    X = rows("float32")
    source = source_of(kind, X, tmp_path)
    options = {"covariance_type": covariance_type, "max_iter": 6, "tol": 0, "random_state": 0}
    wanted = GaussianMixture(4, **options).fit(X)
    for n_threads in (1, 3):
        model = GaussianMixture(4, n_threads=n_threads, **options).fit(source)
        assert bits(model.means_, model.covariances_, model.log_likelihood_) == bits(
            wanted.means_, wanted.covariances_, wanted.log_likelihood_
        )
    assert bits(model.predict_proba(source)) == bits(wanted.predict_proba(X))


@pytest.mark.parametrize("kind", STORES)
def test_a_chunk_is_the_least_that_is_read(kind, tmp_path):
    source = as_source(source_of(kind, rows("float32"), tmp_path))
    # Without chunks, 64 KiB of rows of 20 bytes.
    assert source.page_rows == (3276 if kind == "hdf5 contiguous" else 777)


@pytest.mark.parametrize("estimator", [KMeans, GaussianMixture], ids=lambda e: e.__name__)
def test_a_closed_file_is_refused_in_plain_words(estimator, tmp_path):
    X = rows("float32")
    dataset = hdf5(X, tmp_path)
    model = estimator(3, random_state=0).fit(dataset)
    before = model.__dict__.copy()
    dataset.file.close()
    for call in (model.fit, model.predict, model.score, model.partial_fit):
        with pytest.raises(ValueError, match=CLOSED):
            call(dataset)
    assert model.__dict__ == before


@pytest.mark.parametrize("estimator", [KMeans, GaussianMixture], ids=lambda e: e.__name__)
def test_a_file_that_is_closed_in_a_fit_is_refused_in_plain_words(estimator, tmp_path):
    dataset = hdf5(rows("float32"), tmp_path)
    model = estimator(3, tol=0, callbacks=lambda state: dataset.file.close())
    with pytest.raises(ValueError, match=CLOSED):
        model.fit(dataset)
    assert not hasattr(model, "n_features_in_")


def test_a_file_that_is_closed_in_a_pass_is_refused_in_plain_words(tmp_path):
    dataset = hdf5(rows("float32"), tmp_path)
    found = _source.windows(as_source(dataset), 1)
    next(found)
    dataset.file.close()
    with pytest.raises(ValueError, match=CLOSED):
        list(found)  # several windows: the next may have been read already


def test_a_chunk_that_is_damaged_is_named_by_rows(tmp_path):
    X = rows("float32")
    dataset = hdf5(X, tmp_path, chunks=(777, 5), fletcher32=True)
    path, place = dataset.file.filename, dataset.id.get_chunk_info_by_coord((3 * 777, 0))
    dataset.file.close()
    with open(path, "r+b") as file:
        file.seek(place.byte_offset + 100)
        file.write(b"\xff" * 8)
    model = KMeans(3, random_state=0).fit(X)
    fault = pytest.raises(RuntimeError, match="of X could not be read: OSError")
    with h5py.File(path) as file, fault as caught:
        model.predict(file["x"])
    first, last = map(int, re.match(r"rows (\d+) to (\d+)", str(caught.value)).groups())
    assert first < 4 * 777
    assert last >= 3 * 777
