"""Settings of the environments: observations, stepping, rewards."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jaxfactory._util.errors import UserError
from jaxfactory.config import families, validation


# Sizes that the engine can render; for any other it falls back to one of them.
SCREEN_SIZES = (
    (160, 120), (200, 125), (200, 150), (256, 144), (256, 160), (256, 192), (320, 180),
    (320, 200), (320, 240), (320, 256), (400, 225), (400, 250), (400, 300), (512, 288),
    (512, 320), (512, 384), (640, 360), (640, 400), (640, 480), (800, 450), (800, 500),
    (800, 600), (1024, 576), (1024, 640), (1024, 768), (1280, 720), (1280, 800),
    (1280, 960), (1280, 1024), (1400, 787), (1400, 875), (1400, 1050), (1600, 900),
    (1600, 1000), (1600, 1200), (1920, 1080),
)  # fmt: skip
_WIDE = (256, 144)
_MAX_IMAGE_SIDE = 4096.0
# The engine's queue holds 64 messages.
_MAX_QUEUED_TICS = 32
# Larger values are mistakes.
MAX_ENVS = 65_536
_MAX_WORKERS = 4_096
_MAX_FRAME_SKIP = 1_024
_MAX_FRAME_STACK = 64
_MAX_TICS = 2**30  # The engine counts tics in 32 bits.
_MAX_PLAYERS = 1_024


def _check_screen(width: int, height: int) -> None:
    if (width, height) in SCREEN_SIZES:
        return
    near = min(
        SCREEN_SIZES, key=lambda size: abs(size[0] - width) + abs(size[1] - height)
    )
    raise UserError(
        f"the engine cannot render {width}x{height} (--screen-width, --screen-height); "
        f"the nearest supported size is {near[0]}x{near[1]}"
    )


@dataclass(frozen=True, kw_only=True)
class EnvConfig:
    """Settings of the environments and of the pool that steps them.

    Examples:
        >>> EnvConfig(scenario="basic", num_envs=4).frame_skip
        4
        >>> EnvConfig(num_envs=3)
        Traceback (most recent call last):
        jaxfactory.UserError: --num-envs 3 must be a multiple of --num-groups...
    """

    scenario: str = "health_gathering_supreme"
    """A built-in scenario (see `jaxfactory scenarios`), the path of a .cfg file, your
    own scenario as package.module:NAME or file.py:NAME, or any Gymnasium environment,
    for example gymnasium:CartPole-v1 (alias: --env)."""
    map: str | None = None
    """Map file (.wad or .pk3) to use instead of the scenario's own."""
    num_envs: int = 64
    """Environments stepped in parallel, one engine process each, or auto."""
    num_groups: int = 2
    """Groups of environments for double-buffered sampling: one group steps while the
    policy acts for another."""
    num_workers: int = 0
    """Worker threads that step the engines: 0 for one per core, or auto."""
    frame_skip: int = 4
    """Frames (Doom tics, or steps of a Gymnasium environment) that each action is
    repeated for."""
    tics: Literal["exact", "queued"] = "exact"
    """exact waits for each tic, as DoomGame does. queued sends all tics of a step at
    once: faster, but after a death the rest of the step still runs."""
    engine: Literal["tuned", "stock"] = "tuned"
    """tuned replaces the engine's slowest loop in memory by a faster one with the same
    results; stock runs the engine as shipped."""
    engine_tics: int = 1_000_000
    """Replace each engine once it has played so many tics, or down to half as many,
    at the end of an episode: engines slowly need more memory. 0 for never."""
    width: int = 128
    """Image width of the observation in pixels."""
    height: int = 72
    """Image height of the observation in pixels."""
    screen_width: int = 160
    """Width in pixels at which the engine renders."""
    screen_height: int = 120
    """Height in pixels at which the engine renders."""
    wide: bool = False
    """Render at 256x144, the aspect ratio of the observation, instead of 160x120."""
    grayscale: bool = False
    """Observe one gray channel instead of RGB."""
    depth: bool = False
    """Append the depth buffer as a channel."""
    labels: bool = False
    """Append the labels buffer (one value per visible object) as a channel."""
    automap: bool = False
    """Append the channels of the automap."""
    frame_stack: int = 1
    """Observe the last so many images as channels, the newest last; the first image of
    an episode stands for those before it."""
    measurements: bool = True
    """Add the measurements of the scenario (game variables) to the observation."""
    timeout: int | None = None
    """Truncate episodes after this many tics (steps in Gymnasium); by default as the
    scenario sets it."""
    reward_scale: float = 1.0
    """Multiplies the training reward, on top of the scenario's own scale. Reported
    returns do not change."""
    reward_clip: float = 0.0
    """Clip the scaled training reward of a step to [-x, x]; 0 turns clipping off."""
    num_agents: int | None = None
    """Agents in a match, one environment each; by default as the scenario sets it."""
    num_bots: int | None = None
    """Bots in a match; by default as the scenario sets it."""
    allow_game_args: bool = False
    """Pass every game_args entry of your own .cfg file to the engine, even those that
    can write files or run commands."""
    processes: bool = False
    """Step each Gymnasium environment in its own process; for slow environments."""

    @property
    def screen(self) -> tuple[int, int]:
        """Width and height in pixels at which the engine renders."""
        return _WIDE if self.wide else (self.screen_width, self.screen_height)

    def __post_init__(self) -> None:
        validation.positive(
            self, "num_envs", "num_groups", "frame_skip", "reward_scale", "frame_stack"
        )
        validation.at_most(
            self, num_envs=MAX_ENVS, num_groups=MAX_ENVS, num_workers=_MAX_WORKERS,
            frame_skip=_MAX_FRAME_SKIP, frame_stack=_MAX_FRAME_STACK,
            timeout=_MAX_TICS, engine_tics=_MAX_TICS, num_agents=_MAX_PLAYERS,
            num_bots=_MAX_PLAYERS,
        )  # fmt: skip
        validation.within(self, "reward_clip", 0.0, 1e9)
        validation.within(self, "width", 1.0, _MAX_IMAGE_SIDE)
        validation.within(self, "height", 1.0, _MAX_IMAGE_SIDE)
        _check_screen(self.screen_width, self.screen_height)
        if self.num_envs % self.num_groups:
            raise UserError(
                f"--num-envs {self.num_envs} must be a multiple of --num-groups "
                f"{self.num_groups}, so that groups are of equal size; "
                f"try {max(1, self.num_envs // self.num_groups) * self.num_groups}"
            )
        if self.tics == "queued" and self.frame_skip > _MAX_QUEUED_TICS:
            raise UserError(
                f"--frame-skip {self.frame_skip} is more than the {_MAX_QUEUED_TICS} "
                "tics that --tics queued can send at once; use --tics exact"
            )
        if self.engine_tics < 0:
            raise UserError(
                f"--engine-tics {self.engine_tics} must be 0 (never replace an engine) "
                "or a number of tics"
            )
        if self.num_workers < 0:
            raise UserError(
                f"--num-workers {self.num_workers} must be 0 (one per core) or more"
            )
        if self.num_agents is not None and self.num_agents < 1:
            raise UserError(f"--num-agents {self.num_agents} must be 1 or more")
        if self.num_bots is not None and self.num_bots < 0:
            raise UserError(f"--num-bots {self.num_bots} must be 0 or more")
        if self.timeout is not None and self.timeout <= 0:
            raise UserError(
                f"--timeout {self.timeout} must be greater than 0 tics; "
                "leave it out to keep the timeout of the scenario"
            )
        self._check_family()

    def _check_family(self) -> None:
        """Refuse settings that apply only to other families of environments."""
        own = families.of(self.scenario)
        for family in families.FAMILIES.values():
            for name in () if family is own else family.settings:
                if getattr(self, name) != getattr(EnvConfig, name):
                    flag = name.replace("_", "-")
                    flag = f"no-{flag}" if getattr(self, name) is False else flag
                    raise UserError(
                        f"--{flag} is for {family.title} and does nothing for "
                        f"{self.scenario}; leave it out"
                    )


def split_options(
    options: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split options into fields of `EnvConfig` and arguments of a pool.

    >>> split_options({"width": 64, "pin": False})
    ({'width': 64}, {'pin': False})
    """
    names = EnvConfig.__dataclass_fields__
    fields = {name: value for name, value in options.items() if name in names}
    return fields, {name: options[name] for name in options if name not in names}
