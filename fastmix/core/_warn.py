# SPDX-License-Identifier: BSD-3-Clause
"""Warnings that name the line of the user's."""

import sys
import warnings

__all__ = ["warn"]


def warn(message, category=UserWarning):
    """Warn of the innermost line outside fastmix, however deep inside it this is called."""
    level, frame = 1, sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] == "fastmix":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
