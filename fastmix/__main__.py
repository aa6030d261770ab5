# SPDX-License-Identifier: BSD-3-Clause
"""`python -m fastmix` is the command `fastmix`."""

import sys

from fastmix.cli import main

if __name__ == "__main__":
    sys.exit(main())
