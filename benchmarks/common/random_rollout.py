"""Random numbers in the place of a rollout; imported after JAX has been set up."""

from typing import Any

import numpy as np

from jaxfactory.types import Rollout


def random_rollout(
    pixels: np.ndarray, carry: Any, actions: int, rng: np.random.Generator
) -> Rollout:
    """Return a rollout without episode ends.

    Args:
        pixels: uint8 ``[T + 1, B, H, W, C]``.
        carry: Recurrent state of the first step, leaves ``[B, ...]``.
        actions: Number of actions to choose from.
        rng: Draws everything else.
    """
    steps, envs = len(pixels) - 1, pixels.shape[1]

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    flags = np.zeros((steps, envs), bool)
    return Rollout(
        obs={"image": pixels},
        is_first=np.zeros((steps + 1, envs), bool),
        action=rng.integers(0, actions, (steps, envs, 1)).astype(np.int32),
        log_prob=-np.abs(normal(steps, envs)),
        value=normal(steps, envs),
        reward=normal(steps, envs),
        terminated=flags,
        truncated=flags,
        final_value=np.zeros((steps, envs), np.float32),
        bootstrap_value=normal(envs),
        carry=carry,
        policy_version=np.zeros((steps, envs), np.float32),
    )
