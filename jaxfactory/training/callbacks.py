"""The user's own functions, called after each update of a training run."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxfactory._util import plugins
from jaxfactory._util.errors import UserCodeError, UserError
from jaxfactory.ppo.learner import TrainState
from jaxfactory.types import Rollout


class Iteration(NamedTuple):
    """The argument of a callback, which is called after each update.

    Attributes:
        state: State after the update. On an accelerator its arrays are device arrays.
        rollout: The rollout that the update used. Its arrays are views into the pool's
            memory, overwritten once the callbacks have returned: copy what you keep.
        metrics: This iteration's metrics by the names that they are logged under,
            including those that earlier callbacks returned.
        frames: Frames trained on so far.
        run_dir: The run's directory.
        stop: ``stop(reason)`` ends training after this iteration and saves the run, as
            at its normal end.

    Examples:
        >>> def until_long(iteration):
        ...     if iteration.metrics.get("episode/length", 0) > 1000:
        ...         iteration.stop("episodes are long enough")
        ...     return {"own/steps": iteration.rollout.reward.size}
    """

    state: TrainState
    rollout: Rollout
    metrics: Mapping[str, float]
    frames: int
    run_dir: Path
    stop: Callable[[str], None]


# Returns metrics to be written with the others, or nothing.
Callback = Callable[[Iteration], Mapping[str, Any] | None]


class Callbacks:
    """Calls the user's functions one after another.

    An error does not end training at once, so that the run can be saved first; see
    `raise_error`.

    Attributes:
        stopped: The reason to end training; None to continue.
    """

    def __init__(self, functions: Sequence[Any], run_dir: Path):
        """Check that the functions are callable.

        Raises:
            UserError: If one is not.
        """
        self._functions = tuple(functions)
        self._run_dir = run_dir
        self._error: UserError | None = None
        self.stopped: str | None = None
        for function in self._functions:
            if not callable(function):
                raise UserError(
                    f"a callback must be a function of an Iteration; {function!r} "
                    "is not callable"
                )

    def __bool__(self) -> bool:
        return bool(self._functions)

    def call(
        self, state: TrainState, rollout: Rollout, metrics: Mapping[str, float]
    ) -> dict[str, float]:
        """Call all of them and return the metrics that they add."""
        added: dict[str, float] = {}
        for function in self._functions:
            seen = Iteration(
                state=state,
                rollout=rollout,
                metrics={**metrics, **added},
                frames=state.frames,
                run_dir=self._run_dir,
                stop=self._stop,
            )
            try:
                returned = function(seen)
            except Exception as error:
                self._fail(
                    UserCodeError(
                        f"the callback {_name(function)} raised "
                        f"{type(error).__name__}: {error}{self._saved()}"
                    ),
                    error,
                )
                break
            try:
                added |= _checked(returned, seen.metrics, _name(function))
            except UserError as error:
                self._fail(UserError(f"{error}{self._saved()}"))
                break
        return added

    def raise_error(self) -> None:
        """Raise the error of a callback, if there was one.

        Raises:
            UserCodeError: If a callback raised.
            UserError: If a callback returned something other than metrics.
        """
        if self._error is not None:
            raise self._error

    def _stop(self, reason: str) -> None:
        self.stopped = str(reason)

    def _fail(self, error: UserError, cause: Exception | None = None) -> None:
        error.__cause__ = cause
        self._error = error
        self.stopped = str(error)

    def _saved(self) -> str:
        return (
            "; everything is saved, resume with: "
            f"jaxfactory train --run {self._run_dir}"
        )


def _name(function: Callback) -> str:
    if hasattr(function, "__qualname__"):
        return plugins.name_of(function)
    return plugins.name_of(type(function))


def _checked(returned: Any, taken: Mapping[str, float], name: str) -> dict[str, float]:
    """Return a callback's metrics as floats.

    Raises:
        UserError: If they are not metrics, or have the name of another metric.
    """
    if returned is None:
        return {}
    if not isinstance(returned, Mapping):
        raise UserError(
            f"the callback {name} returned {returned!r}, but must return a dictionary "
            "of metrics or None"
        )
    metrics = {}
    for key, value in returned.items():
        if not isinstance(key, str) or key in taken:
            why = "is already used" if key in taken else "is not a string"
            raise UserError(
                f"the callback {name} returned the metric name {key!r}, which {why}; "
                "choose another, such as 'own/...'"
            )
        try:
            metrics[key] = float(value)
        except (TypeError, ValueError):
            raise UserError(
                f"the callback {name} returned {value!r} for the metric {key!r}, "
                "but a metric is one number"
            ) from None
    return metrics
