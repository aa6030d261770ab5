# SPDX-License-Identifier: BSD-3-Clause
"""K-means with bounds on a memory map (Linux), which is made for each and removed."""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks import data, measure, streams

N_ROWS = int(2_000_000 * data.SCALE)


class Stream:
    """A whole fit of 2,000,000 x 16 float32, K=64, from k-means++, of a file in the page cache."""

    timeout = 300

    def setup(self):
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name, "rows.npy")
        streams.make(path, N_ROWS)
        self.X = np.load(path, mmap_mode="r")
        streams.whole_fit(self.X[: 64 * 1024])  # threads and imports

    def teardown(self):
        del self.X
        self.folder.cleanup()

    def track_seconds(self):
        return measure.timed(streams.whole_fit, self.X)[0]

    track_seconds.unit = "s"

    def track_bytes_read(self):
        """What the fit reads, seeding and the scan included; the file has 128 MB."""
        return streams.whole_fit(self.X).fit_report_["bytes_read"]

    track_bytes_read.unit = "byte"

    def track_inertia(self):
        return streams.whole_fit(self.X).inertia_

    track_inertia.unit = "objective"

    def track_peak_beyond_page_cache(self):
        """Most anonymous memory during the fit, beyond what there was: labels, bounds, scratch."""
        with streams.Anonymous() as memory:
            streams.whole_fit(self.X)
        return memory.most

    track_peak_beyond_page_cache.unit = "byte"
