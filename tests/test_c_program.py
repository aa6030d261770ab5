# SPDX-License-Identifier: BSD-3-Clause
"""The C kernels without Python: one set of bits for every compiler, vector width and machine.

Each test builds the programs ``*_main.c`` from the sources below ``src/`` and compares the hashes
that they print; ``mixture_main.c`` checks its kernels itself.
A compiler or emulator that is missing skips its test, but fails it where ``CI`` is ``true``.
"""

import os
import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
SRC = TESTS.parent / "src"
IN_CI = os.environ.get("CI") == "true"

# As in src/meson.build.
KERNEL_FLAGS = ["-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", f"-I{SRC}"]
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wno-unknown-pragmas", "-Wno-psabi"]
CONTRACT = {
    "kernels_fused.c": "fast",
    "kernels_shortlist.c": "fast",
    "kernels_margins.c": "fast",
    "kernels_gaussian.c": "fast",
    "kernels_exact.c": "off",
}
MORE = {
    ("kernels_shortlist.c", "x86_v4"): ["-mavx512vnni"],
    ("kernels_margins.c", "x86_v4"): ["-mavx512vnni"],
}
PROGRAMS = ["lloyd", "em"]
MAINS = [*PROGRAMS, "mixture"]
X86_TABLES = {
    "scalar": [],
    "x86_v2": ["-msse4.2"],
    "x86_v3": ["-mavx2", "-mfma"],
    "x86_v4": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma"],
}
NEON_TABLES = {"scalar": [], "neon": []}
MACHINE = {"x86_64": ("-DFM_X86", X86_TABLES), "aarch64": ("-DFM_NEON", NEON_TABLES)}
SANITIZERS = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
FMA_TABLES = {"x86_v3", "x86_v4", "neon"}

on_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="x86 flags")


def find(*names):
    """Path of the first of these programs that is installed."""
    for name in names:
        if path := shutil.which(name):
            return path
    message = f"not installed: {' or '.join(names)}"
    if IN_CI:
        pytest.fail(message)
    pytest.skip(message)


def build(folder, compiler, define, tables, flags=(), link=()):
    """Compile the kernels for each table, and the programs with them; {name: path}."""

    def compile_unit(source, table, more):
        out = folder / f"{source.stem}_{table}.o"
        warnings = [*WARNINGS, *(["-Werror"] if IN_CI else [])]
        command = [compiler, *KERNEL_FLAGS, *warnings, *more, *flags, "-c", source, "-o", out]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        return out

    units = [
        (
            SRC / unit,
            table,
            [
                *isa_flags,
                *MORE.get((unit, table), ()),
                f"-ffp-contract={contract}",
                f"-DFM_ISA={table}",
            ],
        )
        for table, isa_flags in tables.items()
        for unit, contract in CONTRACT.items()
    ]
    common = ["-ffp-contract=off", *define.split()]
    units += [(SRC / "dispatch.c", "", common), (SRC / "grid.c", "", common)]
    units += [(TESTS / f"{name}_main.c", "", common) for name in MAINS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(lambda unit: compile_unit(*unit), units))
    programs = {name: folder / name for name in MAINS}
    kernels = objects[: -len(MAINS)]
    for main, program in zip(objects[-len(MAINS) :], programs.values(), strict=True):
        subprocess.run([compiler, *flags, *link, *kernels, main, "-lm", "-o", program], check=True)
    return programs


def run(programs, *tables, through=()):
    """Hashes that the programs print: {table: {"lloyd all": hash, "lloyd exact": hash, ...}}."""
    hashes = {}
    for name in PROGRAMS:
        command = [*through, programs[name], *tables]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        for line in done.stdout.splitlines():
            table, rest = line.split(" ", 1)
            shape, value = rest.rsplit(" ", 1)
            hashes.setdefault(table, {})[f"{name} {shape}"] = value
    return hashes


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The programs with this machine's own tables, built by gcc."""
    define, tables = MACHINE.get(platform.machine(), ("", {"scalar": []}))
    return build(tmp_path_factory.mktemp("gcc"), find("gcc"), define, tables)


@pytest.fixture(scope="module")
def native(programs):
    """Hashes of all the tables that this processor runs."""
    return run(programs)


@pytest.fixture(scope="module")
def fma_hashes(native):
    """Hashes of a table with fused multiply-adds, to which others are compared."""
    names = FMA_TABLES & set(native)
    if not names:
        pytest.skip("this processor has no fused multiply-add")
    return native[min(names)]


@pytest.mark.parametrize("name", PROGRAMS)
def test_c_program_prints_one_hash_for_tables_with_fma(native, name):
    assert len({native[table][f"{name} all"] for table in FMA_TABLES & set(native)}) <= 1


@pytest.mark.parametrize("name", PROGRAMS)
def test_c_program_exact_unit_has_one_hash_for_every_table(native, name):
    assert len({hashes[f"{name} exact"] for hashes in native.values()}) == 1


# 64-byte vectors on AVX2's 32-byte registers take long to optimise at -O3; below -O2 gcc fuses
# nothing.
@on_x86
@pytest.mark.parametrize("width, level", [(16, "-O3"), (32, "-O3"), (64, "-O2")], ids=str)
def test_c_program_hash_is_free_of_vector_width(tmp_path, fma_hashes, width, level):
    tables = {"scalar": ["-mavx2", "-mfma", f"-DFM_VECTOR_BYTES={width}", level]}
    assert run(build(tmp_path, find("gcc"), "", tables))["scalar"] == fma_hashes


@on_x86
def test_c_program_hash_is_that_of_clang(tmp_path, native):
    clang = find("clang", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14")
    assert run(build(tmp_path, clang, *MACHINE["x86_64"])) == native


@on_x86
def test_c_program_hash_is_that_of_aarch64(tmp_path, fma_hashes):
    compiler, emulator = find("aarch64-linux-gnu-gcc"), find("qemu-aarch64", "qemu-aarch64-static")
    programs = build(tmp_path, compiler, *MACHINE["aarch64"], link=["-static"])
    assert run(programs, "neon", through=[emulator])["neon"] == fma_hashes
    check_kernels(programs, "neon", through=[emulator])


def test_c_program_is_clean_under_sanitizers(tmp_path, native):
    isa_flags = ["-mavx2", "-mfma"] if "x86_v3" in native else []
    programs = build(tmp_path, find("gcc"), "", {"scalar": isa_flags}, SANITIZERS)
    check_kernels(programs)
    hashes = run(programs)
    for name in PROGRAMS:
        assert hashes["scalar"][f"{name} exact"] == native["scalar"][f"{name} exact"]


@pytest.mark.parametrize("fault", ["heap[8]", "(most + argc)"])
def test_sanitizers_find_a_planted_fault(tmp_path, fault):
    source = tmp_path / "fault.c"
    source.write_text(f"""
        #include <stdlib.h>
        volatile int most = 0x7fffffff;
        volatile char *heap;
        int main(int argc, char **argv) {{
            heap = calloc((size_t)argc, 8);
            return {fault} == 1;
        }}
    """)
    subprocess.run([find("gcc"), *SANITIZERS, source, "-o", tmp_path / "fault"], check=True)
    done = subprocess.run([tmp_path / "fault"], capture_output=True, text=True)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr or "integer overflow" in done.stderr


def check_kernels(programs, *tables, through=()):
    command = [*through, programs["mixture"], *tables]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mixture_kernels_agree_with_long_double(programs):
    check_kernels(programs)


@pytest.mark.parametrize("name", MAINS)
def test_c_program_refuses_an_unknown_table(programs, name):
    done = subprocess.run([programs[name], "x86_v9"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, f"{name}_main: no table x86_v9 runs here\n")
