"""The pool's reset and step as XLA custom calls."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfactory import _core
from jaxfactory._util.errors import UserError
from jaxfactory.envs.step import Step, StepInfo


_RESET, _STEP = "jaxfactory_pool_reset", "jaxfactory_pool_step"


def bind(pool: Any) -> tuple[Any, Callable[..., Any], Callable[..., Any]]:
    """Return ``(token, reset, step)``; see `EnvPool.xla`."""
    _register()
    shapes = _shapes(pool)
    address = np.int64(pool._core.address)

    def call(target: str, *inputs: Any) -> tuple[Any, Step]:
        function = jax.ffi.ffi_call(target, shapes, has_side_effect=True)
        return _as_step(function(*inputs, pool=address))

    def reset(token: Any) -> tuple[Any, Step]:
        # Naming the pool here keeps it alive for as long as the function.
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

    return jnp.zeros((), jnp.int32), reset, step


def _register() -> None:
    handlers = getattr(_core, "xla_handlers", None)
    if handlers is None:
        raise UserError(
            "jaxfactory was built without JAX's headers, so that compiled programs "
            "cannot step the pool; install jaxlib and build it again"
        )
    made = handlers()
    for name, handler in ((_RESET, made["reset"]), (_STEP, made["step"])):
        try:
            jax.ffi.register_ffi_target(name, handler, platform="cpu")
        except Exception as error:
            raise UserError(
                f"JAX {jax.__version__} does not take the pool's calls ({error}); "
                "build jaxfactory again with this version installed"
            ) from error


def _shapes(pool: Any) -> tuple[jax.ShapeDtypeStruct, ...]:
    rows = pool.num_envs
    image = (rows, *pool.spec.observation.image)

    def of(dtype: Any, *tail: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((rows, *tail), dtype)

    return (
        jax.ShapeDtypeStruct((), jnp.int32),
        jax.ShapeDtypeStruct(image, jnp.uint8),
        jax.ShapeDtypeStruct(image, jnp.uint8),
        of(jnp.float32, pool.spec.observation.measurements),
        of(jnp.float32, pool.spec.observation.measurements),
        of(jnp.float32), of(jnp.float32),
        of(bool), of(bool), of(bool), of(bool),
        of(jnp.float32), of(jnp.float32), of(jnp.int32), of(jnp.int32), of(jnp.int32),
        of(jnp.float32, len(pool.variable_names)),
    )  # fmt: skip


def _as_step(results: Any) -> tuple[Any, Step]:
    (
        token, obs, final_obs, measurements, final_measurements, reward, raw_reward,
        terminated, truncated, is_first, restarted, episode_shaped_return,
        episode_raw_return, episode_length, frags, place, variables,
    ) = results  # fmt: skip
    info = StepInfo(
        final_obs=final_obs,
        final_measurements=final_measurements,
        raw_reward=raw_reward,
        episode_shaped_return=episode_shaped_return,
        episode_raw_return=episode_raw_return,
        episode_length=episode_length,
        frags=frags,
        place=place,
        game_variables=variables,
        restarted=restarted,
    )
    step = Step(
        obs=obs,
        measurements=measurements,
        reward=reward,
        terminated=terminated,
        truncated=truncated,
        is_first=is_first,
        info=info,
    )
    return token, step
