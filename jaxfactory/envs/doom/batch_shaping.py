"""Reward shaping by a Python function, called once per step and group."""

import numpy as np
from jaxtyping import Float64

from jaxfactory._util.errors import UserCodeError, UserError
from jaxfactory.envs.step import Step
from jaxfactory.envs.trained_reward import TrainedReward
from jaxfactory.scenarios.shaping import Function


class BatchShaping:
    """Adds the rewards of a shaping function to those of the pool."""

    def __init__(
        self,
        function: Function,
        columns: dict[str, int],
        *,
        scale: float,
        num_envs: int,
        trained: TrainedReward = TrainedReward(),
    ):
        """Create it before the first reset.

        Args:
            function: See `shaping.Function`.
            columns: Names of the game variables that it receives, and their columns.
            scale: The scenario's scale of rewards and returns.
            num_envs: Environments, B.
            trained: Scaling and clipping of the training reward, applied last.
        """
        self._function = function
        name = getattr(function, "__name__", type(function).__name__)
        self._name = f"the shaping function {name}"
        self._names = list(columns)
        self._picked = list(columns.values())
        self._scale = scale
        self._trained = trained
        self._before = np.zeros((num_envs, len(columns)))
        self._first = np.ones(num_envs, bool)
        self._paid = np.zeros(num_envs)  # in the episode so far

    def reset(self) -> None:
        """Reset the state for new episodes in every environment."""
        self._first[:] = True
        self._paid[:] = 0

    def apply(
        self, step: Step, variables: Float64[np.ndarray, "b V"], rows: slice
    ) -> None:
        """Add the shaping to a step's rewards and returns, in place.

        Args:
            step: The step of the environments in `rows`.
            variables: Their game variables.
            rows: The environments.

        Raises:
            UserError: If the function does not return one number per environment.
            UserCodeError: If the function raises.
        """
        now = variables[:, self._picked]
        first = self._first[rows]
        last = step.terminated | step.truncated
        before = np.where(first[:, None], now, self._before[rows])
        amount = self._call(before, now, first, last)
        # The variables of a replaced engine are unknown.
        amount = np.where(step.info.restarted, 0.0, amount * self._scale)
        self._paid[rows] += amount
        step.reward[:] = self._trained(step.reward + amount.astype(np.float32))
        step.info.episode_shaped_return[:] += self._paid[rows].astype(np.float32)
        self._before[rows] = now
        self._first[rows] = last
        self._paid[rows] = np.where(last, 0, self._paid[rows])

    def _call(
        self, before: np.ndarray, now: np.ndarray, first: np.ndarray, last: np.ndarray
    ) -> np.ndarray:
        inputs = self._columns(before), self._columns(now), first.copy(), last.copy()
        try:
            paid = self._function(*inputs)
        except Exception as error:
            raise UserCodeError(
                f"{self._name} raised {type(error).__name__}: {error}"
            ) from error
        return self._checked(paid, len(first))

    def _columns(self, values: np.ndarray) -> dict[str, np.ndarray]:
        # Copies: the function may keep or change them.
        return {name: values[:, i].copy() for i, name in enumerate(self._names)}

    def _checked(self, paid: object, count: int) -> np.ndarray:
        amount = np.asarray(paid)
        if amount.shape != (count,) or amount.dtype.kind not in "fiub":
            raise UserError(
                f"{self._name} returned {amount.dtype}{list(amount.shape)} for {count} "
                f"environments; it must return one number for each, [{count}]"
            )
        if not np.isfinite(amount).all():
            raise UserError(
                f"{self._name} returned a reward that is not finite: {amount}"
            )
        return amount.astype(np.float64)
