"""A policy for one Gymnasium environment: maps its observations to its actions."""

from collections.abc import Callable
from typing import Any

import gymnasium

from jaxfactory._util.errors import UserError
from jaxfactory.envs.gymnasium.actions import ActionCodec
from jaxfactory.envs.gymnasium.observations import ObservationCodec
from jaxfactory.spec import EnvSpec


class EnvPolicy:
    """Acts in one environment, in its own spaces; keeps the recurrent state.

    Created by `Agent.for_env`.
    """

    def __init__(self, act: Callable[..., Any], spec: EnvSpec, env: Any):
        """Prepare the conversions for an environment.

        Args:
            act: ``act(obs, carry) -> (action, carry)``, as an agent's.
            spec: Shapes of the agent's observations and actions.
            env: The environment, a `gymnasium.Env`.

        Raises:
            UserError: If the agent has other observations or actions.
        """
        if isinstance(env, gymnasium.vector.VectorEnv):
            raise UserError(
                "for_env takes a single environment, but was given a vector "
                "environment; use make_pool(agent.config.env) and agent.act for several"
            )
        self._observations = ObservationCodec(env.observation_space)
        self._actions = ActionCodec(env.action_space)
        found = EnvSpec(self._observations.spec, self._actions.spec)
        wanted = EnvSpec(spec.observation, spec.action._replace(names=()))
        if found != wanted:
            blind = (
                found.observation.measurements and not wanted.observation.measurements
            )
            how = " with measurements=False" if blind else ""
            raise UserError(
                f"the environment has {_told(found)}, but the agent was trained with "
                f"{_told(wanted)}; make the one that agent.config.env names{how}"
            )
        self._act = act
        self.reset()

    def reset(self) -> None:
        """Reset the recurrent state; call it at the start of each episode."""
        self._carry: Any = None

    def __call__(self, obs: Any) -> Any:
        """Return the action for an observation, both in the environment's spaces."""
        batch = self._observations.batch_of_one(obs)
        seen = self._observations.spec
        parts = {}
        if seen.image is not None:
            parts["image"] = self._observations.image(batch)
        if seen.measurements:
            parts["measurements"] = self._observations.vector(batch)
        rows, self._carry = self._act(parts, self._carry)
        return self._actions.decode_one(rows[0])


def _told(spec: EnvSpec) -> str:
    """Describe the observations and actions for an error message."""
    seen = []
    if spec.observation.image is not None:
        seen.append(f"an image of {'x'.join(map(str, spec.observation.image))}")
    if spec.observation.measurements:
        seen.append(f"{spec.observation.measurements} numbers")
    decided = [f"one of {choices}" for choices in spec.action.heads]
    if spec.action.continuous:
        decided.append(f"{spec.action.continuous} numbers")
    return f"{' and '.join(seen)} as observation and {' and '.join(decided)} as action"
