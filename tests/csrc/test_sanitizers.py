"""The C++ tests under the sanitizers of addresses, undefined behavior and threads."""

import pytest
from cpp_build import TESTS, build, run_test


pytestmark = [pytest.mark.vizdoom, pytest.mark.slow, pytest.mark.stress]


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_nothing_is_found(tmp_path, sanitizer):
    build(tmp_path, sanitizer)
    for name in TESTS:
        run_test(
            tmp_path, name,
            env={"ASAN_OPTIONS": "detect_leaks=1", "TSAN_OPTIONS": "halt_on_error=1"},
        )  # fmt: skip
