# SPDX-License-Identifier: BSD-3-Clause
"""fastmix beside scikit-learn and the other peers installed, in one process with interleaved
repeats.

Prints a Markdown table with the CPU, the date, the versions and the target of each line.
"""

import argparse
import sys

from benchmarks import data, measure
from comparisons.iterations import e_step, lloyd, mixture
from comparisons.resources import kernels, peak_memory, stream
from comparisons.whole_fits import mini_batches, seeding, tiny, whole_fits


def parser():
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--dtype", nargs="+", choices=measure.DTYPES, default=measure.DTYPES)
    common.add_argument("--scale", type=float, default=data.SCALE, help="part of the rows")
    common.add_argument("--repeats", type=int, default=3, help="of each measurement")
    common.add_argument("--seed", type=int, default=0, help="of the data and of the starting rows")

    main = argparse.ArgumentParser(description=__doc__)
    commands = main.add_subparsers(required=True)

    def command(function, name, text):
        sub = commands.add_parser(name, parents=[common], help=text)
        sub.set_defaults(function=function)
        return sub

    for function, name, text, works, more in (
        (lloyd, "iterations", "seconds per Lloyd iteration and per fit", data.WORKS, 10),
        (mixture, "mixtures", "seconds per EM iteration and per fit", data.MIXTURES, 3),
        (e_step, "e-step", "an EM iteration beside its E-step alone", data.MIXTURES, 3),
    ):
        sub = command(function, name, text)
        sub.add_argument("--work", nargs="+", choices=works, help="all of them by default")
        sub.add_argument("--more", type=int, default=more, help="iterations after the first")
    sub = command(whole_fits, "fits", "whole fits to convergence, beside every peer installed")
    sub.add_argument("--work", nargs="+", choices=data.WORKS, help="all of them by default")
    sub = command(seeding, "seeding", "greedy k-means++: seconds and potential")
    sub.add_argument("--seeds", type=int, default=3)
    sub = command(tiny, "tiny", "whole fits of 150 x 4")
    sub.add_argument("--fits", type=int, default=50, help="fits in one repeat")
    command(mini_batches, "minibatch", "MiniBatchKMeans: the same batches, and whole fits")
    command(peak_memory, "memory", "peak memory of a fit beyond X")
    sub = command(stream, "stream", "fits of a memory-mapped file, which is made and removed")
    sub.add_argument("--folder", help="where the file is made: 6.4 GB at --scale 1")
    sub = command(kernels, "kernels", "fractions of the FMA peak and of the read bandwidth")
    sub.add_argument("--seconds", type=float, default=0.5, help="of one measurement")
    return main


if __name__ == "__main__":
    options = parser().parse_args()
    measure.check_threads()
    sys.exit(options.function(options))
