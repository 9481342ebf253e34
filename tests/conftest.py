"""Strictness for every test: dtypes, ranks, types and shapes of arguments."""

import jax
from jaxtyping import install_import_hook


jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 2)

# Must come before the first import of the package.
install_import_hook("jaxfactory", "beartype.beartype")
