"""Evaluates the agent and records videos during training, in another process.

The trainer writes a temporary checkpoint and sends its path down a pipe;
`background_worker` runs episodes with it, on other seeds than training's, and answers
with the score. Why a process: a thread would share the interpreter's lock and XLA's
threads with the trainer, whereas this process runs with lower priority and on the CPU,
whatever the trainer runs on. It starts once and keeps what it has compiled. It
evaluates one checkpoint at a time: whatever becomes due in the meantime is done
afterwards, with the newest state. The trainer's results do not depend on any of this.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

from jaxfactory.checkpoints.background_writer import Counted
from jaxfactory.checkpoints.manager import Checkpointer
from jaxfactory.config import runs
from jaxfactory.config.train import WatchConfig
from jaxfactory.metrics.progress import Progress
from jaxfactory.metrics.writers import CompositeWriter
from jaxfactory.training.background_process import EndedError, Process


LOG = "background_evaluation.log"
_POLL_SECONDS = 0.1
# Background evaluation is switched off after this many failures in a row.
_MAX_FAILURES = 3


class _Job(NamedTuple):
    frames: int
    evaluate: bool
    film: bool
    written: "Future[None]"
    sent: bool = False


class BackgroundEvaluator:
    """Evaluates states of a run; a context manager that leaves no process behind.

    Args:
        config: How often to evaluate, and for how many episodes.
        checkpointer: Of the same run, entered before.
        output: Receives scores and videos, with the frames of the evaluated state.
    """

    def __init__(
        self, config: WatchConfig, checkpointer: Checkpointer, output: CompositeWriter
    ) -> None:
        self._config = config
        self._checkpointer = checkpointer
        self._output = output
        self._run_dir = checkpointer.run_dir
        self._process: Process | None = None
        self._job: _Job | None = None
        self._failures = 0
        self._submitting = False
        # Frames of the states of the last evaluation and the last video.
        self._evaluated = self._filmed = 0

    def __enter__(self) -> "BackgroundEvaluator":
        self._evaluated = self._filmed = self._checkpointer.saved_frames
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            self._process.close()

    def maybe_submit(self, state: Counted, progress: Progress) -> None:
        """Submit a state if an evaluation or a video is due; waits only for a copy.

        Args:
            state: What `Checkpointer.save` takes.
            progress: Of the run.
        """
        config = self._config
        if not (config.evaluate_every or config.video_every):
            return
        self._submitting = True
        self._advance()
        frames = int(state.frames)
        evaluate = _is_due(config.evaluate_every, self._evaluated, frames)
        film = _is_due(config.video_every, self._filmed, frames)
        self._submit(state, progress, evaluate, film)

    def finish(
        self, state: Counted, progress: Progress, stop: Callable[[], bool]
    ) -> None:
        """Evaluate the final state; wait for that and for the job in progress.

        Args:
            state: The state at the end of training.
            progress: Of the run.
            stop: Whether to return instead of waiting any longer.
        """
        if not self._submitting:
            return
        self._wait(stop)
        config, frames = self._config, int(state.frames)
        evaluate = bool(config.evaluate_every) and self._evaluated != frames
        film = bool(config.video_every) and self._filmed != frames
        if (evaluate or film) and not stop():
            what = "evaluating" if evaluate else "recording a video of"
            self._output.note(f"{what} the final state")
            self._submit(state, progress, evaluate, film)
            self._wait(stop)

    def _wait(self, stop: Callable[[], bool]) -> None:
        while self._job is not None and not stop():
            self._advance()
            time.sleep(_POLL_SECONDS)

    def _submit(
        self, state: Counted, progress: Progress, evaluate: bool, film: bool
    ) -> None:
        busy = self._job is not None or self._failures >= _MAX_FAILURES
        if busy or not (evaluate or film):
            return
        frames = int(state.frames)
        written = self._checkpointer.save_temporary(state, progress)
        self._job = _Job(frames, evaluate, film, written)
        self._evaluated = frames if evaluate else self._evaluated
        self._filmed = frames if film else self._filmed

    def _advance(self) -> None:
        """Send the job once its checkpoint is written; take the answer to it."""
        job = self._job
        if job is None or not job.written.done():
            return
        try:
            if not job.sent:
                if job.written.exception() is not None:
                    # The checkpointer reports why. The next one that is due may work.
                    self._job = None
                    return
                self._send(job)
                self._job = job._replace(sent=True)
                return
            assert self._process is not None
            answer = self._process.answer()
        except EndedError as error:
            self._process = None
            answer = {"error": f"its process ended ({error})"}
        except OSError as error:  # A full disk, or no process left.
            answer = {"error": str(error)}
        if answer is None:
            return
        self._job = None
        if "error" in answer:
            self._fail(job, str(answer["error"]))
        else:
            self._failures = 0
            try:
                self._take(job, answer)
            except OSError as error:
                self._fail(job, str(error))
        self._checkpointer.remove_temporary(job.frames)

    def _send(self, job: _Job) -> None:
        if self._process is None:
            self._process = Process(self._log)
        path = self._checkpointer.temporary(job.frames)
        video = self._run_dir / runs.VIDEOS / f"{job.frames:012d}.mp4"
        self._process.send(
            {
                "run": str(self._run_dir.resolve()),
                "checkpoint": str(path.resolve()),
                "frames": job.frames,
                "episodes": self._config.evaluate_episodes * job.evaluate,
                "video": str(video.resolve()) if job.film else None,
            }
        )

    def _take(self, job: _Job, answer: dict[str, Any]) -> None:
        metrics = answer["metrics"]
        if job.evaluate:
            best = self._config.best_by == "evaluation" and (
                self._checkpointer.keep_if_best(
                    job.frames, metrics["evaluation/shaped_return"]
                )
            )
            self._output.write(metrics, job.frames)
            raw, shaped = (
                f"{metrics[f'evaluation/{name}']:.2f} +- "
                f"{metrics[f'evaluation/{name}_std']:.2f}"
                for name in ("raw_return", "shaped_return")
            )
            self._output.note(
                f"evaluated at {job.frames:,} frames: raw return {raw}, "
                f"shaped return {shaped}{', the best so far' if best else ''}"
            )
        if job.film:
            mp4 = Path(answer["video"])
            gif = mp4.with_suffix(".gif")
            self._output.write_video(mp4, gif, job.frames)
            gif.unlink()

    def _fail(self, job: _Job, why: str) -> None:
        self._failures += 1
        what = "evaluation" if job.evaluate else "video"
        text = f"the {what} at {job.frames:,} frames failed: {why}"
        if self._log.is_file() and self._log.stat().st_size:
            text += f"; see {self._log}"
        if self._failures == _MAX_FAILURES:
            text += f"; after {_MAX_FAILURES} failures in a row, background evaluation "
            text += "is off"
        self._output.note(text)

    @property
    def _log(self) -> Path:
        return self._run_dir / LOG


def _is_due(every: int, last: int, frames: int) -> bool:
    return bool(every) and frames // every > last // every
