"""Worker of scaling.py: updates and their collectives, in one of several processes.

It counts the bytes in the compiled programs, times updates, and times programs that do
nothing but an update's collectives.
"""

import argparse
import json
import math
import re
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxfactory._util import jax_setup


jax_setup.configure()

import jax  # noqa: E402 - the flags come first
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from common.random_rollout import random_rollout  # noqa: E402
from jax import lax  # noqa: E402

from jaxfactory.config.presets import PRESETS  # noqa: E402
from jaxfactory.config.train import PPOConfig  # noqa: E402
from jaxfactory.distributed import runtime  # noqa: E402
from jaxfactory.distributed.devices import AXIS, ONE_DEVICE, ROWS, SAME  # noqa: E402
from jaxfactory.distributed.gang import Gang  # noqa: E402
from jaxfactory.distributed.many_devices import ManyDevices  # noqa: E402
from jaxfactory.distributed.team import SOLO, Together  # noqa: E402
from jaxfactory.models.actor_critic import ActorCritic  # noqa: E402
from jaxfactory.ppo.learner import init_train_state, make_update  # noqa: E402
from jaxfactory.types import (  # noqa: E402
    ActionSpec,
    EnvSpec,
    ObservationSpec,
    Rollout,
)


STEPS, ACTIONS = 32, 5
_BYTES = {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "u8": 1, "s8": 1, "pred": 1}
_COLLECTIVE = re.compile(r"= (.*?) (all-reduce|reduce-scatter)(?:-start)?\(")
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")
# Collectives of one number or a few: their bytes are nothing, but not their time.
_SMALL = 4096


class Collective(NamedTuple):
    """One collective of a program.

    Attributes:
        kind: ``"all-reduce"`` or ``"reduce-scatter"``.
        nbytes: Size of what each device puts in.
    """

    kind: str
    nbytes: int


def collectives(text: str, count: int) -> list[Collective]:
    """Return the collectives in the text of a compiled program.

    Args:
        text: HLO, with a collective's result as ``f32[3,4]{1,0} all-reduce(``.
        count: Devices. A device receives one part in so many of a reduce-scatter.
    """
    found = []
    for result, kind in _COLLECTIVE.findall(text):
        size = sum(
            _BYTES[name] * math.prod(int(n) for n in shape.split(",") if n)
            for name, shape in _SHAPE.findall(result)
        )
        found.append(Collective(kind, size * (count if kind != "all-reduce" else 1)))
    return found


class Watched(ManyDevices):
    """Devices that remember the collectives of each call."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.called: list[Collective] = []

    def _on(self, *args: Any) -> Any:
        return _Program(super()._on(*args), self)


class _Program:
    def __init__(self, program: Any, devices: Watched) -> None:
        self._program, self._devices = program, devices
        self._found: list[Collective] | None = None

    def lower(self, *args: Any) -> Any:
        return self._program.lower(*args)

    def __call__(self, *args: Any) -> Any:
        if self._found is None:
            text = self._program.lower(*args).compile().as_text()
            self._found = collectives(text, self._devices.count)
        self._devices.called += self._found
        return self._program(*args)


def make_rollout(network: ActorCritic, envs: int, seed: int) -> Rollout:
    """Return random numbers in the place of a rollout."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (STEPS + 1, envs, 72, 128, 3), np.uint8)
    carry = jax.tree.map(np.asarray, network.initial_carry(envs))
    return random_rollout(pixels, carry, ACTIONS, rng)


def timed(call: Callable[[], Any], rounds: int) -> float:
    """Return the median seconds of a call, after two that are not counted."""
    seconds = []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])


def alone(devices: ManyDevices, one: Collective, rounds: int) -> float:
    """Return the seconds of a collective in a program of its own."""
    size = max(one.nbytes // 4, 1)
    if one.kind == "all-reduce":
        sum_up = devices.program(lambda x: lax.psum(x, AXIS), (SAME,), SAME)
    else:
        size = -(-size // devices.count) * devices.count

        def scatter(x: jax.Array) -> jax.Array:
            return lax.psum_scatter(x, AXIS, scatter_dimension=0, tiled=True)

        sum_up = devices.program(scatter, (SAME,), ROWS)
    numbers = devices.enter(jnp.zeros(size, jnp.float32))
    return timed(lambda: sum_up(numbers), rounds)


def measure(options: argparse.Namespace, team: Together) -> dict[str, Any]:
    """Return what is measured in this process."""
    spec = EnvSpec(ObservationSpec(image=(72, 128, 3)), ActionSpec((ACTIONS,)))
    network = ActorCritic(spec, PRESETS["default"].network)
    count = options.devices * team.count
    devices = Watched(options.devices, 1, team) if count > 1 else ONE_DEVICE
    rollout = make_rollout(network, options.envs, team.number)
    found: dict[str, Any] = {"precision": network.precision}
    for minibatches in (1, 4):
        ppo = PPOConfig(num_steps=STEPS, num_minibatches=minibatches, num_epochs=2)
        state = init_train_state(network, ppo, jax.random.key(0))
        update = make_update(network, ppo, devices=devices)

        def whole(state: Any = state, update: Any = update) -> Any:
            opt_state = jax.tree.map(jnp.copy, state.opt_state)  # It is donated.
            return update(state._replace(opt_state=opt_state), rollout)[0].params

        called: list[Collective] = []
        if isinstance(devices, Watched):
            whole()
            devices.called.clear()
            whole()
            called = list(devices.called)
        found[str(minibatches)] = {
            "update_seconds": timed(whole, options.rounds),
            "collective_seconds": _seconds(devices, called, options.rounds),
            "collectives": len(called),
            "all_reduce_bytes": _total(called, "all-reduce"),
            "reduce_scatter_bytes": _total(called, "reduce-scatter"),
        }
    return found


def _seconds(devices: Any, called: list[Collective], rounds: int) -> float:
    """Return the seconds of an update's collectives, each kind timed alone."""
    # In the same order in all processes.
    sized = [
        one if one.nbytes > _SMALL else Collective("all-reduce", 4) for one in called
    ]
    kinds = {one: alone(devices, one, rounds) for one in sorted({*sized})}
    return sum(kinds[one] for one in sized)


def _total(called: list[Collective], kind: str) -> int:
    return sum(one.nbytes for one in called if one.kind == kind)


def main() -> None:
    """Measure; process 0 prints a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--coordinator", default="")
    parser.add_argument("--num-processes", type=int, default=1)
    parser.add_argument("--process-id", type=int, default=0)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--envs", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    if options.num_processes == 1:
        print(json.dumps(measure(options, SOLO)), flush=True)
        return
    gang = Gang(options.coordinator, options.num_processes, options.process_id)
    with runtime.team_of(gang, 600.0) as team:
        found = measure(options, team)
        if team.number == 0:
            print(json.dumps(found), flush=True)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
