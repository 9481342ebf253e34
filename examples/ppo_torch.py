"""Use the pool with another trainer: PPO in PyTorch, in one file.

It uses Gymnasium's vector interface only; jaxfactory is imported to register its
environments::

    pip install torch
    python examples/ppo_torch.py --env jaxfactory/Basic-v0 --total-steps 200000

Images go through a small convolutional network, vectors through two dense layers.
Environments reset within a step (autoreset mode SAME_STEP); truncated episodes are
bootstrapped from ``info["final_obs"]``.
"""

import argparse
import time
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from torch import nn
from torch.distributions import Categorical

import jaxfactory  # noqa: F401 - registers its environments


class Agent(nn.Module):
    """A policy of one categorical head, and a value."""

    def __init__(self, observation: tuple[int, ...], num_actions: int):
        super().__init__()
        if len(observation) == 3:
            height, width, channels = observation
            convolutions = nn.Sequential(
                nn.Conv2d(channels, 16, 8, 4), nn.ReLU(),
                nn.Conv2d(16, 32, 4, 2), nn.ReLU(), nn.Flatten(),
            )  # fmt: skip
            with torch.no_grad():
                size = convolutions(torch.zeros(1, channels, height, width)).shape[1]
            self.body = nn.Sequential(convolutions, nn.Linear(size, 256), nn.ReLU())
        else:
            (size,) = observation
            self.body = nn.Sequential(
                nn.Linear(size, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh()
            )
        self.policy, self.value = nn.Linear(256, num_actions), nn.Linear(256, 1)
        nn.init.orthogonal_(self.policy.weight, 0.01)

    def forward(self, obs: torch.Tensor) -> tuple[Categorical, torch.Tensor]:
        """Return the distribution over actions and the value, ``[B]``."""
        if obs.ndim == 4:
            obs = obs.permute(0, 3, 1, 2) / 255.0
        features = self.body(obs.float())
        return Categorical(logits=self.policy(features)), self.value(features)[:, 0]


def final_values(agent: Agent, info: dict[str, Any], truncated: np.ndarray):
    """Return the value of each truncated episode's final observation, 0 elsewhere."""
    values = torch.zeros(len(truncated))
    rows = np.flatnonzero(truncated)
    if len(rows):
        last = np.stack([info["final_obs"][row] for row in rows])
        values[rows] = agent(torch.as_tensor(last))[1]
    return values


def train(options: argparse.Namespace) -> list[float]:
    """Train, print a line per update, and return the episodes' returns."""
    torch.manual_seed(options.seed)
    envs = RecordEpisodeStatistics(
        gymnasium.make_vec(options.env, num_envs=options.num_envs)
    )
    mode = envs.metadata["autoreset_mode"]
    if mode is not gymnasium.vector.AutoresetMode.SAME_STEP:
        raise SystemExit(f"{options.env} has autoreset mode {mode}, not SAME_STEP")
    agent = Agent(envs.single_observation_space.shape, int(envs.single_action_space.n))
    optimizer = torch.optim.Adam(agent.parameters(), options.learning_rate, eps=1e-5)
    obs, _ = envs.reset(seed=options.seed)
    returns: list[float] = []
    started, steps = time.perf_counter(), 0
    while steps < options.total_steps:
        batch: dict[str, list] = {
            name: []
            for name in ("obs", "action", "log_prob", "value", "reward", "ended", "end")
        }
        with torch.no_grad():
            for _ in range(options.num_steps):
                policy, value = agent(torch.as_tensor(obs))
                action = policy.sample()
                batch["obs"].append(torch.as_tensor(obs))
                obs, reward, terminated, truncated, info = envs.step(action.numpy())
                ended = terminated | truncated
                batch["action"].append(action)
                batch["log_prob"].append(policy.log_prob(action))
                batch["value"].append(value)
                batch["reward"].append(torch.as_tensor(reward, dtype=torch.float32))
                batch["ended"].append(torch.as_tensor(ended))
                batch["end"].append(final_values(agent, info, truncated))
                if ended.any():
                    returns += info["episode"]["r"][ended].tolist()
            after = agent(torch.as_tensor(obs))[1]
        rollout = {name: torch.stack(rows) for name, rows in batch.items()}
        loss = update(agent, optimizer, rollout, after, options)
        steps += options.num_steps * options.num_envs
        rate = steps / (time.perf_counter() - started)
        mean = np.mean(returns[-100:]) if returns else np.nan
        print(f"{steps} steps, {rate:.0f}/s, return {mean:.3f}, loss {loss:.4f}")
    envs.close()
    return returns


def advantages(rollout: dict[str, torch.Tensor], after: torch.Tensor, options):
    """Return generalized advantage estimates (arXiv:1506.02438), ``[T, B]``."""
    result, next_value = torch.zeros_like(rollout["reward"]), after
    running = torch.zeros_like(after)
    for t in reversed(range(len(result))):
        going = (~rollout["ended"][t]).float()
        # The next value: that of the next step, or of a truncated episode's end.
        follows = going * next_value + rollout["end"][t]
        error = rollout["reward"][t] + options.gamma * follows - rollout["value"][t]
        running = error + options.gamma * options.gae_lambda * going * running
        result[t], next_value = running, rollout["value"][t]
    return result


def update(agent, optimizer, rollout, after, options) -> float:
    """Run PPO's epochs over a rollout (arXiv:1707.06347); return the last loss."""
    advantage = advantages(rollout, after, options)
    target = (advantage + rollout["value"]).flatten()
    advantage = advantage.flatten()
    obs = rollout["obs"].flatten(0, 1)
    action = rollout["action"].flatten()
    old_log_prob = rollout["log_prob"].flatten()
    for _ in range(options.num_epochs):
        for rows in torch.randperm(len(target)).chunk(options.num_minibatches):
            policy, value = agent(obs[rows])
            ratio = torch.exp(policy.log_prob(action[rows]) - old_log_prob[rows])
            chosen = advantage[rows]
            chosen = (chosen - chosen.mean()) / (chosen.std() + 1e-8)
            clipped = ratio.clamp(1 - options.clip_eps, 1 + options.clip_eps)
            policy_loss = -torch.min(ratio * chosen, clipped * chosen).mean()
            value_loss = 0.5 * (value - target[rows]).square().mean()
            loss = policy_loss + value_loss - options.ent_coef * policy.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()
    return loss.item()


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--env", default="jaxfactory/Basic-v0")
    parser.add_argument("--num-envs", type=int, default=32)
    parser.add_argument("--num-steps", type=int, default=32)
    parser.add_argument("--total-steps", type=int, default=200_000)
    parser.add_argument("--num-minibatches", type=int, default=4)
    parser.add_argument("--num-epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--gamma", type=float, default=0.99)
    parser.add_argument("--gae-lambda", type=float, default=0.95)
    parser.add_argument("--clip-eps", type=float, default=0.2)
    parser.add_argument("--ent-coef", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    train(parse())
