# SPDX-License-Identifier: BSD-3-Clause
"""The commands of ``compare.py``: each takes its options and prints a table."""
