"""Strictness for every test: dtypes, ranks, types and shapes of arguments."""

import atexit
import importlib
import os
import shutil
import tempfile

import jax
import pytest
from jaxtyping import install_import_hook


# Many tests, and the programs that they start, compile the same small networks, which
# was half of the suite's time. The workers of pytest-xdist take over this process's
# variables, and with them its cache. What two of them write at once may be damaged: it
# is compiled again, with a warning that pyproject.toml ignores.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    CACHE = tempfile.mkdtemp(prefix="jaxfactory-tests-")
    atexit.register(shutil.rmtree, CACHE, ignore_errors=True)
    for name, value in {
        "jax_compilation_cache_dir": CACHE,
        "jax_persistent_cache_min_compile_time_secs": 0.1,
        "jax_persistent_cache_min_entry_size_bytes": 0,
    }.items():
        os.environ[name.upper()] = str(value)
        jax.config.update(name, value)

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Programs that the tests start have as many devices and the same flags, and so share
# the compiled programs.
os.environ["JAX_NUM_CPU_DEVICES"] = "2"
jax.config.update("jax_num_cpu_devices", 2)

# Must come before the first import of the package.
install_import_hook("jaxfactory", "beartype.beartype")
jax_setup = importlib.import_module("jaxfactory._util.jax_setup")
jax_setup.configure_xla()


# They look at all engines, ports and names of the machine, and at how soon things
# happen.
ALONE = {
    "test_engine_safety.py", "test_faults.py", "test_machine_faults.py",
    "test_matches.py",
}  # fmt: skip
# The files that take longest run first, so that no worker is left with one of them when
# the others have nothing to do.
LONGEST = (
    "test_train", "test_cpp", "test_background_eval", "test_probes", "test_learner",
    "test_examples", "test_docs", "test_gymnasium_agent", "test_gymnasium_training",
    "test_api", "test_fuzz_readers", "test_training_scenarios", "test_match_training",
    "test_sweep", "test_init_from", "test_other_networks", "test_async_sampler",
    "test_own_scenarios", "test_published_agents",
)  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Sort the files, and mark the tests that no others may run beside."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))
    for item in items:
        if item.path.name in ALONE:
            item.add_marker("alone")


@pytest.fixture(autouse=True)
def _own_folder(request, tmp_path, monkeypatch):
    """Run engine tests in a folder of their own: `DoomGame` writes where it runs."""
    if request.node.get_closest_marker("vizdoom"):
        monkeypatch.chdir(tmp_path)
