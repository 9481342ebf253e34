"""Create the checkpoints that the tests import, with Sample Factory itself.

Run it in an environment with sample-factory and PyTorch; jaxfactory is not needed:

    python scripts/make_sample_factory_checkpoint.py FOLDER [NAME ...]

Each experiment has a narrow network of Sample Factory's own layers, statistics of
synthetic observations, and a few optimizer steps. Sample Factory's learner saves it;
answers.npz has the network's outputs for some observations and hidden states.
"""

import json
import sys
from itertools import pairwise
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from sample_factory.algo.learning.learner import Learner
from sample_factory.algo.utils.env_info import EnvInfo
from sample_factory.algo.utils.model_sharing import ParameterServer
from sample_factory.algo.utils.rl_utils import prepare_and_normalize_obs
from sample_factory.model import encoder as sf_encoder
from sample_factory.model.model_utils import create_mlp, get_rnn_size, nonlinearity
from sample_factory.pbt.population_based_training import (
    HYPERPARAMS_TO_TUNE,
    policy_cfg_file,
)
from sample_factory.utils.attr_dict import AttrDict
from sf_examples.vizdoom.doom import doom_utils
from sf_examples.vizdoom.doom.doom_model import VizdoomEncoder
from sf_examples.vizdoom.train_vizdoom import (
    parse_vizdoom_cfg,
    register_vizdoom_components,
)
from torch import nn


NUM_MEASUREMENTS = 23
NUM_STEPS, NUM_ENVS = 3, 2
COMMON = [
    "--device=cpu",
    "--batch_size=64",
    "--rollout=16",
    "--rnn_size=16",
    "--seed=1",
]
# Two convolutions, so that the image can be small and its flattened features still
# have two rows and three columns.
SMALL = ["--encoder_conv_architecture=convnet_impala", "--res_w=36", "--res_h=28"]
SMALLER = [SMALL[0], "--res_w=28", "--res_h=20"]
SIMPLE = ["--encoder_conv_architecture=convnet_simple", "--res_w=36", "--res_h=36"]
EXPERIMENTS = {
    "gru": [
        "--env=doom_health_gathering_supreme", *SMALL, "--gamma=0.97",
        "--learning_rate=0.0002", "--value_bootstrap=True",
    ],
    "lstm": [
        "--env=doom_my_way_home", *SMALLER, "--rnn_type=lstm", "--nonlinearity=relu",
        "--normalize_input=False", "--obs_subtract_mean=100", "--obs_scale=50",
        "--normalize_returns=False", "--exploration_loss=entropy",
    ],
    "measurements": [
        "--env=doom_battle", *SMALLER, "--use_rnn=False", "--reward_scale=0.5",
        "--obs_subtract_mean=128", "--obs_scale=128", "--decoder_mlp_layers", "12", "8",
    ],
    # The layouts of the course's two agents.
    "health": [
        "--env=doom_health_gathering_supreme", *SIMPLE, "--rnn_type=lstm",
        "--rnn_size=8",
    ],
    "deathmatch": [
        "--env=doom_deathmatch_bots", *SIMPLE, "--rnn_type=lstm", "--rnn_size=8",
        "--env_frameskip=2", "--decoder_mlp_layers", "12",
    ],
    "resnet": [
        "--env=doom_health_gathering_supreme", "--rnn_size=8", "--res_w=22",
        "--encoder_conv_architecture=resnet_impala", "--res_h=13",
        "--encoder_conv_mlp_layers", "14", "10",
    ],
    "separate": [
        "--env=doom_battle", *SMALLER, "--rnn_size=8", "--rnn_num_layers=2",
        "--actor_critic_share_weights=False", "--decoder_mlp_layers", "12",
    ],
    "layers": [
        "--env=doom_my_way_home", *SMALLER, "--rnn_type=lstm", "--rnn_size=8",
        "--rnn_num_layers=3", "--nonlinearity=tanh",
    ],
    "pbt": [
        "--env=doom_health_gathering_supreme", *SMALLER, "--rnn_size=4",
        "--num_policies=3", "--with_pbt=True",
    ],
}  # fmt: skip
# What config.json was called until 2023.
OLD_CONFIG = ("health", "deathmatch")
# Until mid-2023 the encoder did not find the measurements of newer Gymnasiums.
WITHOUT_HEAD = ("deathmatch",)
# What each policy saves, after one step of the optimizer each: its last checkpoints, or
# its best with a mean reward. The answers are those of the best of all.
SAVED: dict[str, list[list[float | None]]] = {
    "health": [[6.5, None, None]],
    "deathmatch": [[31.25, None]],
    "pbt": [[3.0], [12.5], [9.75, None]],
}


class NarrowEncoder(VizdoomEncoder):
    """Sample Factory's encoder for Doom, with fewer channels and units."""

    def __init__(self, cfg: AttrDict, obs_space: gym.spaces.Dict) -> None:
        super().__init__(cfg, obs_space)
        narrow = {"resnet_impala": self._residual, "convnet_simple": self._simple}
        kind = cfg.encoder_conv_architecture
        narrow.get(kind, self._impala)(cfg, obs_space["obs"].shape)
        if cfg.experiment in WITHOUT_HEAD:
            self.measurements_head = None
        if self.measurements_head is not None:
            self.measurements_head = nn.Sequential(
                nn.Linear(NUM_MEASUREMENTS, 10), nonlinearity(cfg),
                nn.Linear(10, 12), nonlinearity(cfg),
            )  # fmt: skip
            self.encoder_out_size += 12

    def _impala(self, cfg: AttrDict, shape: tuple[int, ...]) -> None:
        self._plain(cfg, shape, [[3, 4, 8, 4], [4, 8, 4, 2]], 16)

    def _simple(self, cfg: AttrDict, shape: tuple[int, ...]) -> None:
        filters = [[3, 4, 8, 4], [4, 6, 4, 2], [6, 8, 3, 2]]
        self._plain(cfg, shape, filters, 12)

    def _plain(
        self, cfg: AttrDict, shape: tuple[int, ...], filters: list, units: int
    ) -> None:
        narrow = sf_encoder.ConvEncoderImpl(shape, filters, [units], nonlinearity(cfg))
        self.basic_encoder.enc = torch.jit.script(narrow)
        self.encoder_out_size = units

    def _residual(self, cfg: AttrDict, shape: tuple[int, ...]) -> None:
        encoder = self.basic_encoder
        # The same sequence of its layers, with other channels.
        layers: list[nn.Module] = []
        for before, after in pairwise([shape[0], 4, 6, 8]):
            layers += [
                nn.Conv2d(before, after, kernel_size=3, stride=1, padding=1),
                nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
                sf_encoder.ResBlock(cfg, after, after),
                sf_encoder.ResBlock(cfg, after, after),
            ]
        encoder.conv_head = nn.Sequential(*layers, nonlinearity(cfg))
        size = sf_encoder.calc_num_elements(encoder.conv_head, shape)
        encoder.conv_head_out_size = size
        units = cfg.encoder_conv_mlp_layers
        encoder.mlp_layers = create_mlp(units, size, nonlinearity(cfg))
        self.encoder_out_size = units[-1]


def observations(space: gym.spaces.Dict, count: int, seed: int) -> dict:
    """Return random observations; each element has its own mean and variance."""
    rng = np.random.default_rng(seed)
    image = space["obs"].shape
    center = np.random.default_rng(0).uniform(30, 220, image)
    obs = {"obs": rng.normal(center, 40, (count, *image)).clip(0, 255)}
    obs["obs"] = obs["obs"].astype(np.uint8)
    if "measurements" in space.spaces:
        scale = np.linspace(0.5, 4, NUM_MEASUREMENTS)
        shape = (count, NUM_MEASUREMENTS)
        obs["measurements"] = (scale * rng.gamma(2.0, size=shape)).astype(np.float32)
    return obs


def spaces(cfg: AttrDict) -> tuple[gym.spaces.Dict, gym.Space]:
    """Return the spaces of an environment without starting the engine."""
    spec = doom_utils.doom_env_by_name(cfg.env)
    shape = (3, cfg.res_h, cfg.res_w)
    parts = {"obs": gym.spaces.Box(0, 255, shape, np.uint8)}
    if spec.extra_wrappers and doom_utils.ADDITIONAL_INPUT in spec.extra_wrappers:
        parts["measurements"] = gym.spaces.Box(-50, 50, (NUM_MEASUREMENTS,), np.float32)
    return gym.spaces.Dict(parts), spec.action_space


def make(folder: Path, arguments: list[str]) -> None:
    """Create one experiment."""
    name = folder.name
    cfg = parse_vizdoom_cfg(
        [*COMMON, *arguments, f"--experiment={name}", f"--train_dir={folder.parent}"]
    )
    obs_space, _ = spaces(cfg)
    best, found = -1e9, {}
    for policy, saves in enumerate(SAVED.get(name, [[None]])):
        learner = made_learner(cfg, policy)
        for save in saves:
            train(learner, obs_space)
            if save is None:
                learner.save()
            else:
                learner.save_best(policy, "reward", np.float64(save))
            if not found or (save is not None and save > best):
                best = -1e9 if save is None else save
                found = answers(learner, obs_space, cfg)
    kept = {**vars(cfg), "train_dir": "train_dir"}
    for key in ("command_line", "cli_args", "git_hash", "git_repo_name"):
        kept.pop(key, None)
    config = "cfg.json" if name in OLD_CONFIG else "config.json"
    (folder / config).write_text(json.dumps(kept, indent=1) + "\n")
    if cfg.with_pbt:
        for policy in range(cfg.num_policies):
            names, factor = sorted(HYPERPARAMS_TO_TUNE), 1 + policy / 4
            own = {key: factor * getattr(cfg, key) for key in names}
            Path(policy_cfg_file(cfg, policy)).write_text(json.dumps(own))
    np.savez_compressed(folder / "answers.npz", **found)


def made_learner(cfg: AttrDict, policy: int = 0) -> Learner:
    """Return a learner with random weights and statistics."""
    obs_space, action_space = spaces(cfg)
    info = EnvInfo(obs_space, action_space, 1, False, False, None, True, 4)
    versions = torch.zeros(cfg.num_policies, dtype=torch.int32)
    server = ParameterServer(policy, versions, True)
    learner = Learner(cfg, info, versions, policy, server)
    learner.init()
    torch.manual_seed(3 + policy)
    for parameter in learner.actor_critic.parameters():  # Biases too.
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    learner.train_step, learner.env_steps = 6, 123_328
    return learner


def train(learner: Learner, obs_space: gym.spaces.Dict) -> None:
    """Take one optimizer step, and update the normalizers with observations."""
    model = learner.actor_critic
    model.train()
    obs = prepare_and_normalize_obs(model, observations(obs_space, 200, seed=1))
    if model.returns_normalizer is not None:
        model.returns_normalizer(3.0 + 2.0 * torch.randn(500))
    states = torch.zeros(200, get_rnn_size(learner.cfg))
    result = model(obs, states)
    loss = result["values"].square().mean() + result["action_logits"].square().mean()
    learner.optimizer.zero_grad()
    loss.backward()
    learner.optimizer.step()
    learner.train_step += 1
    learner.env_steps += 128


@torch.no_grad()
def answers(learner: Learner, obs_space: gym.spaces.Dict, cfg: AttrDict) -> dict:
    """Return observations, hidden states, and the network's outputs."""
    model = learner.actor_critic
    model.eval()
    rows = NUM_STEPS * NUM_ENVS
    obs = observations(obs_space, rows, seed=2)
    obs = {key: x.reshape(NUM_STEPS, NUM_ENVS, *x.shape[1:]) for key, x in obs.items()}
    states = 0.5 * torch.randn(NUM_ENVS, get_rnn_size(cfg))
    kept = {"rnn_states": [], "logits": [], "values": []}
    for step in range(NUM_STEPS):
        normalized = prepare_and_normalize_obs(
            model, {key: x[step] for key, x in obs.items()}
        )
        result = model(normalized, states)
        kept["rnn_states"].append(states.numpy())
        kept["logits"].append(result["action_logits"].numpy())
        kept["values"].append(result["values"].numpy())
        states = result["new_rnn_states"]
    kept["rnn_states"].append(states.numpy())
    found = {key: np.stack(x) for key, x in kept.items()}
    if model.returns_normalizer is not None:
        returns = torch.from_numpy(found["values"].copy())
        model.returns_normalizer(returns, denormalize=True)
        found["returns"] = returns.numpy()
    return {**obs, **found}


def main() -> None:
    """Create all experiments in the folder given on the command line."""
    from sample_factory.algo.utils.context import global_model_factory

    root, *names = sys.argv[1:]
    register_vizdoom_components()
    global_model_factory().register_encoder_factory(NarrowEncoder)
    for name in names or EXPERIMENTS:
        make(Path(root) / name, EXPERIMENTS[name])


if __name__ == "__main__":
    main()
