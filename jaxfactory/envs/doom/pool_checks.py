"""Checks of a pool's arguments; each failure raises one error message."""

from collections.abc import Sequence

import numpy as np

from jaxfactory._util.errors import UserError


_MAX_TIMEOUT = 86_400  # seconds


def check_options(
    *,
    num_envs: int,
    seed: int,
    env_seeds: list[int] | None,
    num_steps: int,
    num_slabs: int,
    engine_timeout: float,
    start_timeout: float,
    stagger: int,
    on_failure: str,
) -> None:
    """Raise a `UserError` for an invalid argument of `EnvPool`."""
    if not 0 <= seed < 2**64:
        raise UserError(f"seed {seed} must be between 0 and 2**64 - 1")
    given_seeds(env_seeds, num_envs)
    for name, count in (("num_steps", num_steps), ("num_slabs", num_slabs)):
        if count < 1:
            raise UserError(f"{name} {count} must be 1 or more")
    for name, seconds in (
        ("engine_timeout", engine_timeout),
        ("start_timeout", start_timeout),
    ):
        if not 0 < seconds <= _MAX_TIMEOUT:
            raise UserError(
                f"{name} {seconds} must be between 0 and {_MAX_TIMEOUT} seconds"
            )
    if not 0 <= stagger < 2**31:
        raise UserError(f"stagger {stagger} must be 0, or a number of tics below 2^31")
    if on_failure not in ("restart", "raise"):
        raise UserError(f"on_failure {on_failure!r} must be 'restart' or 'raise'")


def given_seeds(
    env_seeds: Sequence[int | None] | None, num_envs: int
) -> list[tuple[int, int]]:
    """Return the environments that are given a seed, each with its seed.

    Raises:
        UserError: If there are seeds, but not one or None for each environment, or one
            is out of range.
    """
    if env_seeds is None:
        return []
    if len(env_seeds) != num_envs:
        raise UserError(
            f"{len(env_seeds)} env_seeds were given for {num_envs} environments; give "
            "one for each"
        )
    given = [(env, seed) for env, seed in enumerate(env_seeds) if seed is not None]
    for _, seed in given:
        if not 0 <= seed < 2**32:
            raise UserError(f"env_seeds has {seed}, but must be in 0 to 4294967295")
    return given


def check_actions(actions: np.ndarray, rows: int, heads: int) -> np.ndarray:
    """Return actions as contiguous int32.

    Raises:
        ValueError: If they are not integers of shape [rows, heads].
    """
    actions = np.asarray(actions)
    if not np.issubdtype(actions.dtype, np.integer):
        raise ValueError(
            f"actions have dtype {actions.dtype}, but must be int32 indices"
        )
    actions = np.ascontiguousarray(actions, dtype=np.int32)
    if actions.shape != (rows, heads):
        raise ValueError(
            f"actions have shape {actions.shape}, but {rows} environments with {heads} "
            f"action head(s) take ({rows}, {heads})"
        )
    return actions
