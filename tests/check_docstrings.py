# SPDX-License-Identifier: BSD-3-Clause
"""numpydoc's checks on every public docstring of the installed fastmix; run as a script."""

import importlib
import inspect
import sys

from numpydoc.validate import validate

MODULES = ("fastmix", "fastmix.core", "fastmix.callbacks")
# Not asked for: an extended summary (ES01), See Also (SA01), examples of every method (EX01); text
# that begins below the quotes (GL01) or ends above them (GL02).  A single return value has a name
# (RT02), and a description may begin with an attribute's (RT04).  SS05 takes nouns for verbs.
IGNORED = {"ES01", "SA01", "EX01", "GL01", "GL02", "RT02", "RT04", "SS05"}
# Methods that scikit-learn's base classes provide.
INHERITED = "sklearn."


def public_names():
    """Dotted names of everything in ``__all__``, and of the public methods of classes."""
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            value = getattr(module, name)
            if not callable(value):
                continue
            yield f"{module_name}.{name}"
            if not inspect.isclass(value):
                continue
            for method, function in inspect.getmembers(value, inspect.isroutine):
                own = not (getattr(function, "__module__", None) or "").startswith(INHERITED)
                if not method.startswith("_") and own and method in vars(value):
                    yield f"{module_name}.{name}.{method}"


def main():
    count = errors = 0
    for name in public_names():
        count += 1
        for code, message in validate(name)["errors"]:
            # numpydoc takes the fields of a named tuple, its attributes, for parameters.
            if code not in IGNORED and not (code == "PR01" and name.endswith("Result")):
                errors += 1
                print(f"{name}: {code} {message}")
    print(f"{count} docstrings, {errors} errors")
    return 1 if errors or not count else 0


if __name__ == "__main__":
    sys.exit(main())
