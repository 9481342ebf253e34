"""`EnvPool`: many Doom engines, stepped in parallel by the C++ core.

NumPy only: this module never imports JAX, so that the pool works with any learner.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Int32

from jaxfactory._util.errors import UserError
from jaxfactory.config.env import EnvConfig
from jaxfactory.envs.doom import core_pool
from jaxfactory.envs.doom.batch_shaping import BatchShaping
from jaxfactory.envs.doom.extension import _core
from jaxfactory.envs.doom.pool_checks import check_actions, check_options, given_seeds
from jaxfactory.envs.doom.resolve import ResolvedDoom, resolve
from jaxfactory.envs.step import Step, view
from jaxfactory.envs.trained_reward import TrainedReward
from jaxfactory.scenarios import matches
from jaxfactory.scenarios.scenario import Scenario


# Raised if an engine fails and cannot be restarted, or must not be.
EngineError = _core.EngineError


class EnvPool:
    """Many Doom engines stepped in parallel by C++ threads.

    A context manager that ends every engine on exit. `step` steps all environments;
    `send` and `recv` step one group while the caller does other work.

    The same seed and actions give the same episodes with any groups, workers and cores.

    Attributes:
        spec: Shapes of observations and actions.
        num_envs: Environments, B.
        num_groups: Groups of consecutive environments, of equal size.
        seeds: Current seed of each environment's engine, as in `DoomGame.set_seed`.
        variable_names: The game variables in `StepInfo.game_variables`.
        match: The `Match`, or None; the rows of a match's agents are consecutive.
    """

    def __init__(
        self,
        config: EnvConfig | ResolvedDoom,
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
        stagger: int = 0,
        pin: bool = True,
        serial: bool = False,
    ):
        """Start the engines; the first `reset` waits for them.

        Args:
            config: Settings, or a resolved environment.
            scenario: Instead of the one that `config` names.
            seed: Each environment derives its own seed from it.
            num_steps: Steps per slab, besides the observation before them.
            num_slabs: Number of slabs, which are used in turn.
            env_seeds: One seed per environment, instead of those derived from `seed`.
            variables: Game variables to report, instead of the scenario's.
            on_failure: ``"restart"`` replaces an engine that dies, hangs or reports an
                error, and truncates its episode; ``"raise"`` raises `EngineError`.
            engine_timeout: Seconds that an engine may take for one tic.
            start_timeout: Seconds that an engine may take to start.
            stagger: Largest random time limit of first episodes, in tics; 0: no limit.
            pin: Pin each worker, and the engines that it drives, to one core.
            serial: Drive all engines from the caller's thread, for debugging.

        Raises:
            UserError: If the scenario, its map or the engine does not fit.
        """
        if isinstance(config, EnvConfig):
            config = resolve(config, scenario)
        check_options(
            num_envs=config.config.num_envs,
            seed=seed,
            env_seeds=env_seeds,
            num_steps=num_steps,
            num_slabs=num_slabs,
            engine_timeout=engine_timeout,
            start_timeout=start_timeout,
            stagger=stagger,
            on_failure=on_failure,
        )
        self._set_up(config, variables)
        self.num_steps, self.num_slabs = num_steps, num_slabs
        self._started = False  # by `start`, and not awaited yet
        self._core = core_pool.start(
            config,
            self._reported,
            restart_failed=on_failure == "restart",
            engine_timeout=engine_timeout,
            start_timeout=start_timeout,
            stagger=stagger,
            num_steps=num_steps,
            num_slabs=num_slabs,
            seed=seed,
            env_seeds=env_seeds or [],
            pin=pin,
            serial=serial,
        )
        self.seeds = tuple(self._core.seeds)
        self.num_workers = self._core.num_workers
        self._views: dict[tuple[tuple[int, int], int | None], Step] = {}
        self.arrays = core_pool.arrays(self._core, self.spec.observation.image)
        self._columns = self.arrays["game_variables"]
        self.arrays["game_variables"] = self._columns[..., : len(self.variable_names)]
        # A deleted pool must end its engines, even while one of its arrays is in use.
        self._finalizer = weakref.finalize(self, self._core.close)

    def _set_up(self, env: ResolvedDoom, variables: list[str] | None) -> None:
        """Set attributes from a resolved environment and its shaping function."""
        self.scenario, self.match, self.spec = env.scenario, env.match, env.spec
        self.num_envs = env.config.num_envs
        self.num_groups = env.config.num_groups
        self.frame_skip = env.config.frame_skip
        matches.check_rows(self.num_envs, self.num_groups, env.agents)
        self.variable_names = tuple(variables or env.game.variables)
        self._reported = list(self.variable_names)
        self._shaping: BatchShaping | None = None
        if callable(self.scenario.shaping):
            # The function receives the scenario's variables, whichever are reported.
            own = env.game.variables
            self._reported += [name for name in own if name not in self._reported]
            self._shaping = BatchShaping(
                self.scenario.shaping,
                {name: self._reported.index(name) for name in own},
                scale=self.scenario.reward_scale,
                num_envs=self.num_envs,
                trained=TrainedReward(env.config.reward_scale, env.config.reward_clip),
            )

    def __enter__(self) -> "EnvPool":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        """End all engines. Arrays returned before stay readable."""
        self._finalizer()

    @property
    def engine_pids(self) -> list[int]:
        """Process ids of the engines; read them only while no group is stepping."""
        return self._core.pids

    @property
    def tuned(self) -> list[bool]:
        """Whether the slow loop of each environment's engine is replaced."""
        return self._core.tuned

    def weigh_shaping(self, env: int, weights: Sequence[float]) -> None:
        """Weigh an environment's shaping (see `shaping.weights`), between steps."""
        self._core.weigh_shaping(env, list(weights))

    def rows(self, group: int) -> slice:
        """Return the rows of a group in arrays over all environments."""
        size = self.num_envs // self.num_groups
        return slice(group * size, (group + 1) * size)

    def start(self) -> None:
        """Begin to start the engines and return at once; the next reset awaits them."""
        self._check_idle()
        self._send_resets()
        self._started = True

    def reset(self, env_seeds: Sequence[int | None] | None = None) -> Step:
        """Start a new episode in every environment, in slot 0 of slab 0.

        Args:
            env_seeds: New seeds, one per environment. A seed starts a new engine with
                the seed's first episode, as in a new pool; None keeps seed and engine.

        Raises:
            UserError: If their number is wrong, or one is out of range.
        """
        if self._started and env_seeds is not None:
            self._recv_all()
            self._started = False
        if not self._started:
            self._check_idle()
            for env, seed in given_seeds(env_seeds, self.num_envs):
                self._core.seed(env, seed)
            self.seeds = tuple(self._core.seeds)
            self._send_resets()
        self._started = False
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
        actions = check_actions(actions, self.num_envs, len(self.spec.action.heads))
        self._check_idle()
        # Before the first send: no group may be sent if another fails.
        self._core.check(actions)
        for group in range(self.num_groups):
            self._core.send(group, actions[self.rows(group)])
        return self._answer(self._recv_all(), None)

    def send(self, group: int, actions: Int32[np.ndarray, "b heads"]) -> None:
        """Start a step of one group; return at once."""
        size = self.num_envs // self.num_groups
        checked = check_actions(actions, size, len(self.spec.action.heads))
        self._core.send(group, checked)

    def recv(self, group: int) -> Step:
        """Wait for a group's step and return its rows."""
        return self._answer(self._core.recv(group), group)

    def xla(self) -> tuple[Any, Callable[..., Any], Callable[..., Any]]:
        """Return the pool for compiled programs, on JAX's CPU backend.

        Returns:
            ``(token, reset, step)``; ``reset(token) -> (token, Step)`` and
            ``step(token, actions) -> (token, Step)`` work in `jax.jit` and `lax.scan`.
            Each call takes the token of the previous one, which orders them; an older
            token is an error. Arrays are copies, float64 ones as float32.

        Raises:
            UserError: If the core was built without JAX, or for another version of it.
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

    def _send_resets(self) -> None:
        for group in range(self.num_groups):
            self._core.send_reset(group)

    def _check_idle(self) -> None:
        # Before anything is sent, so that an error leaves no group half stepped.
        for group in range(self.num_groups):
            if self._core.sent(group):
                raise RuntimeError(
                    f"group {group} is still stepping; call recv({group}) first"
                )

    def _recv_all(self) -> tuple[int, int]:
        # Receive every group before raising, so that none stays half stepped.
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
        """Return the step of a group, or of all environments, with shaping applied."""
        step = self._view(position, group)
        if self._shaping is not None:
            rows = slice(None) if group is None else self.rows(group)
            self._shaping.apply(step, self._columns[position][rows], rows)
        return step

    def _view(self, position: tuple[int, int], group: int | None) -> Step:
        """Return the views of a group, or of all environments; cached per slot."""
        key = (position, group)
        step = self._views.get(key)
        if step is None:
            rows = slice(None) if group is None else self.rows(group)
            step = self._views[key] = view(self.arrays, *position, rows)
        return step
