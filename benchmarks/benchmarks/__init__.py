# SPDX-License-Identifier: BSD-3-Clause
"""The asv benchmarks of fastmix, and the code they share with ``compare.py``.

The thread count is set here, before NumPy, scikit-learn or fastmix is imported: the OpenMP and BLAS
runtimes read it once, when they are loaded.
"""

import os

N_THREADS = 2

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = str(N_THREADS)
