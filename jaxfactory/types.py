"""The data passed between the packages, and how its arrays align in time.

The alignment contract of all modules:

At step ``t`` the agent sees ``obs[t]`` (``is_first[t]`` is true if it opens an
episode) and takes ``action[t]`` with ``log_prob[t]`` and ``value[t]``. The
environment returns ``reward[t]``, ``terminated[t]`` and ``truncated[t]``, and then
``obs[t+1]``. Leaves are ``[T, B, ...]``, time first; ``obs`` and ``is_first`` have
one more step, ``[T+1, B, ...]``, because the return after the rollout is
bootstrapped from the value of the last observation.

Where ``terminated``, the return is bootstrapped with 0. Where ``truncated``, it is
bootstrapped with ``final_value[t]``, the value of the observation that ended the
episode. Episodes restart in the same step (SAME_STEP autoreset): ``obs[t+1]``
already belongs to the next episode, and there are no dummy transitions. The recurrent
carry is reset where ``is_first``.

``value`` and ``final_value`` are in the units of the normalized return, as the value
head predicts them; ``reward`` is in the environment's units.
"""

from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float, Shaped

from jaxfactory.spec import ActionSpec as ActionSpec
from jaxfactory.spec import EnvSpec as EnvSpec
from jaxfactory.spec import ObservationSpec as ObservationSpec


# A dictionary of arrays with equal leading axes, with one or both of these entries:
# "image", uint8 [..., H, W, C], and "measurements", float32 [..., M]. If the value
# function also sees game variables, rollouts have "variables", float32 [..., V], too.
Observation = dict[str, Any]
# The recurrent state: a pytree of float32 [B, features] arrays; () without a core.
Carry = Any
# Network parameters: nested dictionaries of arrays.
Params = Any
# Device scalars, by name.
Metrics = dict[str, Array]


class Rollout(NamedTuple):
    """T steps of B environments, aligned as the module's contract says.

    Attributes:
        obs: Observations; leaves ``[T+1, B, ...]``.
        is_first: Whether ``obs[t]`` opens an episode.
        action: One index per head, int32; float32 if there are continuous actions.
        log_prob: Log-probability of the joint action under the policy that acted.
        value: Normalized value prediction when acting.
        reward: The training reward: shaped and scaled.
        terminated: Whether the episode ended in a terminal state.
        truncated: Whether it was truncated (time-out, engine restart).
        final_value: Normalized value of the final observation; read only where
            ``truncated``.
        bootstrap_value: Normalized value of ``obs[T]``, from the acting parameters.
        carry: Recurrent state before ``obs[0]``; leaves ``[B, features]``.
        policy_version: Number of updates of the parameters that acted, per transition;
            fractional in the middle of an update.
        segment_carry: Recurrent state before the first step of each segment but the
            first; leaves ``[S-1, B, features]``; () for a single segment.
    """

    obs: Observation
    is_first: Bool[Array, "T+1 B"]
    action: Shaped[Array, "T B A"]
    log_prob: Float[Array, "T B"]
    value: Float[Array, "T B"]
    reward: Float[Array, "T B"]
    terminated: Bool[Array, "T B"]
    truncated: Bool[Array, "T B"]
    final_value: Float[Array, "T B"]
    bootstrap_value: Float[Array, "B"]
    carry: Carry
    policy_version: Float[Array, "T B"]
    segment_carry: Carry = ()


class Batch(NamedTuple):
    """A minibatch for the loss: whole chunks of T steps of E environments.

    Attributes:
        obs: Observations; leaves ``[T, E, ...]``.
        log_prob: Log-probability of the joint action under the policy that the update
            started from.
        value: Normalized value prediction when acting.
        weight: Importance weight of the sample: the action's probability under that
            policy divided by its probability under the policy that acted.
        advantage: Advantage, not yet normalized.
        target: Normalized return, the regression target of the value head.
        carry: Recurrent state before the chunk; leaves ``[E, features]``.
        sampling_weight: Weight of the sample if segments are drawn by their priority;
            None if each is drawn once.
    """

    obs: Observation
    is_first: Bool[Array, "T E"]
    action: Shaped[Array, "T E A"]
    log_prob: Float[Array, "T E"]
    value: Float[Array, "T E"]
    weight: Float[Array, "T E"]
    advantage: Float[Array, "T E"]
    target: Float[Array, "T E"]
    carry: Carry
    sampling_weight: Float[Array, "T E"] | None = None
