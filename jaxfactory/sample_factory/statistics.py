"""Converts Sample Factory's normalization statistics into jaxfactory's.

Sample Factory maps an image x to ``clip(((x - m) / s - mean) / sqrt(var + eps))`` with
``m = obs_subtract_mean`` and ``s = obs_scale``. jaxfactory's statistics are those of
``x / 255``. Both use the same eps and clip, so m and s are folded into mean and
variance. If the experiment does not normalize observations, the converted statistics
are neutral, and m and s are folded into the first layers instead.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxfactory._util.errors import UserError
from jaxfactory.models.normalization import EPS
from jaxfactory.sample_factory.settings import Settings
from jaxfactory.spec import ObservationSpec


_PIXEL = 255.0
# A smaller variance is lost in float32 when eps is added.
_LEAST_VARIANCE = 1e-7
# Measurements that are not normalized are divided by this so that none is clipped; the
# layer that reads them multiplies by it.
_ROOM = 64.0


class Moments(NamedTuple):
    """Mean, variance and count in jaxfactory's units, as in `RunningStats`."""

    mean: np.ndarray
    var: np.ndarray
    count: np.ndarray


class Folded(NamedTuple):
    """What to fold into the first layers: they must read ``factor * x + shift``."""

    image: tuple[float, float] = (1.0, 0.0)
    measurements: float = 1.0


def observation_moments(
    settings: Settings, model: Mapping[str, np.ndarray], spec: ObservationSpec
) -> tuple[dict[str, Moments], Folded]:
    """Return the statistics of each observation, and what to fold into the layers.

    Raises:
        UserError: If the checkpoint lacks them, or they cannot be converted.
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
    """Return the statistics of the returns; None if they are not normalized.

    Raises:
        UserError: If the checkpoint lacks them.
    """
    if not settings.get("normalize_returns", True):
        return None
    found = _read(settings, model, "returns_normalizer", (1,))
    return Moments(np.array(found.mean[0]), np.array(found.var[0]), found.count)


def fold(params: dict[str, Any], folded: Folded) -> None:
    """Fold a factor and a shift into the first layers, in place.

    Raises:
        UserError: If a padded convolution would need a shift, which is impossible at
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
            "this agent cannot be imported: jaxfactory's resnet_impala has no "
            "counterpart of obs_subtract_mean without normalize_input"
        )
    first = encoder["stage_0"]["conv"] if padded else encoder["conv_0"]
    first["bias"] = first["bias"] + np.float32(shift) * first["kernel"].sum((0, 1, 2))
    first["kernel"] = np.float32(factor) * first["kernel"]


def _still(shape: tuple[int, ...], divisor: float = 1.0) -> Moments:
    """Return statistics that only divide by a constant."""
    return Moments(np.zeros(shape), np.full(shape, divisor**2 - EPS), np.ones(()))


def _rescaled(
    settings: Settings, stats: Moments, scale: float, offset: float
) -> Moments:
    """Turn statistics of (x - offset) / scale into those of x / 255."""
    ratio = scale / _PIXEL
    spread = (stats.var + EPS) * ratio**2
    if spread.min() < _LEAST_VARIANCE:
        raise UserError(
            f"{settings.source}: this agent cannot be imported: it normalizes pixels "
            f"divided by {scale:g} (obs_scale), and their variance is lost in float32 "
            "when they are divided by 255, as jaxfactory does"
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
