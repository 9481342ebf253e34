"""The elliptical bonus: for observations unlike the others of their episode.

Henaff et al., "Exploration via Elliptical Episodic Bonuses" (E3B, arXiv:2210.05805).
With features phi of unit length and the ridge of `RIDGE`, equation 1 of section 3:

    bonus[t] = phi[t]' C[t-1]^-1 phi[t],    C[t] = sum of phi phi' up to t + RIDGE * I

The features are those of an inverse-dynamics model, which predicts the action from the
observations before and after it: they retain what the agent's actions change, and not
what moves by itself. Theirs is a network of its own; here, it is a linear layer on the
features of the policy's encoder, because a second encoder would double the cost of an
update. No gradient of it reaches the encoder.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Key, Shaped

from jaxfactory.models.distributions import Distribution
from jaxfactory.ppo.bonus import perceptron
from jaxfactory.spec import ActionSpec
from jaxfactory.types import Params


# Length of the features phi.
FEATURES = 64
RIDGE = 0.1
_HIDDEN = 256


def init(key: Key[Array, ""], inputs: int, action: ActionSpec) -> Params:
    """Return parameters of the embedding and of the inverse-dynamics model."""
    outputs = sum(action.heads) + 2 * action.continuous
    one, other = jax.random.split(key)
    return {
        "embedding": perceptron.init(one, (inputs, FEATURES)),
        "inverse": perceptron.init(other, (2 * FEATURES, _HIDDEN, outputs)),
    }


def initial_inverse(num_envs: int) -> Float[Array, "B F F"]:
    """Return the inverse of C before an episode's first observation."""
    return jnp.broadcast_to(jnp.eye(FEATURES) / RIDGE, (num_envs, FEATURES, FEATURES))


def embed(params: Params, encoded: Float[Array, "T B E"]) -> Float[Array, "T B F"]:
    """Return the features phi, of unit length, of an encoder's features."""
    x = perceptron.apply(params["embedding"], encoded)
    return x * lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-12)


def bonuses(
    features: Float[Array, "S B F"],
    is_first: Bool[Array, "S B"],
    inverse: Float[Array, "B F F"],
) -> tuple[Float[Array, "S-1 B"], Float[Array, "B F F"]]:
    """Return the bonus of each step's next observation, and the inverse of C after it.

    An episode's first observation has no bonus, because no action of it led there.

    Args:
        features: Features phi of a rollout's S = T + 1 observations.
        is_first: Where an episode begins; C starts again there.
        inverse: Inverse of C after the rollout before, which includes observation 0
            unless that opens an episode.
    """
    identity = initial_inverse(is_first.shape[1])

    def step(before: Array, xs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        phi, first, counts = xs
        start = jnp.where(first[:, None, None], identity, before)
        # Sherman and Morrison's formula for a rank-one update of the inverse.
        moved = (start * phi[:, None, :]).sum(-1)
        bonus = (phi * moved).sum(-1)
        change = moved[:, :, None] * moved[:, None, :] / (1.0 + bonus)[:, None, None]
        after = jnp.where(counts[:, None, None], start - change, start)
        return after, jnp.where(first, 0.0, bonus)

    counts = jnp.ones_like(is_first).at[0].set(is_first[0])
    inverse, bonus = lax.scan(step, inverse, (features, is_first, counts))
    return bonus[1:], inverse


def inverse_loss(
    params: Params,
    encoded: Float[Array, "S E I"],
    action: Shaped[Array, "S-1 E A"],
    is_first: Bool[Array, "S E"],
    distribution: Distribution,
) -> Float[Array, ""]:
    """Return minus the mean log-probability of the actions, given what they changed.

    Args:
        params: What `init` returns.
        encoded: The encoder's features of all S = T + 1 observations.
        action: The actions between them.
        is_first: Where an episode begins; no action led there.
        distribution: Of actions.
    """
    features = embed(params, encoded)
    pairs = jnp.concatenate([features[:-1], features[1:]], -1)
    logits = perceptron.apply(params["inverse"], pairs)
    inside = 1.0 - is_first[1:].astype(jnp.float32)
    log_prob = distribution.log_prob(logits, action) * inside
    return -log_prob.sum() / jnp.maximum(inside.sum(), 1.0)
