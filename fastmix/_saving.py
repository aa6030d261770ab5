# SPDX-License-Identifier: BSD-3-Clause
"""The method ``save`` of every estimator."""

__all__ = ["SavedModel"]


class SavedModel:
    """Mixin of an estimator that model files can hold."""

    def save(self, path):
        """Write the fitted model to one file, whole or not at all; ``fastmix.load`` reads it.

        Parameters
        ----------
        path : str or path-like
            The file to write, exactly as named.

        Raises
        ------
        ValueError
            An array of the model has a value that is not finite, or there is no fitted model.
        OSError
            The file cannot be written; `path` is as it was.
        """
        from fastmix.model_file import save_model

        save_model(self, path)
