"""An agent in one environment of Gymnasium's: from its observation to its action."""

from collections.abc import Callable
from typing import Any

import gymnasium

from jaxfactory._util.errors import UserError
from jaxfactory.envs.gymnasium.actions import ActionCodec
from jaxfactory.envs.gymnasium.observations import ObservationCodec
from jaxfactory.spec import EnvSpec


class EnvPolicy:
    """Decides in an environment, in its own terms; it remembers the episode.

    Made by `Agent.for_env`.
    """

    def __init__(self, act: Callable[..., Any], spec: EnvSpec, env: Any):
        """Plan for an environment.

        Args:
            act: ``act(obs, carry) -> (action, carry)``, as an agent's.
            spec: What the agent sees and decides.
            env: The environment, a `gymnasium.Env`.

        Raises:
            UserError: If the agent sees or decides something else.
        """
        if isinstance(env, gymnasium.vector.VectorEnv):
            raise UserError(
                "the agent was given a vector of environments to play in, and takes "
                "one: use make_pool(agent.config.env) and agent.act for several"
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
                f"the environment has {_told(found)}, and the agent was trained with "
                f"{_told(wanted)}; make the one that agent.config.env names{how}"
            )
        self._act = act
        self.reset()

    def reset(self) -> None:
        """Forget the episode; call it where one begins."""
        self._carry: Any = None

    def __call__(self, obs: Any) -> Any:
        """Return the action that answers an observation, each as its space has it."""
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
    """Return what is seen and decided, in words."""
    seen = []
    if spec.observation.image is not None:
        seen.append(f"an image of {'x'.join(map(str, spec.observation.image))}")
    if spec.observation.measurements:
        seen.append(f"{spec.observation.measurements} numbers")
    decided = [f"one of {choices}" for choices in spec.action.heads]
    if spec.action.continuous:
        decided.append(f"{spec.action.continuous} numbers")
    return f"{' and '.join(seen)} to see, {' and '.join(decided)} to decide"
