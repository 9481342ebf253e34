"""The pool's reset and step as XLA custom calls."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfactory._util.errors import UserError
from jaxfactory.envs.doom.extension import _core
from jaxfactory.envs.step import Step, of_fields


_RESET, _STEP = "jaxfactory_pool_reset", "jaxfactory_pool_step"


def bind(pool: Any) -> tuple[Any, Callable[..., Any], Callable[..., Any]]:
    """Return ``(token, reset, step)``; see `EnvPool.xla`."""
    _register()
    shapes = _shapes(pool)
    outputs = (jax.ShapeDtypeStruct((), jnp.int32), *shapes.values())
    number = np.int64(pool._core.number)

    def call(target: str, *inputs: Any) -> tuple[Any, Step]:
        function = jax.ffi.ffi_call(target, outputs, has_side_effect=True)
        token, *results = function(*inputs, pool=number)
        return token, of_fields(dict(zip(shapes, results, strict=True)))

    def reset(token: Any) -> tuple[Any, Step]:
        # This reference keeps the pool alive as long as the function.
        assert pool is not None
        return call(_RESET, token)

    def step(token: Any, actions: Any) -> tuple[Any, Step]:
        wanted = (pool.num_envs, len(pool.spec.action.heads))
        if actions.shape != wanted or actions.dtype != jnp.int32:
            raise ValueError(
                f"actions are {actions.dtype}{list(actions.shape)}, but this pool "
                f"takes int32{list(wanted)}"
            )
        return call(_STEP, token, actions)

    return jnp.asarray(pool._core.token, jnp.int32), reset, step


def _register() -> None:
    handlers = getattr(_core, "xla_handlers", None)
    if handlers is None:
        raise UserError(
            "jaxfactory was built without JAX's headers, so compiled programs cannot "
            "step the pool; install jaxlib and build jaxfactory again"
        )
    made = handlers()
    for name, handler in ((_RESET, made["reset"]), (_STEP, made["step"])):
        try:
            jax.ffi.register_ffi_target(name, handler, platform="cpu")
        except Exception as error:
            raise UserError(
                f"JAX {jax.__version__} rejects the pool's custom calls ({error}); "
                "build jaxfactory again with this version installed"
            ) from error


def _shapes(pool: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the result shape of each field, in the order of the pool's arrays."""

    def of(name: str, array: np.ndarray) -> jax.ShapeDtypeStruct:
        dtype = np.dtype(np.float32) if array.dtype == np.float64 else array.dtype
        each_step = not name.startswith("final_")
        return jax.ShapeDtypeStruct(array.shape[2 if each_step else 0 :], dtype)

    return {name: of(name, array) for name, array in pool.arrays.items()}
