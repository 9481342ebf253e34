"""Settings of matches against past versions of the agent."""

from dataclasses import dataclass

from jaxfactory._util import plain_json
from jaxfactory.config import validation


@dataclass(frozen=True, kw_only=True)
class SelfPlayConfig:
    """Opponents from the past in matches of several agents."""

    self_play_share: float = 0.0
    """Share of the matches in which past versions of the agent have half of the seats,
    from 0 to 1; rounded to whole matches of a group, at least one. With --num-policies,
    one of each policy, whose opponents are past versions of all policies of its
    process. Frames count only the seats that learn."""
    snapshot_every: int = 500_000
    """Frames between the past versions that --self-play-share draws from."""
    snapshots_kept: int = 10
    """Past versions that are kept of each policy; older ones become sparse."""

    def __post_init__(self) -> None:
        validation.within(self, "self_play_share", 0.0, 1.0)
        validation.positive(self, "snapshot_every", "snapshots_kept")
        validation.at_most(
            self, snapshot_every=plain_json.MOST_FRAMES, snapshots_kept=1_000
        )
