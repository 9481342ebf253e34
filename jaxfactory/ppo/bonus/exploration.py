"""Exploration bonuses in training: their state, advantages and gradient steps.

Everything is computed from a rollout, in compiled programs and with the parameters that
the update starts from, so it does not matter how old the policy was that collected it.
The value function of the bonuses is feed-forward, on the features of the policy's
encoder: values of newer parameters with the recurrent state of older ones diverge. The
bonuses reach the policy through the advantages alone; no gradient of their own losses
does.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, Key

from jaxfactory.config.network import BonusConfig
from jaxfactory.config.train import Config, PPOConfig
from jaxfactory.models import normalization
from jaxfactory.models.actor_critic import ActorCritic
from jaxfactory.ppo import finite
from jaxfactory.ppo.bonus import elliptical, perceptron
from jaxfactory.ppo.bonus.distillation import Distillation
from jaxfactory.ppo.bonus.returns import bonus_targets, fresh_stats, init_stats
from jaxfactory.ppo.bonus.state import BonusBatch, BonusState, ObsStats
from jaxfactory.ppo.optimizer import apply_gradients, make_optimizer
from jaxfactory.types import Metrics, Observation, Params, Rollout


# RND's predictor is trained on one in so many steps of each minibatch: it would
# otherwise learn faster than the policy, and cost as much as its update.
_EVERY = 4
_VALUE_UNITS = 128


class Exploration:
    """The bonuses of one training run, as functions of their state.

    Attributes:
        kinds: Their names, in the order of their arrays.
    """

    def __init__(
        self, network: ActorCritic, ppo: PPOConfig, bonus: BonusConfig, num_envs: int
    ):
        """Build the networks.

        Args:
            network: The policy's.
            ppo: Settings of the optimizer, the minibatches and the advantages.
            bonus: Settings of the bonuses; at least one is in use.
            num_envs: Environments of a rollout.
        """
        self.kinds = bonus.kinds
        self._network = network
        self._ppo = ppo
        self._bonus = bonus
        self._num_envs = num_envs
        self._distillation = None
        if "rnd" in self.kinds:
            spec = network.spec.observation
            self._distillation = Distillation(spec, network.config)
        self._optimizer = make_optimizer(ppo)
        self._observe = jax.jit(self._observe_part)
        self._prepare = jax.jit(self._prepare_all)
        self._train = jax.jit(self._train_step, donate_argnums=1)

    def init(self, key: Key[Array, ""], params: Params) -> BonusState:
        """Return the state before the first update.

        Args:
            key: A typed key, consumed here.
            params: The policy's parameters.
        """
        keys = jax.random.split(key, 3)
        size = self._num_features(params)
        trained = {
            "value": perceptron.init(keys[0], (size, _VALUE_UNITS, len(self.kinds)))
        }
        target, inverse = (), ()
        if self._distillation:
            trained["rnd"], target = self._distillation.init(keys[1])
        if "episodic" in self.kinds:
            action = self._network.spec.action
            trained["episodic"] = elliptical.init(keys[2], size, action)
            inverse = elliptical.initial_inverse(self._num_envs)
        return BonusState(
            params=trained,
            target=target,
            opt_state=self._optimizer.init(trained),
            features=fresh_stats(size),
            stats=init_stats(self._num_envs, len(self.kinds)),
            inverse=inverse,
        )

    def prepare(
        self,
        state: BonusState,
        params: Params,
        obs_stats: tuple[ObsStats, ObsStats],
        rollout: Rollout,
        advantage: Float[Array, "T B"],
        step: Int32[Array, ""],
    ) -> tuple[Float[Array, "T B"], BonusState, BonusBatch, Metrics]:
        """Compute a rollout's bonuses and add their advantage to the rewards' own.

        Args:
            state: The bonuses' state.
            params: The policy's parameters.
            obs_stats: Statistics of observations: those that the policy acted with, and
                those that include this rollout.
            rollout: The rollout.
            advantage: Of the rewards.
            step: Number of the update.

        Returns:
            ``(advantage, state, batch, metrics)``.
        """
        size = rollout.reward.shape[1] // self._ppo.num_minibatches
        seen = []
        for start in range(0, rollout.reward.shape[1], size):
            rows = slice(start, start + size)
            part = jax.tree.map(lambda x, rows=rows: x[:, rows], rollout.obs)
            seen.append(
                self._observe(params, state.params, state.target, obs_stats, part)
            )
        steps = (rollout.is_first, rollout.action, advantage, step)
        advantage, state, batch, metrics = self._prepare(state, tuple(seen), *steps)
        batch = BonusBatch(obs=rollout.obs, obs_stats=obs_stats[1], **batch)
        return advantage, state, batch, metrics

    def train(
        self,
        state: BonusState,
        batch: BonusBatch,
        envs: Int32[Array, "E"] | None,
        learning_rate: Float[Array, ""],
    ) -> tuple[BonusState, Metrics]:
        """Take a gradient step; it donates the optimizer's state.

        Args:
            state: The bonuses' state.
            batch: What `prepare` returned.
            envs: Environments of the minibatch; None for all.
            learning_rate: As for the policy.
        """
        params, opt_state, metrics = self._train(
            state.params, state.opt_state, batch, envs, learning_rate
        )
        return state._replace(params=params, opt_state=opt_state), metrics

    def _num_features(self, params: Params) -> int:
        spec = self._network.spec.observation
        obs = {
            name: jnp.zeros((1, 1, *shape), jnp.uint8 if name == "image" else None)
            for name, shape in spec.shapes.items()
        }
        stats = normalization.init_normalizer(spec).obs

        def encode() -> Array:
            return self._network.encode(params, self._network.normalize(obs, stats))

        return jax.eval_shape(encode).shape[-1]

    def _observe_part(
        self,
        params: Params,
        trained: Params,
        target: Params,
        obs_stats: tuple[ObsStats, ObsStats],
        obs: Observation,
    ) -> tuple[Array, Any, Any]:
        """Return the encoder's features; RND's target features and errors, or ()."""
        network, rnd = self._network, self._distillation
        encoded = network.encode(params, network.normalize(obs, obs_stats[0]))
        if rnd is None:
            return encoded, (), ()
        seen = rnd.normalize(obs, obs_stats[1])
        distilled = rnd.target(target, seen)
        return encoded, distilled, rnd.error(trained["rnd"], seen, distilled)

    def _prepare_all(
        self,
        state: BonusState,
        seen: tuple[Any, ...],
        is_first: Array,
        action: Array,
        advantage: Array,
        step: Array,
    ) -> tuple[Array, BonusState, dict[str, Any], Metrics]:
        encoded, distilled, error = jax.tree.map(
            lambda *parts: jnp.concatenate(parts, 1), *seen
        )
        features = normalization.update(state.features, encoded[:-1], (0, 1))
        encoded = normalization.normalize(encoded, features)
        bonus, ends, inverse = {}, {}, state.inverse
        if "rnd" in self.kinds:
            # Burda et al., section 2.3: the agent knows no ends of episodes here, or
            # it would avoid the risk of exploring.
            bonus["rnd"], ends["rnd"] = error[1:], jnp.zeros_like(is_first[1:])
        if "episodic" in self.kinds:
            phi = elliptical.embed(state.params["episodic"], encoded)
            bonus["episodic"], inverse = elliptical.bonuses(phi, is_first, inverse)
            ends["episodic"] = is_first[1:]
        computed, stats = bonus_targets(
            jnp.stack([bonus[kind] for kind in self.kinds], -1),
            perceptron.apply(state.params["value"], encoded),
            jnp.stack([ends[kind] for kind in self.kinds], -1),
            state.stats,
            gamma=self._bonus.bonus_gamma,
            gae_lambda=self._ppo.gae_lambda,
        )
        metrics = {
            **{f"bonus_{kind}": bonus[kind].mean() for kind in self.kinds},
            "bonus_mean": computed.bonus.sum(-1).mean(),
            "bonus_advantage_std": computed.advantage.std(),
            "bonus_explained_variance": computed.explained_variance,
        }
        batch = {
            "distilled": distilled,
            "encoded": encoded,
            "action": action,
            "is_first": is_first,
            "target": computed.target,
            "offset": step % _EVERY,
        }
        features, stats, inverse = finite.or_old(
            (features, stats, inverse), (state.features, state.stats, state.inverse)
        )
        state = state._replace(features=features, stats=stats, inverse=inverse)
        advantage = advantage + self._bonus.bonus_coef * computed.advantage
        return advantage, state, batch, metrics

    def _train_step(
        self,
        params: Params,
        opt_state: Any,
        batch: BonusBatch,
        envs: Array | None,
        learning_rate: Array,
    ) -> tuple[Params, Any, Metrics]:
        if envs is None:
            envs = jnp.arange(self._num_envs)
        grads, losses = jax.grad(self._loss, has_aux=True)(params, batch, envs)
        new = apply_gradients(self._optimizer, params, opt_state, grads, learning_rate)
        squares = [jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads)]
        first = finite.first_nonfinite(sum(losses.values()), squares, new[0])
        params, opt_state = finite.choose(first == 0, new, (params, opt_state))
        skipped = (first > 0).astype(jnp.float32)
        return params, opt_state, {**losses, f"bonus_{finite.SKIPPED}": skipped}

    def _loss(
        self, params: Params, batch: BonusBatch, envs: Array
    ) -> tuple[Array, Metrics]:
        num_steps = batch.target.shape[0]
        encoded = batch.encoded[:, envs]
        value = perceptron.apply(params["value"], encoded[:-1])
        loss = 0.5 * jnp.square(value - batch.target[:, envs]).mean()
        metrics = {"bonus_value_loss": loss}
        if self._distillation:
            count = max(num_steps // _EVERY, 1)
            times = (batch.offset + _EVERY * jnp.arange(count)) % num_steps + 1
            at = (times[:, None], envs[None, :])
            obs = jax.tree.map(lambda x: jnp.asarray(x)[at], batch.obs)
            obs = self._distillation.normalize(obs, batch.obs_stats)
            error = self._distillation.error(params["rnd"], obs, batch.distilled[at])
            metrics["rnd_loss"] = error.mean()
            loss = loss + metrics["rnd_loss"]
        if "episodic" in self.kinds:
            metrics["inverse_loss"] = elliptical.inverse_loss(
                params["episodic"],
                encoded,
                batch.action[:, envs],
                batch.is_first[:, envs],
                self._network.distribution,
            )
            loss = loss + metrics["inverse_loss"]
        return loss, metrics


def make_exploration(
    network: ActorCritic, config: Config, num_envs: int | None = None
) -> Exploration | None:
    """Return the bonuses of a training run; None without any.

    Args:
        network: The policy's.
        config: Settings of the run.
        num_envs: Environments of a rollout, if they are not all of the run's.
    """
    if not config.intrinsic.kinds:
        return None
    rows = config.env.num_envs if num_envs is None else num_envs
    return Exploration(network, config.ppo, config.intrinsic, rows)
