# SPDX-License-Identifier: BSD-3-Clause
"""Groups of near centres, for bounds that hold for a whole group."""

import numpy as np

from fastmix.core._kernels import GROUP_WIDTH

__all__ = ["group_centers"]

# Passes of the power iteration.
PASSES = 4


def group_centers(centers, n_groups):
    """Groups of near centres, whose sizes fill panels: a list of arrays of indices, ascending.

    Cut in two again and again, across the axis along which the part's centres vary most: groups
    that follow one another are near as well.
    """
    largest = np.abs(centers).max()
    points = (centers / largest if largest > 0 else centers).astype(np.float32)

    def split(members, points, groups):
        first = groups // 2
        size = 0
        if groups > 1:
            size = round(len(members) * first / groups / GROUP_WIDTH) * GROUP_WIDTH
        if not 0 < size < len(members):
            return [np.sort(members)]
        apart = points - points.mean(axis=0)
        axis = apart[np.argmax(np.square(apart).sum(axis=1))]
        for _ in range(PASSES):  # power iteration: any axis serves
            norm = np.sqrt(np.square(axis).sum())
            if not norm > 0:
                break
            axis = apart.T @ (apart @ (axis / norm))
        order = np.argsort(apart @ axis, kind="stable")
        low, high = order[:size], order[size:]
        below = split(members[low], points[low], first)
        return below + split(members[high], points[high], groups - first)

    return split(np.arange(len(centers)), points, n_groups)
