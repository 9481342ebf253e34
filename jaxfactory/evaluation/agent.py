"""A trained agent: ``load(run).act(obs, carry)``."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float32, Shaped

from jaxfactory._util.errors import UserError
from jaxfactory.checkpoints.policy import TrainedPolicy, load_policy, with_variables_of
from jaxfactory.checkpoints.saved_run import BEST, load_for_evaluation, policy_run
from jaxfactory.config import validation
from jaxfactory.envs.gymnasium.policy import EnvPolicy
from jaxfactory.envs.pool import env_spec
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.models.encoders import EncoderClass
from jaxfactory.models.normalization import VARIABLES, denormalize
from jaxfactory.types import Carry, Observation


class Agent:
    """A trained policy, for batches of observations.

    Between calls it keeps only the number of sampled actions. Its memory of an episode
    is the carry that `act` takes and returns.

    Attributes:
        config: The settings of its run.
        spec: Shapes of its observations and actions.
        frames: Frames it was trained for.

    Examples:
        >>> import jaxfactory
        >>> agent = jaxfactory.load("runs/tiny")
        >>> with jaxfactory.make_pool(agent.config.env, seed=7) as pool:
        ...     step, carry = pool.reset(), agent.initial_carry(pool.num_envs)
        ...     for _ in range(10):
        ...         obs, is_first = step.observation, step.is_first
        ...         action, carry = agent.act(obs, carry, is_first=is_first)
        ...         step = pool.step(action)
        >>> action.shape, action.dtype
        ((4, 1), dtype('int32'))
    """

    def __init__(self, policy: TrainedPolicy, *, seed: int = 0):
        """Create an agent from a policy; `jaxfactory.load` reads one from a run.

        Args:
            policy: The trained policy.
            seed: Seed of the sampled actions.
        """
        network = policy.network
        self.config = policy.config
        self.spec = policy.spec
        self.frames = policy.frames
        self._policy = policy
        self._sample = policy.make_act()
        self._best = policy.make_act(deterministic=True)
        self._value = policy.make_value()
        self._logits = jax.jit(
            lambda params, normalizer, obs, carry, is_first: network.apply(
                params, network.normalize(obs, normalizer.obs), carry, is_first
            )[0]
        )
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Reset the random numbers: the same seed gives the same actions."""
        self._key = jax.random.key(seed)
        self._count = 0

    def initial_carry(self, batch: int) -> Carry:
        """Return the carry at the start of an episode, for a batch of environments."""
        return self._policy.network.initial_carry(batch)

    def act(
        self,
        obs: np.ndarray | Observation,
        carry: Carry | None = None,
        *,
        is_first: Bool[np.ndarray, " B"] | None = None,
        deterministic: bool = False,
        key: Any = None,
    ) -> tuple[Shaped[np.ndarray, "B A"], Carry]:
        """Choose actions.

        Args:
            obs: Images, uint8 ``[B, H, W, C]`` as the pool makes them; or a dictionary
                with an entry for each part of the observation.
            carry: What the previous call returned; None at the start of episodes.
            is_first: Where an episode starts, so that the carry is reset.
            deterministic: Take the most probable action instead of sampling.
            key: A seed or a JAX key for this call alone. By default, actions depend on
                the agent's seed and the number of calls since it was set.

        Returns:
            ``(action, carry)``: one index for each action head, and the carry for the
            next call. ``agent.spec.action.names`` names each head's choices.

        Raises:
            UserError: If the observations have another shape or type.
        """
        inputs = self._inputs(obs, carry, is_first)
        if key is None:
            key, count = self._key, self._count
            self._count += 1
        else:
            key, count = (jax.random.key(key) if isinstance(key, int) else key), 0
        act = self._best if deterministic else self._sample
        action, _, _, carry = act(*inputs, key, np.uint32(count))
        # The caller may overwrite the observation after this.
        return np.asarray(action), jax.block_until_ready(carry)

    def for_env(self, env: Any, *, deterministic: bool = False) -> EnvPolicy:
        """Return this agent as a function from an environment's observation to action.

        Args:
            env: A `gymnasium.Env` like those that the agent was trained on; with the
                same ``frame_skip``.
            deterministic: Take the most probable action instead of sampling.

        Returns:
            ``policy(obs)``, in the environment's own format: continuous actions are
            scaled to their bounds, and the parts are reassembled. It keeps the
            recurrent state; call ``policy.reset()`` when an episode starts.

        Raises:
            UserError: If its observations or actions differ from the agent's.

        Examples:
            >>> import gymnasium, jaxfactory
            >>> agent = jaxfactory.load("runs/tiny")
            >>> env = gymnasium.make("jaxfactory/Basic-v0")
            >>> policy = agent.for_env(env)
            >>> obs, info = env.reset(seed=1)
            >>> env.action_space.contains(policy(obs))
            True
            >>> env.close()
        """

        def act(obs: Observation, carry: Carry | None) -> tuple[np.ndarray, Carry]:
            return self.act(obs, carry, deterministic=deterministic)

        return EnvPolicy(act, self.spec, env)

    def values(
        self,
        obs: np.ndarray | Observation,
        carry: Carry | None = None,
        *,
        is_first: Bool[np.ndarray, " B"] | None = None,
        variables: Shaped[np.ndarray, "B V"] | None = None,
    ) -> Float32[np.ndarray, " B"]:
        """Return the expected discounted return of each observation.

        They are in the units of the training rewards. Arguments as in `act`; pass the
        carry that you would pass to `act`. A value function that was trained with
        ``critic_sees="variables"`` also needs the pool's ``step.info.game_variables``.

        Raises:
            UserError: If the observations have another shape or type, or the value
                function sees game variables and they are missing.
        """
        params, normalizer, parts, *rest = self._inputs(obs, carry, is_first)
        parts = self._with_variables(parts, variables)
        value = self._value(params, normalizer, parts, *rest)
        if self.config.ppo.normalize_returns:
            stats, ppo = self._policy.normalizer.returns, self._policy.config.ppo
            value = denormalize(value, stats, ppo.return_bound)
        return np.asarray(value)

    def logits(
        self,
        obs: np.ndarray | Observation,
        carry: Carry | None = None,
        *,
        is_first: Bool[np.ndarray, " B"] | None = None,
    ) -> Float32[np.ndarray, "B logits"]:
        """Return the unnormalized log-probabilities of all heads, one after another.

        Arguments as in `act`; pass the carry that you would pass to `act`.
        """
        return np.asarray(self._logits(*self._inputs(obs, carry, is_first)))

    def _inputs(self, obs: Any, carry: Carry | None, is_first: Any) -> tuple[Any, ...]:
        parts = self._checked(obs)
        batch = len(next(iter(parts.values())))
        if carry is None:
            carry = self.initial_carry(batch)
        if is_first is None:
            is_first = np.zeros(batch, bool)
        is_first = np.asarray(is_first, bool)
        sizes = {leaf.shape[0] for leaf in jax.tree.leaves(carry)} | {len(is_first)}
        if sizes - {batch}:
            raise UserError(
                f"got {batch} observations, but a carry and is_first of "
                f"{sorted(sizes)}; start with initial_carry({batch})"
            )
        params, normalizer = self._policy.params, self._policy.normalizer
        return params, normalizer, parts, carry, is_first

    def _with_variables(self, parts: Observation, variables: Any) -> Observation:
        """Return observations with the game variables that the value function sees."""
        number = self._policy.network.num_variables
        if not number:
            return parts
        wanted = (len(next(iter(parts.values()))), number)
        if variables is None or np.shape(variables) != wanted:
            given = "none" if variables is None else list(np.shape(variables))
            raise UserError(
                "the value function of this agent sees game variables, and needs "
                f"variables=step.info.game_variables of shape {list(wanted)}; it got "
                f"{given}"
            )
        return {**parts, VARIABLES: np.asarray(variables, np.float32)}

    def _checked(self, obs: Any) -> Observation:
        """Return observations as a dictionary of arrays of the right shapes."""
        wanted = {
            name: (shape, np.uint8 if name == "image" else np.float32)
            for name, shape in self.spec.observation.shapes.items()
        }
        alone = "image" if "image" in wanted else "measurements"
        parts = obs if isinstance(obs, dict) else {alone: obs}
        if parts.keys() != wanted.keys():
            raise UserError(
                f"the agent takes observations of {', '.join(wanted)}, but got "
                f"{', '.join(parts)}"
            )
        for name, (shape, dtype) in wanted.items():
            array = np.asarray(parts[name])
            if array.dtype != dtype or array.shape[1:] != shape or array.ndim == 0:
                text = ", ".join(map(str, shape))
                raise UserError(
                    f"the agent takes {name} as {np.dtype(dtype)} [B, {text}], a batch "
                    f"of B, but got {array.dtype} {list(array.shape)}"
                    + (
                        "; for a single one, give obs[None]"
                        if array.shape == shape
                        else ""
                    )
                )
        return parts


def load_agent(
    run: Path,
    checkpoint: str = "best",
    *,
    policy: str = BEST,
    seed: int = 0,
    encoder: EncoderClass | None = None,
) -> Agent:
    """Return a run's agent; see `jaxfactory.load`."""
    validation.policy(policy)
    saved = load_for_evaluation(policy_run(run, policy), checkpoint)
    spec = with_variables_of(saved, env_spec(saved.config.env))
    network = ActorCritic(spec, saved.config.network, encoder)
    return Agent(load_policy(saved, network), seed=seed)
