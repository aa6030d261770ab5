# SPDX-License-Identifier: BSD-3-Clause
"""Peak memory of a fit beyond its data, measured in a child process (Linux only).

``python -m benchmarks.memory LIBRARY WORK DTYPE N_ITER SCALE`` is the child: it prints bytes.
"""

import gc
import json
import subprocess
import sys
from pathlib import Path

from benchmarks import data, measure


def _status(name):
    """Bytes of one line of /proc/self/status: VmRSS is now, VmHWM the peak since the reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no line {name}")


def _peak_of_fit(library, work, dtype, n_iter):
    X = work.make(dtype)
    start = measure.starting_centers(X, work.n_clusters)
    # The imports and the threads' stacks are the library's, not the fit's.
    measure.warm_up(library, X, start)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM := VmRSS, man 5 proc
    before = _status("VmRSS")
    measure.timed_fit(library, X, start, n_iter)
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
    peak = _peak_of_fit(library, data.named(name, float(scale)), dtype, int(n_iter))
    print(json.dumps({"peak_beyond_data": peak}))
