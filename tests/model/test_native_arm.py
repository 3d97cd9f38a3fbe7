"""Kernels for Arm on machines that have none: built by a cross compiler, run by qemu."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
BUILDS = {"neon": [], "neonbf16": ["-march=armv8.2-a+bf16+dotprod"]}  # as in CMakeLists.txt

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which(COMPILER) and shutil.which(EMULATOR)),
        reason=f"takes {COMPILER} and {EMULATOR}",
    ),
]


@pytest.mark.parametrize("isa", BUILDS)
def test_products_are_right_and_independent_of_company(tmp_path, isa):
    native, program = ROOT / "native", tmp_path / "products"
    sources = [ROOT / "tests" / "model" / "products.cpp", native / "pool.cpp"]
    options = ["-std=c++20", "-O1", "-Wno-psabi", "-static", f"-DDYNEXIT_ISA={isa}", f"-I{native}"]
    build = [COMPILER, *options, *BUILDS[isa], *sources, "-o", program]
    subprocess.run(build, check=True, capture_output=True)
    told = subprocess.run([EMULATOR, program], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (0, "")
