# SPDX-License-Identifier: BSD-3-Clause
"""Run tests of the installed scikit-learn with fastmix in the place of its own classes.

    python sklearn_suite.py REPORT FILE...

FILE is relative to scikit-learn's package folder.  KMeans, MiniBatchKMeans, kmeans_plusplus and
GaussianMixture are replaced in every scikit-learn module before a test file is imported, so that
k_means(), SpectralClustering and KBinsDiscretizer run on fastmix too.  REPORT is a JSON object:
"tests" maps a test's id to its outcome and its message, "deselected" an id to the reason, "stale"
lists the rules of sklearn_suite_deselect.txt that match nothing.

A script, since the replacement holds for the whole process.
"""

import fnmatch
import importlib
import json
import os
import sys
from pathlib import Path

import pytest

import mixture_reference

mixture_reference.stand_in()

REPLACED = {
    "KMeans": "sklearn.cluster",
    "MiniBatchKMeans": "sklearn.cluster",
    "kmeans_plusplus": "sklearn.cluster",
    "GaussianMixture": "sklearn.mixture",
}
RULES = Path(__file__).with_name("sklearn_suite_deselect.txt")


def replace(names):
    """Bind fastmix's objects wherever scikit-learn has bound its own."""
    fastmix = importlib.import_module("fastmix")
    for name in ("sklearn.cluster._bisect_k_means", "sklearn.preprocessing._discretization"):
        importlib.import_module(name)
    for name, home in names.items():
        old, new = getattr(importlib.import_module(home), name), getattr(fastmix, name)
        if isinstance(new, type) and issubclass(new, old):
            raise SystemExit(f"fastmix.{name} is a subclass of the class that it replaces")
        for module_name, module in list(sys.modules.items()):
            if module_name.partition(".")[0] != "sklearn" or module is None:
                continue
            for attribute, value in list(vars(module).items()):
                if value is old:
                    setattr(module, attribute, new)


def read_rules(path=RULES):
    """{glob: reason}; a backslash makes the bracket after it a letter like any other."""
    rules = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            glob, bar, reason = line.partition(" | ")
            if not bar or not reason.strip():
                raise SystemExit(f"{path.name}: no reason given in {line!r}")
            rules[glob.strip().replace("\\[", "[[]").replace("\\]", "[]]")] = reason.strip()
    return rules


class Recorder:
    """Pytest plugin: deselects by the rules, and records what every test came to."""

    def __init__(self, rules, files):
        self.rules, self.files = rules, {Path(file).name for file in files}
        self.tests, self.deselected, self.used = {}, {}, set()

    @staticmethod
    def short(nodeid):
        """file::test[parameters], without folders."""
        path, separator, rest = nodeid.partition("::")
        return path.rpartition("/")[2] + separator + rest

    def pytest_collection_modifyitems(self, config, items):
        dropped = []
        for item in items:
            name = self.short(item.nodeid)
            for glob, reason in self.rules.items():
                if fnmatch.fnmatchcase(name, glob):
                    self.used.add(glob)
                    self.deselected[name] = reason
                    dropped.append(item)
                    break
        items[:] = [item for item in items if item not in dropped]
        config.hook.pytest_deselected(items=dropped)

    def pytest_collectreport(self, report):
        if report.failed:
            self.tests[self.short(report.nodeid)] = ("failed", report.longreprtext)

    def pytest_runtest_logreport(self, report):
        name = self.short(report.nodeid)
        if report.failed or report.when == "call" or report.skipped:
            message = str(report.longrepr[2]) if report.skipped else report.longreprtext
            self.tests[name] = (report.outcome, message)

    def report(self):
        mine = [glob for glob in self.rules if glob.partition("::")[0] in self.files]
        return {
            "tests": self.tests,
            "deselected": self.deselected,
            "stale": [glob for glob in mine if glob not in self.used],
        }


def main(report_path, files):
    # scikit-learn's own switch, off by default, for its float32 variants.
    os.environ.setdefault("SKLEARN_RUN_FLOAT32_TESTS", "1")
    replace(REPLACED)
    root = Path(importlib.import_module("sklearn").__file__).parent
    recorder = Recorder(read_rules(), files)
    os.chdir(root)
    options = ["-q", "--tb=short", "-p", "no:cacheprovider", "-c", os.devnull, "-W", "ignore"]
    status = pytest.main([*options, f"--rootdir={root}", *files], plugins=[recorder])
    Path(report_path).write_text(json.dumps(recorder.report(), indent=1), encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1]), sys.argv[2:]))
