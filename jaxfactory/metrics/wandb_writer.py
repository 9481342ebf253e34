"""Logs metrics and videos to Weights & Biases with the ``wandb`` package."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxfactory._util.errors import UserError, require
from jaxfactory.config import runs
from jaxfactory.config import train as config_lib
from jaxfactory.config.train import Config


# File with the W&B run id, so that a resumed run continues the same curves.
ID = "wandb-id"


class WandbWriter:
    """Logs a run to Weights & Biases; the step is the number of frames.

    ``WANDB_MODE=offline`` keeps everything in the run directory, for ``wandb sync``.

    Args:
        run_dir: The run directory.
        config: The run's configuration, which is logged too.

    Raises:
        UserError: If ``wandb`` is not installed.
    """

    def __init__(self, run_dir: Path, config: Config) -> None:
        require("wandb", extra="wandb", what="--wandb")
        self._run_dir = run_dir
        self._config = config
        self._run: Any = None

    def begin(self, frames: int) -> None:
        """Start or resume the W&B run.

        Raises:
            UserError: If that fails: no login, no such entity, no network.
        """
        del frames
        import wandb

        watch = self._config.watch
        try:
            self._run = wandb.init(
                project=watch.wandb_project,
                entity=watch.wandb_entity,
                group=watch.wandb_group,
                name="-".join(self._run_dir.resolve().parts[-2:]),
                id=self._id(),
                resume="allow",
                dir=str(self._run_dir),
                config=config_lib.to_dict(self._config),
                # The live display of the terminal would fill the log.
                settings=wandb.Settings(console="off"),
            )
        except wandb.Error as error:
            reason = str(error).strip().splitlines()[0].rstrip(".")
            raise UserError(
                f"Weights & Biases does not start ({reason}); run `wandb login`, set "
                "WANDB_MODE=offline, or leave out --wandb"
            ) from error
        # The metrics of an evaluation arrive after later frames have been logged, which
        # W&B's own step does not allow.
        self._run.define_metric("frames")
        self._run.define_metric("*", step_metric="frames")

    def write(self, metrics: Mapping[str, float], frames: int) -> None:
        """Log the metrics."""
        self._run.log({**metrics, "frames": frames})

    def write_video(self, mp4: Path, gif: Path, frames: int) -> None:
        """Log the MP4."""
        del gif
        import wandb

        self._run.log({"video": wandb.Video(str(mp4), format="mp4"), "frames": frames})

    def close(self) -> None:
        """Send the remaining data and finish the W&B run."""
        if self._run is not None:
            self._run.finish()
            self._run = None

    def _id(self) -> str:
        file = self._run_dir / ID
        if not file.is_file():
            runs.write_atomically(file, secrets.token_hex(4))
        return file.read_text().strip()
