# SPDX-License-Identifier: BSD-3-Clause
"""Peak memory of a fit beyond its data, measured in a child process (Linux only).

``python -m benchmarks.memory LIBRARY WORK DTYPE N_ITER SCALE`` is the child: it prints bytes.
"""

import ctypes
import gc
import json
import subprocess
import sys
from pathlib import Path

from benchmarks import data, kmeans, mixtures

# The works that memory is measured on, and the bytes of scratch that a fit may take beyond X; a row
# of K-means has 8 more for its labels.
KMEANS_WORK, MIXTURE_WORK = "blobs_10Mx2_k8", "over_500kx16_k32"
SCRATCH_BYTES = 64e6


def _status(name):
    """Bytes of one line of /proc/self/status: VmRSS is now, VmHWM the peak since the reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no line {name}")


def task_class(name):
    """The Task of the work of this name."""
    return mixtures.EMTask if name in data.MIXTURES else kmeans.LloydTask


def allowed(name, work):
    """Bytes that a fit of the work may take beyond X."""
    return SCRATCH_BYTES + (0 if name in data.MIXTURES else 8 * work.n_samples)


def _peak_of_fit(library, name, dtype, n_iter, scale):
    task = task_class(name)(data.named(name, scale), dtype)
    # The imports and the threads' stacks are the library's, not the fit's.
    task.warm_up(library)
    gc.collect()
    # What was freed must not be there for the fit to take again.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM := VmRSS, man 5 proc
    before = _status("VmRSS")
    task.fit(library, n_iter)
    return _status("VmHWM") - before


def peak_beyond_data(library, name, dtype, n_iter=3, scale=data.SCALE):
    """Bytes that a fit of the work `name` takes beyond X at its peak."""
    command = [sys.executable, "-m", "benchmarks.memory", library, name, dtype, n_iter, scale]
    child = subprocess.run(
        [str(part) for part in command],
        cwd=Path(__file__).parents[1],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(child.stdout)["peak_beyond_data"]


if __name__ == "__main__":
    library, name, dtype, n_iter, scale = sys.argv[1:]
    peak = _peak_of_fit(library, name, dtype, int(n_iter), float(scale))
    print(json.dumps({"peak_beyond_data": peak}))
