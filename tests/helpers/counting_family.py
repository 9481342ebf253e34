"""A third family of environments: counts steps and pays for the action 1."""

import dataclasses
from fractions import Fraction

import numpy as np

from jaxfactory.config.env import EnvConfig
from jaxfactory.envs.family import Replay, ReplayFrame
from jaxfactory.envs.step import make_arrays, view
from jaxfactory.spec import ActionSpec, EnvSpec, ObservationSpec


PREFIX = "count:"
SPEC = EnvSpec(ObservationSpec(None, 1), ActionSpec((2,), (("A", "B"),)))


@dataclasses.dataclass(frozen=True)
class Resolved:
    config: EnvConfig
    spec: EnvSpec = SPEC

    def map_file(self):
        return None

    def map_notes(self, used, trained):
        return []

    def map_warning(self):
        return ""


class CountingPool:
    """Episodes of as many steps as the name says; all end together; one group."""

    match = None
    spec = SPEC

    def __init__(self, environment, seed=0, num_steps=8, num_slabs=2, **_):
        config = environment.config
        self.length = int(config.scenario.removeprefix(PREFIX))
        self.num_envs, self.num_groups = config.num_envs, 1
        self.frame_skip = config.frame_skip
        self.num_steps, self.num_slabs = num_steps, num_slabs
        self.seeds = (seed,) * self.num_envs
        self.arrays = make_arrays(SPEC, num_slabs, num_steps + 1, self.num_envs)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def rows(self, group):
        return slice(0, self.num_envs)

    def slab(self, index):
        return {
            name: array[index]
            for name, array in self.arrays.items()
            if not name.startswith("final_")
        }

    def start(self):
        pass

    def reset(self, env_seeds=None):
        self.steps, self.returns = 0, np.zeros(self.num_envs)
        return self.write(0, 0, np.zeros(self.num_envs))

    def step(self, actions):
        self.send(0, actions)
        return self.recv(0)

    def send(self, group, actions):
        self.actions = actions

    def recv(self, group):
        done, slot = divmod(self.steps, self.num_steps)
        self.steps += 1
        return self.write(done % self.num_slabs, slot + 1, self.actions[:, 0])

    def write(self, slab, slot, reward):
        self.returns += reward
        ended = self.steps % self.length == 0
        for name, value in {
            "measurements": (self.steps % self.length), "is_first": ended,
            "reward": reward, "raw_reward": reward, "terminated": ended and self.steps,
            "episode_raw_return": self.returns, "episode_shaped_return": self.returns,
            "episode_length": (self.steps - 1) % self.length + 1,
        }.items():  # fmt: skip
            at = self.arrays[name][slab, slot]
            at[:] = value[:, None] if np.ndim(value) and at.ndim > 1 else value
        if ended:
            self.returns = np.zeros(self.num_envs)
        return view(self.arrays, slab, slot, slice(None))


class CountingFamily:
    def find(self, scenario):
        return None

    def check(self, config, *, video=False):
        pass

    def resolve(self, config, scenario=None):
        return Resolved(config)

    def make_pool(self, environment, **options):
        return CountingPool(environment, **options)

    def env_seeds(self, seed, num_envs):
        return [seed] * num_envs

    def complete(self, scenario, num_envs, frame_skip, fields):
        return EnvConfig(
            scenario=scenario, num_envs=num_envs, num_groups=1, frame_skip=1, **fields
        )

    def with_num_envs(self, config, num_envs, scenario=None):
        return dataclasses.replace(config, num_envs=num_envs, num_groups=1)

    def replay(self, config, seed, actions, lengths, scenario=None):
        image = np.zeros((64, 64, 3), np.uint8)
        end = (lengths[0], float(actions[:, 0].sum()))
        frames = [ReplayFrame(image)] * len(actions) + [ReplayFrame(image, end)]
        return Replay(iter(frames), Fraction(10), len(frames))

    def reference(self, scenario):
        return scenario

    def is_installed(self, scenario):
        return True

    def agent_id(self, scenario):
        return scenario.replace(":", "-")


FAMILY = CountingFamily()
