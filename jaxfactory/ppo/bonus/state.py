"""The data of the exploration bonuses."""

from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float, Int32, Shaped

from jaxfactory.models.normalization import RunningStats
from jaxfactory.ppo.bonus.returns import BonusStats
from jaxfactory.types import Observation, Params


# Statistics of each part of an observation, as in `Normalizer`.
ObsStats = dict[str, RunningStats]


class BonusState(NamedTuple):
    """What the bonuses remember from rollout to rollout; part of the training state.

    Attributes:
        params: Trained parameters by the name of their network.
        target: Parameters of RND's fixed network; () without it.
        opt_state: The optimizer's state.
        features: Statistics of the encoder's features, which normalize them.
        stats: Statistics of bonuses and of their returns.
        inverse: Inverse covariance of each environment's episode so far, float32
            ``[B, F, F]``; () without the episodic bonus.
    """

    params: Params
    target: Params
    opt_state: Any
    features: RunningStats
    stats: BonusStats
    inverse: Any


class BonusBatch(NamedTuple):
    """What the gradient steps of an update need.

    Attributes:
        obs: Observations of the rollout, as the environment returned them.
        obs_stats: Statistics to normalize them with.
        distilled: Features of RND's fixed network; () without it.
        encoded: Normalized features of the policy's encoder.
        action: Actions of the rollout.
        is_first: Whether an observation opens an episode.
        target: Value targets, normalized.
        offset: The first of the steps that RND's predictor is trained on.
    """

    obs: Observation
    obs_stats: ObsStats
    distilled: Any
    encoded: Float[Array, "T+1 B E"]
    action: Shaped[Array, "T B A"]
    is_first: Bool[Array, "T+1 B"]
    target: Float[Array, "T B K"]
    offset: Int32[Array, ""]
