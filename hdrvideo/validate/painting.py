"""Scores of a painted bare hand against the true one, in a region of one picture.

Pictures are ``(3, H, W)`` float RGB in 0..1, regions ``(H, W)`` bool. What leaves the region out of
account is the caller's choice: give the *composite* (the prediction in the hole, the input around
it) where a published number does so. Regions: :func:`hdrvideo.validate.masks.hole_region`, the
hand's hidden part, and :func:`hdrvideo.validate.masks.removed_region`, the background behind the
other hand; they are hard in different ways and never averaged together.

A region of fewer than :data:`MIN_REGION_PX` pixels scores NaN.
"""

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from hdrvideo.datatypes import Bool, check_array
from hdrvideo.errors import ShapeError

F32 = NDArray[np.float32]

MIN_REGION_PX: Final = 16
# Equal pictures have no finite PSNR; 60 dB is an error of a quarter grey level of 255.
MAX_PSNR_DB: Final = 60.0
PYRAMID_LEVELS: Final = 4
_LUMA: Final = np.array([0.299, 0.587, 0.114])


def hole_l1(predicted: NDArray[Any], true: NDArray[Any], region: Bool) -> float:
    """Give the mean absolute difference over the region's pixels and channels, 0..1."""
    a, b = _checked(predicted, true, region)
    return float(np.abs(a - b)[:, region].mean()) if _is_scored(region) else float("nan")


def hole_psnr_db(predicted: NDArray[Any], true: NDArray[Any], region: Bool) -> float:
    """Give the peak signal-to-noise ratio over the region, at most :data:`MAX_PSNR_DB`."""
    a, b = _checked(predicted, true, region)
    if not _is_scored(region):
        return float("nan")
    mean_square = float(((a - b)[:, region].astype(np.float64) ** 2).mean())
    return float(min(-10 * np.log10(max(mean_square, 1e-12)), MAX_PSNR_DB))


def hole_ssim(predicted: NDArray[Any], true: NDArray[Any], region: Bool) -> float:
    """Give the structural similarity of brightness, averaged over the region.

    Wang et al., "Image Quality Assessment" (2004): 11 x 11 Gaussian window of 1.5 px, K1 0.01,
    K2 0.03, range 1. Windows reach out of the region into the pictures as they are.
    """
    a, b = _checked(predicted, true, region)
    if not _is_scored(region):
        return float("nan")
    x, y = (np.tensordot(_LUMA, p, axes=1) for p in (a, b))
    mean_x, mean_y = _window(x), _window(y)
    var_x, var_y = _window(x * x) - mean_x**2, _window(y * y) - mean_y**2
    cov = _window(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    ssim = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    ssim = ssim / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return float(ssim[region].mean())


def hole_laplacian_distance(predicted: NDArray[Any], true: NDArray[Any], region: Bool) -> float:
    """Give the mean absolute difference of the Laplacian pyramids over the region.

    Detail that is missing, misplaced or invented costs at its own scale; a smooth shift in
    brightness costs nothing, L1 has it. As in Bojanowski et al., "Optimizing the Latent Space of
    Generative Networks" (2018), but each of the :data:`PYRAMID_LEVELS` levels counts by its mean,
    and the rest below them does not. No net is needed; :mod:`hdrvideo.validate.perceptual` has the
    net's one.
    """
    a, b = _checked(predicted, true, region)
    if not _is_scored(region):
        return float("nan")
    difference = np.ascontiguousarray((a - b).transpose(1, 2, 0))
    weight = region.astype(np.float32)
    total = 0.0
    # Pyramids are linear: the pyramid of the difference is the difference of the pyramids.
    for _ in range(PYRAMID_LEVELS):
        coarse = cv2.pyrDown(difference)
        height, width = difference.shape[:2]
        detail = difference - cv2.pyrUp(coarse, dstsize=(width, height))
        total += _weighted_mean(np.abs(detail), weight)
        difference, weight = coarse, cv2.pyrDown(weight)
    return total


def flicker_l1(
    predicted: NDArray[Any], predicted_next: NDArray[Any], to_next_px: NDArray[Any], region: Bool
) -> float:
    """Give the warp error: how unlike a hand is to itself one frame on, along its true motion.

    Args:
        predicted: ``(3, H, W)`` of one frame.
        predicted_next: ``(3, H', W')`` of the next frame.
        to_next_px: ``(H, W, 2)`` u and v of each pixel's place in the next picture; NaN where it is
            not to be seen there. :func:`hdrvideo.validate.handflow.hand_motion` gives it.
        region: ``(H, W)`` bool, where to measure: the whole hand, or its hidden part.

    Returns:
        Mean absolute difference in 0..1 over the region's pixels that have a place in the next
        picture. The true bare pictures have a flicker too (light, rounding): give it beside.
    """
    check_array("predicted_next", predicted_next, (3, None, None), "")
    check_array("region", region, (None, None), "bool")
    check_array("predicted", predicted, (3, *region.shape), "")
    check_array("to_next_px", to_next_px, (*region.shape, 2), "")
    height, width = predicted_next.shape[1:]
    place = np.asarray(to_next_px, dtype=np.float32)
    place = np.where(np.isfinite(place), place, np.float32(-1))
    inside = (place >= 0) & (place <= np.array([width - 1, height - 1]))
    scored = region & inside[..., 0] & inside[..., 1]
    if not _is_scored(scored):
        return float("nan")
    picture = np.ascontiguousarray(np.asarray(predicted_next, np.float32).transpose(1, 2, 0))
    warped = cv2.remap(picture, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return hole_l1(warped.transpose(2, 0, 1), predicted, scored)


def _window(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(cv2.GaussianBlur(values, (11, 11), 1.5, borderType=cv2.BORDER_REFLECT))


def _weighted_mean(values: F32, weight: F32) -> float:
    return float((values.mean(axis=-1) * weight).sum() / max(float(weight.sum()), 1e-9))


def _is_scored(region: Bool) -> bool:
    return int(region.sum()) >= MIN_REGION_PX


def _checked(predicted: NDArray[Any], true: NDArray[Any], region: Bool) -> tuple[F32, F32]:
    check_array("region", region, (None, None), "bool")
    for name, picture in (("predicted", predicted), ("true", true)):
        check_array(name, picture, (3, *region.shape), "")
        if picture.dtype.kind != "f":
            raise ShapeError(f"{name} is {picture.dtype}, expected floats in 0..1; divide by 255")
    return np.asarray(predicted, dtype=np.float32), np.asarray(true, dtype=np.float32)
