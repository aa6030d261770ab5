# SPDX-License-Identifier: BSD-3-Clause
"""Model files: one fitted model in one file, written atomically and checked before it is believed.

``_container.py`` says what is in the file, ``_state.py`` what each class keeps there.
"""

import fastmix
from fastmix._container import Expected, Format, ModelFileError, check_values, read, write
from fastmix._state import ARRAYS, LATER, LOWER_BOUNDS, PARAMS, learnt_arrays, shape_of
from fastmix._stored_zip import Refusal

__all__ = ["FORMAT_VERSION", "ModelFileError", "load", "load_model", "save_model"]

# 1: what predict needs, and the weight of the rows behind it.  2: what partial_fit goes on from.
# 3: the lower bounds of a mixture.  4: what was added to the covariances of a mixture.
FORMAT_VERSION = 4


def _arrays_of(name, params):
    """The arrays of a model of this class; refuses what no such model can have."""
    check_values(name, params, PARAMS)
    return {
        key: Expected(dtypes, shape_of(axes, params), key == LOWER_BOUNDS)
        for key, (dtypes, axes) in (ARRAYS[name] | learnt_arrays(name, params)).items()
    }


def _upgraded(name, params, version):
    """The params of an older version with what later ones have more: defaults, nothing learnt."""
    if isinstance(name, str) and isinstance(params, dict):
        for later in range(version + 1, FORMAT_VERSION + 1):
            params = LATER[later].get(name, {}) | params
    return params


_FORMAT = Format("fastmix-model", FORMAT_VERSION, _arrays_of, _upgraded)


def save_model(model, path):
    """Write a fitted model to `path`, whole or not at all.

    The bytes go to a temporary file in the same folder, reach the disk, and then take the place
    of `path` in one step; a failure removes the temporary file and leaves an older file as it was.

    Parameters
    ----------
    model : KMeans, MiniBatchKMeans or GaussianMixture
        A fitted estimator.
    path : str or path-like
        The file to write, exactly as named.

    Raises
    ------
    TypeError
        `model` is not of a class that model files can hold.
    ValueError
        An array of the model has a value that is not finite, or the names of its columns take more
        than 64 MiB.
    NotFittedError
        The model is not fitted.
    OSError
        The file cannot be written; `path` is as it was.

    See Also
    --------
    load_model : Read the file back; its predictions have the same bits.  Also ``fastmix.load``.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastmix import KMeans
    >>> from fastmix.model_file import load_model, save_model
    >>> model = KMeans(2, random_state=0).fit([[0.0], [1.0], [9.0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.npz")
    ...     save_model(model, path)
    ...     load_model(path).predict([[8.0]]) == model.predict([[8.0]])
    array([ True])
    """
    name = type(model).__name__
    if name not in ARRAYS or type(model) is not getattr(fastmix, name):
        raise TypeError(f"model is a {name}; expected one of: {', '.join(ARRAYS)}")
    params, arrays = model._get_state()
    try:
        write(path, _FORMAT, name, params, arrays)
    except Refusal as error:
        raise ValueError(f"model cannot be saved: {error}") from None


def load_model(path):
    """Read a model that `save_model` wrote.

    Every size, name, dtype and shape is checked against the bytes that are there before memory is
    taken for them, then the SHA-256 of each array and that its values are finite.

    Parameters
    ----------
    path : str or path-like
        The file to read.

    Returns
    -------
    model : KMeans, MiniBatchKMeans or GaussianMixture
        The fitted estimator, without labels, ``fit_report_`` and the trace of K-means.  Of its
        parameters it has those that ``partial_fit`` depends on, which goes on to the bits of the
        model saved; a ``learning_rate`` that is a function of the user's must be set anew.

    Raises
    ------
    ModelFileError
        The file is damaged, or not a model file, or of a later format version, or of an older one
        that says too little: one line that names the member at fault.
    OSError
        The file cannot be opened or read.
    """
    return read(path, _FORMAT, _model)


def _model(name, params, arrays):
    return getattr(fastmix, name)._from_state(params, arrays)


load = load_model  # as fastmix.load
