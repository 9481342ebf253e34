"""Evaluates and films the agent while it trains, in a process of its own.

The trainer sets a copy of its state aside, as a checkpoint, and sends its place down a
pipe; `spectator_process` plays it on other seeds than training's and answers with the
score. Why a process: a thread would share the interpreter's lock and XLA's threads with
the trainer, where this one runs with lower priority and on the CPU, whatever the
trainer runs on. It starts once and keeps what it has compiled. One state is watched at
a time: what becomes due meanwhile is done with the state that is there afterwards. The
trainer's own numbers do not depend on any of it.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

from jaxfactory.checkpoints.manager import Checkpointer, Counted
from jaxfactory.config import runs
from jaxfactory.config.train import Config
from jaxfactory.metrics.episodes import EpisodeStats
from jaxfactory.metrics.writers import CompositeWriter


LOG = "evaluator.log"
_POLL_SECONDS = 0.1
# After so many failures in a row it is given up.
_MOST_FAILURES = 3
_LEAVE_SECONDS = 15.0


class _Job(NamedTuple):
    frames: int
    evaluate: bool
    film: bool
    written: "Future[None]"
    sent: bool = False


class BackgroundEvaluator:
    """Has the agent watched; a context manager that leaves no process behind.

    Args:
        config: The run's settings.
        checkpointer: Of the same run, entered before.
        output: Takes scores and videos, with the frames of the state that played.
    """

    def __init__(
        self, config: Config, checkpointer: Checkpointer, output: CompositeWriter
    ) -> None:
        self._config = config
        self._checkpointer = checkpointer
        self._output = output
        self._run_dir = checkpointer.run_dir
        self._process: _Process | None = None
        self._job: _Job | None = None
        self._failures = 0
        self._looked = False
        # Frames of the state that was last evaluated and filmed.
        self._evaluated = self._filmed = 0

    def __enter__(self) -> "BackgroundEvaluator":
        self._evaluated = self._filmed = self._checkpointer.saved_frames
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            self._process.close()

    def maybe_submit(self, state: Counted, stats: EpisodeStats, seconds: float) -> None:
        """Do what is due with a state; waits for nothing but a copy of it.

        Args:
            state: What `Checkpointer.save` takes.
            stats: The window of episodes.
            seconds: Wall-clock seconds of training so far.
        """
        watch = self._config.watch
        if not (watch.evaluate_every or watch.video_every):
            return
        self._looked = True
        self._advance()
        frames = int(state.frames)
        evaluate = _is_due(watch.evaluate_every, self._evaluated, frames)
        film = _is_due(watch.video_every, self._filmed, frames)
        self._begin(state, stats, seconds, evaluate, film)

    def finish(
        self,
        state: Counted,
        stats: EpisodeStats,
        seconds: float,
        stop: Callable[[], bool],
    ) -> None:
        """Watch the last state, and wait for it and for what is under way.

        Args:
            state: What training ended with.
            stats: The window of episodes.
            seconds: Wall-clock seconds of training.
            stop: Whether to leave instead of waiting any longer.
        """
        if not self._looked:
            return
        self._wait(stop)
        watch, frames = self._config.watch, int(state.frames)
        evaluate = bool(watch.evaluate_every) and self._evaluated != frames
        film = bool(watch.video_every) and self._filmed != frames
        if (evaluate or film) and not stop():
            what = "evaluating" if evaluate else "filming"
            self._output.note(f"{what} the last state")
            self._begin(state, stats, seconds, evaluate, film)
            self._wait(stop)

    def _wait(self, stop: Callable[[], bool]) -> None:
        while self._job is not None and not stop():
            self._advance()
            time.sleep(_POLL_SECONDS)

    def _begin(
        self,
        state: Counted,
        stats: EpisodeStats,
        seconds: float,
        evaluate: bool,
        film: bool,
    ) -> None:
        busy = self._job is not None or self._failures >= _MOST_FAILURES
        if busy or not (evaluate or film):
            return
        frames = int(state.frames)
        written = self._checkpointer.save_temporary(state, stats, seconds)
        self._job = _Job(frames, evaluate, film, written)
        self._evaluated = frames if evaluate else self._evaluated
        self._filmed = frames if film else self._filmed

    def _advance(self) -> None:
        """Send what is written, and take what has been answered."""
        job = self._job
        if job is None or not job.written.done():
            return
        try:
            if not job.sent:
                # A failed write is the checkpointer's to tell.
                job.written.result()
                self._send(job)
                self._job = job._replace(sent=True)
                return
            assert self._process is not None
            answer = self._process.answer()
        except _EndedError as error:
            self._process = None
            answer = {"error": f"its process ended ({error})"}
        if answer is None:
            return
        self._job = None
        if "error" in answer:
            self._fail(job, str(answer["error"]))
        else:
            self._failures = 0
            self._take(job, answer)
        self._checkpointer.forget(job.frames)

    def _send(self, job: _Job) -> None:
        if self._process is None:
            self._process = _Process(self._log)
        video = self._run_dir / runs.VIDEOS / f"{job.frames:012d}.mp4"
        self._process.send(
            {
                "run": str(self._run_dir.resolve()),
                "checkpoint": str(self._checkpointer.watched(job.frames).resolve()),
                "frames": job.frames,
                "episodes": self._config.watch.evaluate_episodes * job.evaluate,
                "video": str(video.resolve()) if job.film else None,
            }
        )

    def _take(self, job: _Job, answer: dict[str, Any]) -> None:
        metrics = answer["metrics"]
        if job.evaluate:
            best = self._config.watch.best_by == "evaluation" and (
                self._checkpointer.keep_if_best(
                    job.frames, metrics["evaluation/shaped_return"]
                )
            )
            self._output.write(metrics, job.frames)
            own, shaped = (
                f"{metrics[f'evaluation/{name}']:.2f} +- "
                f"{metrics[f'evaluation/{name}_std']:.2f}"
                for name in ("raw_return", "shaped_return")
            )
            self._output.note(
                f"evaluated at {job.frames:,} frames: raw return {own}, "
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
        text = f"there is no {what} of {job.frames:,} frames: {why}"
        if self._log.is_file() and self._log.stat().st_size:
            text += f"; see {self._log}"
        if self._failures == _MOST_FAILURES:
            text += f"; that was {_MOST_FAILURES} times in a row, no more is tried"
        self._output.note(text)

    @property
    def _log(self) -> Path:
        return self._run_dir / LOG


class _EndedError(Exception):
    """The process has ended."""


class _Process:
    """The other process: one line of JSON there, one line back.

    It is in a session of its own, so that a terminal's Ctrl-C reaches only the trainer;
    and it leaves when its standard input is closed, which happens however the trainer
    ends.
    """

    def __init__(self, log: Path) -> None:
        self._path = log
        self._heard = b""
        # Modules of the user's own are found where this process finds them.
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        # The trainer may have filled the GPU's memory.
        environment = {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}
        with log.open("a") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jaxfactory.training.background_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                start_new_session=True,
                env=environment,
            )
        assert self._process.stdout is not None
        self._answers = self._process.stdout.fileno()
        os.set_blocking(self._answers, False)

    def send(self, job: dict[str, Any]) -> None:
        """Send a job."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            self._ended(error)

    def answer(self) -> dict[str, Any] | None:
        """Return the answer to the job, None as long as there is none.

        Raises:
            _EndedError: If the process has ended.
        """
        try:
            data = os.read(self._answers, 65536)
        except BlockingIOError:
            return None
        if not data:
            self._ended(None)
        self._heard += data
        if not self._heard.endswith(b"\n"):
            return None
        answer: dict[str, Any] = json.loads(self._heard)
        self._heard = b""
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        with contextlib.suppress(FileNotFoundError):
            if not self._path.stat().st_size:
                self._path.unlink()

    def _ended(self, error: BaseException | None) -> None:
        self.close()
        raise _EndedError(f"exit code {self._process.returncode}") from error


def _is_due(every: int, last: int, frames: int) -> bool:
    return bool(every) and frames // every > last // every
