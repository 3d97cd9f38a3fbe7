"""The native library's tests, over builds that this machine's install does not make."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests" / "model" / "test_native.py"
BUILDS = {
    "emulated-avx512bf16": ["-DDYNEXIT_EMULATE_DOTS=ON"],
    "clang": ["-DCMAKE_CXX_COMPILER=clang++", "-DCMAKE_CXX_FLAGS=-Werror"],
}
LIST = "from dynexit.model.native.binding import runtimes; print(*runtimes())"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cmake") is None, reason="takes CMake"),
]


@pytest.mark.parametrize("build", BUILDS)
def test_another_build_passes_the_same_tests(tmp_path, build):
    if build == "clang" and shutil.which("clang++") is None:
        pytest.skip("takes clang++")
    subprocess.run(["cmake", "-S", ROOT, "-B", tmp_path, *BUILDS[build]], check=True)
    subprocess.run(["cmake", "--build", tmp_path, "--parallel", "2"], check=True)
    library = next(tmp_path.glob("libdynexit.*"))
    environment = {**os.environ, "DYNEXIT_LIBRARY": str(library)}
    names = run("-c", LIST, env=environment).split()
    assert names
    if build == "emulated-avx512bf16":
        assert ("avx512bf16" in names) == ("avx512" in names)
    run("-m", "pytest", "-q", "-p", "no:cacheprovider", TESTS, env=environment)


def run(*arguments, env):
    """Standard output of a Python process that must succeed."""
    told = subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout
