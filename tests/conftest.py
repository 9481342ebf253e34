"""Strictness for every test: dtypes, ranks, types and shapes of arguments."""

import jax
import pytest
from jaxtyping import install_import_hook


jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 2)

# Must come before the first import of the package.
install_import_hook("jaxfactory", "beartype.beartype")


@pytest.fixture(autouse=True)
def _own_folder(request, tmp_path, monkeypatch):
    """Run engine tests in a folder of their own: `DoomGame` writes where it runs."""
    if request.node.get_closest_marker("vizdoom"):
        monkeypatch.chdir(tmp_path)
