"""The Python face of the C++ pool: many engines of Doom, stepped in parallel.

NumPy only: this module never imports JAX, so that the pool serves any learner.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Int32

from jaxfactory._util import paths
from jaxfactory._util.errors import UserError
from jaxfactory.config.env import EnvConfig
from jaxfactory.envs.doom import engine_config
from jaxfactory.envs.doom.batch_shaping import BatchShaping
from jaxfactory.envs.doom.extension import _core
from jaxfactory.envs.doom.pool_checks import check_env_seeds, check_options
from jaxfactory.envs.step import Step, view
from jaxfactory.envs.trained_reward import TrainedReward
from jaxfactory.scenarios import matches, scenario_table
from jaxfactory.scenarios.scenario import Scenario


# An engine that failed and could not be restarted, or must not be.
EngineError = _core.EngineError


class EnvPool:
    """Many Doom engines stepped in parallel by C++ threads.

    A context manager: leaving it ends every engine. `step` steps all environments;
    `send` and `recv` step one group of them while the caller does something else.

    The same seed and the same actions give the same episodes, whatever the number of
    groups, workers and cores.

    Attributes:
        spec: Shapes of observations and actions.
        num_envs: Environments, B.
        num_groups: Groups that they are split into, in order and of equal size.
        seeds: Seed of each environment's engine, as `DoomGame.set_seed` takes it: the
            one that its episodes have been drawn from since it was given.
        variable_names: The game variables in `StepInfo.game_variables`.
        match: Who plays, in a match; its agents' rows lie side by side.
    """

    def __init__(
        self,
        config: EnvConfig,
        *,
        scenario: Scenario | None = None,
        seed: int = 0,
        num_steps: int = 32,
        num_slabs: int = 2,
        env_seeds: list[int] | None = None,
        variables: list[str] | None = None,
        on_failure: Literal["restart", "raise"] = "restart",
        engine_timeout: float = 10.0,
        start_timeout: float = 60.0,
        pin: bool = True,
        serial: bool = False,
    ):
        """Start the engines; the first `reset` waits for them.

        Args:
            config: The environments.
            scenario: Instead of the one that `config` names.
            seed: Of the environments; each gets its own from it.
            num_steps: Steps that one slab holds, besides the observation before them.
            num_slabs: Slabs that are used in turn.
            env_seeds: Instead of those derived from `seed`, one for each environment.
            variables: Game variables to report, instead of the scenario's.
            on_failure: Whether an engine that dies, hangs or reports an error is
                replaced and its episode truncated, or `EngineError` is raised.
            engine_timeout: Seconds that an engine may take for one tic.
            start_timeout: Seconds that an engine may take to start.
            pin: Pin each worker, and the engines that it drives, to one core.
            serial: Drive all engines from the caller's thread, for debugging.

        Raises:
            UserError: If the scenario, its map or the engine does not fit.
        """
        check_options(
            num_envs=config.num_envs,
            seed=seed,
            env_seeds=env_seeds,
            num_steps=num_steps,
            num_slabs=num_slabs,
            engine_timeout=engine_timeout,
            start_timeout=start_timeout,
            on_failure=on_failure,
        )
        self.scenario = scenario or scenario_table.find(config.scenario)
        self._game = self.scenario.load()
        self._heads = engine_config.action_heads(self.scenario, self._game)
        self.variable_names = tuple(variables or self._game.variables)
        self.match = matches.resolve(config, self.scenario.match, self.scenario.name)
        agents = self.match.agents if self.match else 1
        matches.check_rows(config, agents)
        doom = engine_config.make(
            config, self.scenario, self._game, self._heads, self.match
        )
        columns = list(self.variable_names)
        self._shaping: BatchShaping | None = None
        if callable(self.scenario.shaping):
            # It is given the scenario's own variables, whatever else is reported.
            own = self._game.variables
            columns += [name for name in own if name not in columns]
            self._shaping = BatchShaping(
                self.scenario.shaping,
                {name: columns.index(name) for name in own},
                scale=self.scenario.reward_scale,
                num_envs=config.num_envs,
                trained=TrainedReward.of(config),
            )
        doom.variables = [engine_config.variable(name) for name in columns]
        doom.restart_failed = on_failure == "restart"
        doom.engine.directory = str(paths.engine_folder())
        doom.engine.timeout = engine_timeout
        doom.engine.start_timeout = start_timeout
        self.num_envs = config.num_envs
        self.num_groups = config.num_groups
        self.frame_skip = config.frame_skip
        self.num_steps = num_steps
        self.num_slabs = num_slabs
        self.spec = engine_config.env_spec(config, self.scenario)
        self._core = _core.Pool(
            doom,
            _pool_config(
                num_envs=config.num_envs,
                rows_per_env=agents,
                num_groups=config.num_groups,
                num_workers=config.num_workers,
                num_steps=num_steps,
                num_slabs=num_slabs,
                seed=seed,
                env_seeds=env_seeds or [],
                pin=pin,
                serial=serial,
            ),
        )
        self.seeds = tuple(self._core.seeds)
        self.num_workers = self._core.num_workers
        self._views: dict[tuple[tuple[int, int], int | None], Step] = {}
        self.arrays = _shaped(self._core.arrays(), self.spec.observation.image)
        self._columns = self.arrays["game_variables"]
        self.arrays["game_variables"] = self._columns[..., : len(self.variable_names)]
        # A pool that is dropped without `close` must not keep its engines for as long
        # as someone holds one of its arrays.
        self._finalizer = weakref.finalize(self, self._core.close)

    def __enter__(self) -> "EnvPool":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        """End all engines. Arrays handed out before stay readable."""
        self._finalizer()

    @property
    def engine_pids(self) -> list[int]:
        """Process ids of the engines; read it only while no group is stepping."""
        return self._core.pids

    @property
    def tuned(self) -> list[bool]:
        """Whether each environment's engine has its slow loop replaced."""
        return self._core.tuned

    def rows(self, group: int) -> slice:
        """Return the rows of a group in arrays over all environments."""
        size = self.num_envs // self.num_groups
        return slice(group * size, (group + 1) * size)

    def reset(self, env_seeds: Sequence[int | None] | None = None) -> Step:
        """Begin a new episode in every environment, in slot 0 of slab 0.

        Args:
            env_seeds: New seeds, one for each environment. One with a seed begins with
                its first episode, as in a new pool, in a new engine; one with None
                goes on with the seed and the engine that it has.

        Raises:
            UserError: If there is not one for each, or one is out of range.
        """
        self._check_idle()
        if env_seeds is not None:
            check_env_seeds(env_seeds, self.num_envs)
            for env, seed in enumerate(env_seeds):
                if seed is not None:
                    self._core.seed(env, seed)
            self.seeds = tuple(self._core.seeds)
        for group in range(self.num_groups):
            self._core.send_reset(group)
        position = self._recv_all()
        if self._shaping is not None:
            self._shaping.reset()
        return self._view(position, None)

    def step(self, actions: Int32[np.ndarray, "B heads"]) -> Step:
        """Step every environment once.

        Raises:
            ValueError: If an action's index is outside its head.
            EngineError: If an engine failed and is not restarted.
        """
        actions = self._checked(actions, self.num_envs)
        self._check_idle()
        # Before the first send, so that no group is sent before another fails.
        self._core.check(actions)
        for group in range(self.num_groups):
            self._core.send(group, actions[self.rows(group)])
        return self._answer(self._recv_all(), None)

    def send(self, group: int, actions: Int32[np.ndarray, "b heads"]) -> None:
        """Begin a step of one group; returns at once."""
        size = self.num_envs // self.num_groups
        self._core.send(group, self._checked(actions, size))

    def recv(self, group: int) -> Step:
        """Wait for a group's step and return its rows."""
        return self._answer(self._core.recv(group), group)

    def xla(self) -> tuple[Any, Callable[..., Any], Callable[..., Any]]:
        """Return the pool for compiled programs, on JAX's CPU backend.

        Returns:
            ``(token, reset, step)``, where ``reset(token) -> (token, Step)`` and
            ``step(token, actions) -> (token, Step)`` may be called inside of `jax.jit`
            and carried through `jax.lax.scan`. The token orders the calls: hand each
            the one that the call before returned. Arrays are copies; those that the
            pool has as float64 are float32. The pool must outlive the programs.

        Raises:
            UserError: If the core was built without JAX, or for another version.
        """
        from jaxfactory.envs.doom import xla

        if self._shaping is not None:
            raise UserError(
                f"the scenario {self.scenario.name} is shaped by a Python function, "
                "which compiled programs cannot call; give the shaping as rows"
            )
        return xla.bind(self)

    def slab(self, index: int) -> dict[str, np.ndarray]:
        """Return one slab's arrays, `[num_steps + 1, B, ...]`, as views."""
        return {
            name: array[index]
            for name, array in self.arrays.items()
            if not name.startswith("final_")
        }

    def _check_idle(self) -> None:
        # Before anything is sent, so that a mistake leaves no group half way.
        for group in range(self.num_groups):
            if self._core.sent(group):
                raise RuntimeError(
                    f"group {group} is still stepping; call recv({group}) first"
                )

    def _checked(self, actions: np.ndarray, rows: int) -> np.ndarray:
        actions = np.asarray(actions)
        if not np.issubdtype(actions.dtype, np.integer):
            raise ValueError(
                f"actions have dtype {actions.dtype}, but are indices; "
                "give them as int32"
            )
        actions = np.ascontiguousarray(actions, dtype=np.int32)
        heads = len(self.spec.action.heads)
        if actions.shape != (rows, heads):
            raise ValueError(
                f"actions have shape {actions.shape}, but {rows} environments with "
                f"{heads} action head(s) take ({rows}, {heads})"
            )
        return actions

    def _recv_all(self) -> tuple[int, int]:
        # Collect every group before anything is raised, so that none stays half sent.
        position, failure = None, None
        for group in range(self.num_groups):
            try:
                position = self._core.recv(group)
            except EngineError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        assert position is not None
        return position

    def _answer(self, position: tuple[int, int], group: int | None) -> Step:
        """Return what environments answered to their actions."""
        step = self._view(position, group)
        if self._shaping is not None:
            rows = slice(None) if group is None else self.rows(group)
            self._shaping.apply(step, self._columns[position][rows], rows)
        return step

    def _view(self, position: tuple[int, int], group: int | None) -> Step:
        """Return the views of a group, or of all; made once for each slot."""
        key = (position, group)
        step = self._views.get(key)
        if step is None:
            rows = slice(None) if group is None else self.rows(group)
            step = self._views[key] = view(self.arrays, *position, rows)
        return step


def _pool_config(**fields) -> _core.PoolConfig:
    config = _core.PoolConfig()
    for name, value in fields.items():
        setattr(config, name, value)
    return config


def _shaped(
    arrays: dict[str, np.ndarray], image: tuple[int, int, int]
) -> dict[str, np.ndarray]:
    """Give observations their image shape and flags their type, without copies."""
    for name in ("terminated", "truncated", "is_first", "restarted"):
        arrays[name] = arrays[name].view(np.bool_)
    for name in ("obs", "final_obs"):
        arrays[name] = arrays[name].reshape(*arrays[name].shape[:-1], *image)
    return arrays
