"""Replays of episodes of Gymnasium environments."""

from collections.abc import Iterator
from fractions import Fraction

import gymnasium
import numpy as np
from jaxtyping import Shaped

from jaxfactory._util.errors import UserError
from jaxfactory.envs.family import Replay, ReplayFrame
from jaxfactory.envs.gymnasium.actions import ActionCodec
from jaxfactory.envs.gymnasium.registry import make_env


_DEFAULT_FPS = 30.0


def replay(
    scenario: str,
    frame_skip: int,
    timeout: int | None,
    seed: int,
    actions: Shaped[np.ndarray, "N A"],
) -> Replay:
    """Return the frames of one episode, one for each action.

    Args:
        scenario: Names the environment.
        frame_skip: Steps that each action is repeated for.
        timeout: Steps until truncation; None keeps the registered limit.
        seed: Seed that the environment was reset with.
        actions: One row per action.

    Raises:
        UserError: If the environment cannot be rendered.
    """
    env = make_env(scenario, frame_skip, timeout, "rgb_array")
    fps = float(env.metadata.get("render_fps") or _DEFAULT_FPS) / frame_skip
    frames = _frames(env, frame_skip, seed, actions)
    return Replay(frames, Fraction(fps).limit_denominator(1000), len(actions))


def _frames(
    env: gymnasium.Env, frame_skip: int, seed: int, actions: np.ndarray
) -> Iterator[ReplayFrame]:
    try:
        actions_of = ActionCodec(env.action_space)
        env.reset(seed=seed)
        yield ReplayFrame(_frame(env))
        raw_return = 0.0
        for count, action in enumerate(actions, 1):
            decoded = actions_of.decode_one(action)
            _, reward, terminated, truncated, _ = env.step(decoded)
            raw_return += float(reward)
            if terminated or truncated:
                yield ReplayFrame(_frame(env), (count * frame_skip, raw_return))
                return
            yield ReplayFrame(_frame(env))
    finally:
        env.close()


def check(scenario: str, frame_skip: int, timeout: int | None) -> None:
    """Raise a `UserError` for an environment that cannot be rendered."""
    try:
        env = make_env(scenario, frame_skip, timeout, "rgb_array")
        try:
            env.reset(seed=0)
            _frame(env)
        finally:
            env.close()
    except UserError as error:
        raise UserError(
            f"cannot make a video: {error}; leave out --render-mp4 and --video-every"
        ) from error


def _frame(env: gymnasium.Env) -> np.ndarray:
    try:
        image = env.render()
    except gymnasium.error.Error as error:
        raise UserError(f"{env.spec.id} cannot be rendered: {error}") from error
    if not isinstance(image, np.ndarray) or image.ndim != 3:
        raise UserError(
            f"{env.spec.id} has no render mode rgb_array, which videos need"
        )
    return image
