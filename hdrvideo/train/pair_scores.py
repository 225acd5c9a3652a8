"""How good both hands' joints are, on a batch with its truth."""

import math

import numpy as np
from torch import Tensor

from hdrvideo.frame.detmaps import chance_right
from hdrvideo.frame.pair import PairJoints
from hdrvideo.train.pose_scores import HandErrors, reliability


def pair_scores(joints: PairJoints, truth: dict[str, Tensor]) -> dict[str, float]:
    """Score hands whose joints are all known and in the view.

    Args:
        joints: Predictions.
        truth: As the net was taught.

    Returns:
        ``epe`` (% of palm length), ``pck``, ``mpjpe`` and ``pa_mpjpe`` (mm, the first with the
        reference bone scaled), ``pck3d``, as of :meth:`HandErrors.scores`; ``calibration`` of the
        confidence; ``way`` (mean error of the way in depth from wrist to wrist, in reference
        bones). What no hand tells is NaN.
    """
    whole = (truth["joint_weight"].sum(dim=-1) == truth["joint_weight"].shape[-1]).flatten()
    whole &= (truth["bone_mm"] > 0).flatten()
    known = {
        name: truth[name].flatten(0, 1)[whole].numpy()
        for name in ("uv_px", "palm_px", "xyz", "bone_mm")
    }
    uv_px, xyz, log_error = (
        value.flatten(0, 1)[whole] for value in (joints.uv_px, joints.xyz, joints.log_error)
    )
    errors = HandErrors.of(uv_px.numpy(), xyz.numpy(), known)
    scores = errors.scores(np.ones(int(whole.sum()), dtype=bool))
    curve = reliability(chance_right(log_error).numpy(), errors.off_palms)
    is_pair = truth["way_weight"] > 0
    way = (joints.way[:, 0] - truth["way"]).abs()[is_pair]
    return {
        **scores,
        "calibration": curve["calibration"],
        "way": float(way.mean()) if len(way) else math.nan,
    }
