"""The pool as a `gymnasium.vector.VectorEnv`.

``import jaxfactory`` registers each scenario, so any trainer with Gymnasium's interface
gets the speed of the pool::

    import gymnasium, jaxfactory
    envs = gymnasium.make_vec("jaxfactory/HealthGatheringSupreme-v0", num_envs=16)
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float64, UInt8

from jaxfactory._util.errors import UserError, did_you_mean
from jaxfactory.config.env import EnvConfig, split_options
from jaxfactory.envs.doom.pool import EnvPool
from jaxfactory.envs.step import Step
from jaxfactory.envs.wrappers.vector_info import InfoBuilder, parts
from jaxfactory.scenarios.scenario import Scenario
from jaxfactory.spec import ActionSpec, ObservationSpec


TICS_PER_SECOND = 35
# Steps per slab if each step's observations are copied out of it.
_FEW_STEPS = 4
_POOL_OPTIONS = (
    *EnvConfig.__dataclass_fields__,
    "variables", "num_steps", "num_slabs", "on_failure", "engine_timeout",
    "start_timeout", "pin", "serial",
)  # fmt: skip


def observation_space(spec: ObservationSpec) -> spaces.Space:
    """Return the observation space: a `Box`, or with measurements a `Dict`."""
    image = spaces.Box(0, 255, spec.image, np.uint8)
    if not spec.measurements:
        return image
    shape = (spec.measurements,)
    return spaces.Dict(
        {
            "image": image,
            "measurements": spaces.Box(-np.inf, np.inf, shape, np.float32),
        }
    )


def action_space(spec: ActionSpec) -> spaces.Discrete | spaces.MultiDiscrete:
    """Return the space of an action: `Discrete` for one head, else `MultiDiscrete`."""
    if len(spec.heads) == 1:
        return spaces.Discrete(spec.heads[0])
    return spaces.MultiDiscrete(spec.heads)


class DoomVectorEnv(VectorEnv):
    """Doom environments as a Gymnasium vector environment, stepped by the C++ pool.

    Autoreset is SAME_STEP: when an episode ends, `step` returns the first observation
    of the next episode. ``info["final_obs"]`` then holds the last observation of the
    ended episode (an object array, None elsewhere) and ``info["final_info"]`` its info;
    the masks are ``info["_final_obs"]`` and ``info["_final_info"]``.

    The reward is the training reward, shaped and scaled; ``info["raw_reward"]`` is the
    scenario's raw reward. ``info["game_variables"]`` holds the game variables that
    `variable_names` lists. At the end of an episode ``final_info`` has these two,
    ``raw_return``, ``tics``, and ``episode`` with the return ``r``, the number of steps
    ``l`` and the seconds ``t``, as in Gymnasium's wrappers.

    Attributes:
        pool: The underlying pool.
        variable_names: Names of the columns of ``info["game_variables"]``.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - Gymnasium's own name and place
        "render_modes": ["rgb_array"],
        "render_fps": TICS_PER_SECOND,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        scenario: str | Scenario,
        num_envs: int = 1,
        *,
        copy: bool = True,
        render_mode: str | None = None,
        **options: Any,
    ):
        """Prepare the environments; the first `reset` starts their engines.

        Args:
            scenario: A scenario's name, the path of a .cfg file, or a scenario.
            num_envs: Environments, one engine process each; in a match, a multiple of
                its agents, whose environments are consecutive.
            copy: Return copies of observations. Otherwise they are views of the pool's
                memory, valid for `num_slabs * num_steps` (by default 64) further steps.
            render_mode: None or ``"rgb_array"``.
            **options: Fields of `EnvConfig` and arguments of `EnvPool`, for example
                ``frame_skip``, ``width``, ``height``, ``depth`` or ``tics``.

        Raises:
            UserError: If an option is invalid.
        """
        if render_mode not in (None, "rgb_array"):
            raise UserError(
                f"render_mode {render_mode!r} is not supported; use 'rgb_array' or None"
            )
        for name in options:
            if name not in _POOL_OPTIONS:
                hint = did_you_mean(name, _POOL_OPTIONS)
                raise UserError(f"there is no option {name!r}{hint}")
        # One group, because `step` waits for all environments.
        options = {"num_groups": 1, **options}
        if copy:
            options.setdefault("num_steps", _FEW_STEPS)
        self.pool = _make_pool(scenario, num_envs, options)
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.metadata = {
            **self.metadata, "render_fps": TICS_PER_SECOND / self.pool.frame_skip
        }  # fmt: skip
        self.variable_names = self.pool.variable_names
        spec = self.pool.spec
        self.single_observation_space = observation_space(spec.observation)
        self.single_action_space = action_space(spec.action)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._copy = copy
        self._grayscale = bool(options.get("grayscale", False))
        stack = options.get("frame_stack", EnvConfig.frame_stack)
        # Of one image.
        self._channels = spec.observation.image[2] // stack
        self._seeded = False
        self._last: Step | None = None
        self._info_builder = InfoBuilder(num_envs)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Start a new episode in every environment.

        Args:
            seed: Environment i gets ``seed + i``, or ``seed[i]`` of a list (a match
                uses the seed of its first agent). A seed starts a new engine, which
                takes about 0.1 s. None keeps the current seeds, which are random at
                first.
            options: No options. Episodes restart automatically, so a ``reset_mask``
                that leaves environments out is refused.

        Returns:
            The observations and ``info``.

        Raises:
            UserError: If a seed is out of range, or their number is wrong.
        """
        _check_reset_options(options)
        seeds = self._seeds(seed)
        if isinstance(seed, int):
            super().reset(seed=seed)
        step = self.pool.reset(seeds)
        self._last = step
        return self._observations(step), self._info_builder.reset(step)

    def step(
        self, actions: Any
    ) -> tuple[
        Any,
        Float64[np.ndarray, "B"],
        Bool[np.ndarray, "B"],
        Bool[np.ndarray, "B"],
        dict[str, Any],
    ]:
        """Step every environment once.

        Args:
            actions: One index per environment, ``[B]``, or one index per head,
                ``[B, heads]``.

        Returns:
            Observations, rewards, terminations, truncations and ``info``.

        Raises:
            ValueError: If actions have the wrong shape, or an index is out of range.
        """
        indices = np.asarray(actions)
        if not np.issubdtype(indices.dtype, np.integer):
            raise ValueError(
                f"actions have dtype {indices.dtype}, but must be integer indices"
            )
        indices = indices.astype(np.int32)
        if indices.ndim == 1 and len(self.pool.spec.action.heads) == 1:
            indices = indices[:, None]
        step = self.pool.step(indices)
        self._last = step
        return (
            self._observations(step),
            step.reward.astype(np.float64),
            step.terminated.copy(),
            step.truncated.copy(),
            self._info_builder.step(step),
        )

    def render(self) -> tuple[UInt8[np.ndarray, "H W 3"], ...] | None:
        """Return each environment's latest image in RGB; None without a render mode."""
        if self.render_mode is None:
            return None
        if self._last is None:
            raise gymnasium.error.ResetNeeded("call reset before render")
        return tuple(self.to_rgb(image) for image in self._last.obs)

    def to_rgb(self, image: UInt8[np.ndarray, "H W C"]) -> UInt8[np.ndarray, "H W 3"]:
        """Return an observation's newest RGB image, without its other channels."""
        newest = image[..., -self._channels :]
        colors = newest[..., : 1 if self._grayscale else 3]
        return np.broadcast_to(colors, (*image.shape[:2], 3)).copy()

    def close_extras(self, **kwargs: Any) -> None:
        """End the engines."""
        del kwargs
        self.pool.close()

    def _seeds(self, seed: int | list[int | None] | None) -> list[int | None] | None:
        first = not self._seeded
        self._seeded = True
        if seed is None:
            if not first:
                return None
            return np.random.SeedSequence().generate_state(self.num_envs).tolist()
        if isinstance(seed, int | np.integer):
            # Wraps around: any seed below 2^32 works with any number of environments.
            _check_seed(int(seed))
            return [(int(seed) + index) % 2**32 for index in range(self.num_envs)]
        return [None if one is None else int(one) for one in seed]

    def _observations(self, step: Step) -> Any:
        return parts(step.observation, copy=self._copy)


def _make_pool(
    scenario: str | Scenario, num_envs: int, options: dict[str, Any]
) -> EnvPool:
    fields, options = split_options(options)
    whole = scenario if isinstance(scenario, Scenario) else None
    name = whole.name if whole else scenario
    config = EnvConfig(scenario=name, num_envs=num_envs, **fields)
    return EnvPool(config, scenario=whole, **options)


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise UserError(f"seed {seed} must be between 0 and 4294967295")


def _check_reset_options(options: dict[str, Any] | None) -> None:
    mask = (options or {}).get("reset_mask")
    if mask is not None and not np.all(mask):
        raise UserError(
            "reset_mask leaves environments out, but all are reset together; episodes "
            "that end restart automatically (autoreset mode SAME_STEP)"
        )
