"""The C++ kernels, as functions that JAX can call; see csrc/xla/xla_bf16_*.cc."""

from functools import cache
from typing import Any

import jax
import numpy as np


try:
    from jaxfactory import _kernels
except ImportError:  # built without them: XLA computes the same
    _kernels = None

# In the order of `Finish` in csrc/kernels/bf16.h; "float32" keeps the sums, with the
# bias, as they are.
_ACTIVATIONS = {"float32": 2, "identity": 3, "elu": 4, "relu": 5, "tanh": 6}


@cache
def available() -> bool:
    """Whether the processor has the instructions, and the kernels are registered."""
    handlers = _kernels.xla_bf16() if _kernels is not None else {}
    try:
        for name, handler in handlers.items():
            jax.ffi.register_ffi_target(f"jaxfactory_{name}", handler, platform="cpu")
    except Exception:
        return False  # Built for another JAX.
    return bool(handlers)


def used() -> bool:
    """Whether the layers use the kernels: on the CPU, where they are available."""
    return jax.default_backend() == "cpu" and available()


def instructions() -> str:
    """What the kernels multiply with: "AMX" or "AVX-512-BF16"; "" without kernels."""
    return _kernels.bf16_instructions() if available() else ""


def call(name: str, results: Any, *args: Any, **attributes: Any) -> Any:
    """Call a kernel.

    Args:
        name: Its name, "dense_forward" for example.
        results: Shapes and types of its results.
        args: Its arguments.
        attributes: Its attributes; an activation is given by its name.
    """
    if "activation" in attributes:
        number = _ACTIVATIONS[attributes["activation"]]
        attributes["activation"] = np.int64(number)
    function = jax.ffi.ffi_call(f"jaxfactory_{name}", results, vmap_method="sequential")
    return function(*args, **attributes)
