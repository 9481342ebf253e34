"""`Scenario`: a .cfg file with the agent's actions, observations and reward."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jaxfactory._util.errors import UserError
from jaxfactory.scenarios import action_heads as head_lib
from jaxfactory.scenarios import measurements as measurement_lib
from jaxfactory.scenarios.action_heads import Delta, Head
from jaxfactory.scenarios.cfg_file import GameConfig, read_cfg
from jaxfactory.scenarios.matches import Match
from jaxfactory.scenarios.measurements import Measurement
from jaxfactory.scenarios.shaping import Function, HeldWeapon, Shaping, Table


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A scenario, built-in or your own.

    Attributes:
        name: Its name in tables and, once registered, for lookup.
        cfg: Path of the .cfg file.
        heads: "flat" for one head with every binary button, "grouped" for one head per
            group of opposite buttons, or the choices of each head.
        delta: How buttons that take a value become heads. By default 11 values up to
            the file's `button_max_value` or 10, where index 0 is "nothing".
        reward_scale: Multiplies the training reward.
        shaping: Added to the scenario's raw reward: rows of a table, or a function over
            batches of game variables (see `shaping.Function`).
        measurements: The second observation: "variables" for the unscaled game
            variables of the file, "standard" for the 23 of Sample Factory, "none", or
            your own rows.
        wads: Map files instead of the one that the file names; the first that exists is
            used.
        match: Players and rules of a multiplayer game; None for single player.
        raw_reward_variable: A game variable whose change is the raw reward, instead of
            the rewards in the file.

    Raises:
        UserError: If a field is invalid.
    """

    name: str
    cfg: Path
    heads: Literal["flat", "grouped"] | tuple[Head, ...] = "grouped"
    delta: Delta | None = None
    reward_scale: float = 1.0
    shaping: Table | Function = ()
    measurements: Literal["variables", "standard", "none"] | tuple[Measurement, ...] = (
        "variables"
    )
    wads: tuple[str, ...] = ()
    match: Match | None = None
    raw_reward_variable: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cfg", Path(self.cfg))
        if not self.name or ":" in self.name or "/" in self.name:
            self._refuse(f"its name {self.name!r} must not be empty or contain : or /")
        if self.heads not in ("flat", "grouped") and isinstance(self.heads, str):
            self._refuse(f"heads {self.heads!r} must be 'flat', 'grouped' or a tuple")
        if self.delta and (self.delta.choices < 2 or self.delta.limit <= 0):
            self._refuse(f"{self.delta} must have 2 choices or more and a limit over 0")
        self._check_shaping()
        self._check_measurements()

    def load(self) -> GameConfig:
        """Read the .cfg file."""
        return dataclasses.replace(read_cfg(self.cfg), wads=list(self.wads))

    def measured(self, config: GameConfig) -> tuple[Measurement, ...]:
        """Return the rows of the second observation."""
        if self.measurements == "none":
            return ()
        if self.measurements == "variables":
            return measurement_lib.raw(config.variables)
        if self.measurements == "standard":
            return measurement_lib.standard(config.variables)
        return self.measurements

    def action_heads(self, config: GameConfig) -> tuple[Head, ...]:
        """Return the choices of each head.

        Raises:
            UserError: If a button of the scenario's own heads is not in the .cfg file.
        """
        if self.heads == "flat":
            return head_lib.flat(config, self.delta)
        if self.heads == "grouped":
            return head_lib.grouped(config, self.delta)
        used = {name for head in self.heads for choice in head for name, _ in choice}
        missing = ", ".join(sorted(used - {*config.buttons}))
        if missing:
            self._refuse(
                f"its heads press {missing}, but {config.path} does not list that "
                "under available_buttons; add it there"
            )
        return self.heads

    def _check_shaping(self) -> None:
        if callable(self.shaping):
            return
        if isinstance(self.shaping, Shaping | HeldWeapon) or not all(
            isinstance(row, Shaping | HeldWeapon) for row in self.shaping
        ):
            self._refuse(
                f"its shaping {self.shaping!r} must be a tuple of Shaping and "
                "HeldWeapon rows, or a function"
            )
        held = [row for row in self.shaping if isinstance(row, HeldWeapon)]
        if len(held) > 1 or any(row.decisions < 1 for row in held):
            self._refuse(
                "its shaping may have one HeldWeapon row, of 1 decision or more"
            )

    def _check_measurements(self) -> None:
        wanted = self.measurements
        if isinstance(wanted, str):
            if wanted not in ("variables", "standard", "none"):
                self._refuse(
                    f"measurements {wanted!r} must be 'variables', 'standard', 'none' "
                    "or a tuple of Measurement rows"
                )
            return
        if isinstance(wanted, Measurement) or not all(
            isinstance(row, Measurement) for row in wanted
        ):
            self._refuse(f"its measurements {wanted!r} must be a tuple of Measurement")
        if any(row.divisor == 0 for row in wanted):
            self._refuse("a divisor of its measurements is 0")

    def _refuse(self, why: str) -> None:
        raise UserError(f"the scenario {self.name}: {why}")
