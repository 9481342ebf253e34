"""The settings of environments: Doom's, and those of Gymnasium's registry."""

from dataclasses import dataclass
from typing import Literal

from jaxfactory._util.errors import UserError
from jaxfactory.config import validation


# What the engine can render; it falls back to another size for any other.
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
# More than these cannot be meant; see `config`.
MAX_ENVS = 65_536
_MAX_WORKERS = 4_096
_MAX_FRAME_SKIP = 1_024
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
        f"the nearest size that it can is {near[0]}x{near[1]}"
    )


GYMNASIUM = "gymnasium:"
_DOOM_ALONE = (
    "tics", "width", "height", "screen_width", "screen_height", "grayscale", "depth",
    "labels", "automap", "num_workers", "engine", "num_agents", "num_bots", "wide",
    "measurements", "allow_game_args", "map",
)  # fmt: skip


def gymnasium_id(scenario: str) -> str | None:
    """Return the name in Gymnasium's registry, None for a scenario of Doom.

    >>> gymnasium_id("gymnasium:CartPole-v1")
    'CartPole-v1'
    """
    if not scenario.startswith(GYMNASIUM):
        return None
    return scenario.removeprefix(GYMNASIUM)


@dataclass(frozen=True, kw_only=True)
class EnvConfig:
    """Environments and the pool that steps them.

    Examples:
        >>> EnvConfig(scenario="basic", num_envs=4).frame_skip
        4
        >>> EnvConfig(num_envs=3)
        Traceback (most recent call last):
        jaxfactory.UserError: --num-envs 3 must be a multiple of --num-groups...
    """

    scenario: str = "health_gathering_supreme"
    """A scenario's name (see `jaxfactory scenarios`), the path of a .cfg file, one of
    your own as package.module:NAME or file.py:NAME, or any environment of Gymnasium's
    as gymnasium:CartPole-v1 (--env is the same flag)."""
    map: str | None = None
    """Map file (.wad or .pk3) to use instead of the scenario's own."""
    num_envs: int = 64
    """Environments stepped in parallel, each one engine process; or auto."""
    num_groups: int = 2
    """Groups of environments: one steps while the policy thinks for the other."""
    num_workers: int = 0
    """Worker threads that drive the engines; 0 is one for each core; or auto."""
    frame_skip: int = 4
    """Game tics that each action is held for."""
    tics: Literal["exact", "queued"] = "exact"
    """Wait for each tic as DoomGame does, or send a step's tics to the engine at once:
    faster, but after a death the rest of the step is still played."""
    engine: Literal["tuned", "stock"] = "tuned"
    """Replace the engine's slowest loop in its memory by one that computes the same, or
    leave the engine as it was shipped."""
    width: int = 128
    """Width in pixels of the image that the policy sees."""
    height: int = 72
    """Height in pixels of the image that the policy sees."""
    screen_width: int = 160
    """Width in pixels that the engine renders."""
    screen_height: int = 120
    """Height in pixels that the engine renders."""
    wide: bool = False
    """Render 256x144, which has the image's own shape, instead of 160x120."""
    grayscale: bool = False
    """One grey channel instead of red, green and blue."""
    depth: bool = False
    """Append the depth buffer as a channel."""
    labels: bool = False
    """Append the labels buffer (one value for each visible object) as a channel."""
    automap: bool = False
    """Append the automap's channels."""
    measurements: bool = True
    """Show the agent the scenario's measurements besides the image."""
    timeout: int | None = None
    """Tics after which an episode is truncated; none keeps the scenario's own."""
    reward_scale: float = 1.0
    """Multiplies the reward that is trained on, besides the scenario's own scale. The
    returns that are reported stay as they are."""
    reward_clip: float = 0.0
    """Bound of the absolute value of a decision's reward that is trained on, after
    scaling; 0 is none."""
    num_agents: int | None = None
    """Agents of a match, an environment each; none keeps the scenario's own."""
    num_bots: int | None = None
    """Bots in a match; none keeps the scenario's own."""
    allow_game_args: bool = False
    """Pass all game_args of your own .cfg file to the engine, also those that could
    make it write files or run commands."""
    processes: bool = False
    """Step each of Gymnasium's environments in a process of its own, not all in this
    one: for such as take long to step."""

    @property
    def screen(self) -> tuple[int, int]:
        """Width and height in pixels that the engine renders."""
        return _WIDE if self.wide else (self.screen_width, self.screen_height)

    def __post_init__(self) -> None:
        validation.positive(
            self, "num_envs", "num_groups", "frame_skip", "reward_scale"
        )
        validation.at_most(
            self, num_envs=MAX_ENVS, num_groups=MAX_ENVS, num_workers=_MAX_WORKERS,
            frame_skip=_MAX_FRAME_SKIP, timeout=_MAX_TICS, num_agents=_MAX_PLAYERS,
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
        if self.num_workers < 0:
            raise UserError(
                f"--num-workers {self.num_workers} must be 0 (one a core) or more"
            )
        if self.num_agents is not None and self.num_agents < 1:
            raise UserError(f"--num-agents {self.num_agents} must be 1 or more")
        if self.num_bots is not None and self.num_bots < 0:
            raise UserError(f"--num-bots {self.num_bots} must be 0 or more")
        if self.timeout is not None and self.timeout <= 0:
            raise UserError(
                f"--timeout {self.timeout} must be greater than 0 tics; "
                "leave it out for the scenario's own"
            )
        self._check_family()

    def _check_family(self) -> None:
        """Refuse settings that the environment's family does not have."""
        is_doom = gymnasium_id(self.scenario) is None
        for name in ("processes",) if is_doom else _DOOM_ALONE:
            if getattr(self, name) != getattr(EnvConfig, name):
                flag = name.replace("_", "-")
                flag = f"no-{flag}" if getattr(self, name) is False else flag
                family = "Gymnasium's environments" if is_doom else "Doom"
                raise UserError(
                    f"--{flag} is for {family} and does nothing for {self.scenario}; "
                    "leave it out"
                )
