"""From Sample Factory's normalisers to ours.

There an image x becomes ``clip(((x - m) / s - mean) / sqrt(var + eps))`` with
``m = obs_subtract_mean`` and ``s = obs_scale``; here the statistics are of
``x / 255``, whatever m and s are. Both use the same eps and the same clip, so that m
and s go into mean and variance. Where it normalises nothing, ours is given statistics
that change nothing, and what is left of m and s goes into the first layers.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxfactory._util.errors import UserError
from jaxfactory.models.normalization import EPS
from jaxfactory.sample_factory.settings import Settings
from jaxfactory.spec import ObservationSpec


_PIXEL = 255.0
# Less of a variance is lost in float32 beside eps.
_LEAST_VARIANCE = 1e-7
# Measurements that are not normalised are divided by this, so that none is clipped,
# and the layer that reads them multiplies by it.
_ROOM = 64.0


class Moments(NamedTuple):
    """Mean, variance and count, in our units; see `normalization.RunningStats`."""

    mean: np.ndarray
    var: np.ndarray
    count: np.ndarray


class Folded(NamedTuple):
    """What the first layers must do besides: read ``factor * x + shift``."""

    image: tuple[float, float] = (1.0, 0.0)
    measurements: float = 1.0


def observation_moments(
    settings: Settings, model: Mapping[str, np.ndarray], spec: ObservationSpec
) -> tuple[dict[str, Moments], Folded]:
    """Return the statistics of each part of the observation, and what they leave over.

    Raises:
        UserError: If the checkpoint has no such statistics, or ours cannot be them.
    """
    scale = settings.get("obs_scale", 1.0)
    offset = settings.get("obs_subtract_mean", 0.0)
    if scale <= 0:
        raise UserError(f"{settings.source}: obs_scale {scale} must be greater than 0")
    shapes = {"image": spec.image}
    if spec.measurements:
        shapes["measurements"] = (spec.measurements,)
    if not settings.get("normalize_input", True):
        still = {name: _still(shape) for name, shape in shapes.items()}
        if spec.measurements:
            still["measurements"] = _still(shapes["measurements"], _ROOM)
        return still, Folded((_PIXEL / scale, -offset / scale), _ROOM)
    root = "obs_normalizer.running_mean_std.running_mean_std"
    image = _read(settings, model, f"{root}.obs", (spec.image[2], *spec.image[:2]))
    image = image._replace(
        mean=image.mean.transpose(1, 2, 0), var=image.var.transpose(1, 2, 0)
    )
    found = {"image": _rescaled(settings, image, scale, offset)}
    if spec.measurements:
        found["measurements"] = _read(
            settings, model, f"{root}.measurements", shapes["measurements"]
        )
    return found, Folded()


def return_moments(
    settings: Settings, model: Mapping[str, np.ndarray]
) -> Moments | None:
    """Return the statistics of the returns, None where they are not normalised.

    Raises:
        UserError: If the checkpoint has no such statistics.
    """
    if not settings.get("normalize_returns", True):
        return None
    found = _read(settings, model, "returns_normalizer", (1,))
    return Moments(np.array(found.mean[0]), np.array(found.var[0]), found.count)


def fold(params: dict[str, Any], folded: Folded) -> None:
    """Let the first layers do what the statistics cannot, in place.

    Raises:
        UserError: If they cannot either: a padded convolution has no shift to add at
            the image's border.
    """
    towers = [params, params["critic"]] if "critic" in params else [params]
    for encoder in (tower["encoder"] for tower in towers):
        _fold_image(encoder, *folded.image)
        if "measurements_0" in encoder:
            first = encoder["measurements_0"]
            first["kernel"] = np.float32(folded.measurements) * first["kernel"]


def _fold_image(encoder: dict[str, Any], factor: float, shift: float) -> None:
    if (factor, shift) == (1.0, 0.0):
        return
    padded = "stage_0" in encoder
    if padded and shift:
        raise UserError(
            "this agent cannot be imported, because jaxfactory's resnet_impala has no "
            "counterpart of obs_subtract_mean without normalize_input"
        )
    first = encoder["stage_0"]["conv"] if padded else encoder["conv_0"]
    first["bias"] = first["bias"] + np.float32(shift) * first["kernel"].sum((0, 1, 2))
    first["kernel"] = np.float32(factor) * first["kernel"]


def _still(shape: tuple[int, ...], divisor: float = 1.0) -> Moments:
    """Return statistics that only divide."""
    return Moments(np.zeros(shape), np.full(shape, divisor**2 - EPS), np.ones(()))


def _rescaled(
    settings: Settings, stats: Moments, scale: float, offset: float
) -> Moments:
    """Turn statistics of (x - offset) / scale into those of x / 255."""
    ratio = scale / _PIXEL
    spread = (stats.var + EPS) * ratio**2
    if spread.min() < _LEAST_VARIANCE:
        raise UserError(
            f"{settings.source}: this agent cannot be imported, because it normalises "
            f"pixels divided by {scale:g} (obs_scale), and jaxfactory, which divides "
            "by 255, would lose their variance"
        )
    mean = (stats.mean * scale + offset) / _PIXEL
    return stats._replace(mean=mean, var=spread - EPS)


def _read(
    settings: Settings,
    model: Mapping[str, np.ndarray],
    root: str,
    shape: tuple[int, ...],
) -> Moments:
    """Return a running mean, variance and count, in float64."""
    parts = []
    for name in ("running_mean", "running_var"):
        array = model.get(f"{root}.{name}")
        if array is None or array.shape != shape:
            found = "missing" if array is None else f"{array.shape}"
            raise UserError(
                f"the checkpoint does not fit {settings.source}: {root}.{name} is "
                f"{found} and not {shape}"
            )
        parts.append(array.astype(np.float64))
    count = model.get(f"{root}.count", np.ones(1))
    if count.size != 1:
        raise UserError(
            f"the checkpoint does not fit {settings.source}: {root}.count is "
            f"{count.shape} and not one number"
        )
    if (parts[1].size and parts[1].min() < 0) or count.min() < 0:
        raise UserError(
            f"the checkpoint is damaged: {root} has a negative variance or count"
        )
    return Moments(parts[0], parts[1], count.astype(np.float64).reshape(()))
