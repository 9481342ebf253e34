"""Episodes of Gymnasium's environments, played again to be seen."""

from collections.abc import Iterator

import gymnasium
import numpy as np
from jaxtyping import Shaped, UInt8

from jaxfactory._util.errors import UserError
from jaxfactory.config.env import EnvConfig
from jaxfactory.envs.gymnasium.actions import ActionCodec
from jaxfactory.envs.gymnasium.registry import make_env


_DEFAULT_FPS = 30.0


def replay(
    config: EnvConfig, seed: int, actions: Shaped[np.ndarray, "N A"]
) -> Iterator[tuple[UInt8[np.ndarray, "H W 3"], float, bool]]:
    """Yield each frame of an episode, the return so far, and whether it has ended.

    Args:
        config: The environment.
        seed: It was reset with.
        actions: One row for each step.

    Raises:
        UserError: If the environment cannot be seen.
    """
    env = make_env(config, "rgb_array")
    try:
        actions_of = ActionCodec(env.action_space)
        env.reset(seed=seed)
        yield _frame(env), 0.0, False
        total = 0.0
        for action in actions:
            decoded = actions_of.decode_one(action)
            _, reward, terminated, truncated, _ = env.step(decoded)
            total += float(reward)
            yield _frame(env), total, bool(terminated or truncated)
            if terminated or truncated:
                return
    finally:
        env.close()


def check(config: EnvConfig) -> None:
    """Complain about an environment that cannot be seen, before it is played.

    Raises:
        UserError: If it has no images of itself.
    """
    try:
        env = make_env(config, "rgb_array")
        try:
            env.reset(seed=0)
            _frame(env)
        finally:
            env.close()
    except UserError as error:
        raise UserError(
            f"there can be no video: {error}; leave out --render-mp4 and --video-every"
        ) from error


def frames_per_second(config: EnvConfig) -> float:
    """Return how many decisions a second of the environment's own time has."""
    env = make_env(config)
    fps = float(env.metadata.get("render_fps") or _DEFAULT_FPS)
    env.close()
    return fps / config.frame_skip


def _frame(env: gymnasium.Env) -> np.ndarray:
    try:
        image = env.render()
    except gymnasium.error.Error as error:
        raise UserError(f"{env.spec.id} cannot be rendered: {error}") from error
    if not isinstance(image, np.ndarray) or image.ndim != 3:
        raise UserError(
            f"{env.spec.id} has no render mode rgb_array, so that there is no video"
        )
    return image
