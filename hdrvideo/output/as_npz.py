"""NumPy archive: the arrays of a track under their own names, no pickle inside."""

from pathlib import Path

import numpy as np

from hdrvideo.angles import ANGLE_JOINTS, ANGLES, joint_angles_deg
from hdrvideo.files import write_npz
from hdrvideo.hand import JOINTS, SIDES
from hdrvideo.output.save import strict_json
from hdrvideo.track import PROVENANCE, PoseTrack


def save_npz(track: PoseTrack, path: Path, overwrite: bool = False) -> Path:
    """Write every array of a track, for ``np.load(path, allow_pickle=False)``.

    Axis 0 is the source frame, axis 1 the side (``side_names``), axis 2 the joint
    (``joint_names``); ``uv_px``, ``xyz_cam_mm``, ``xyz_rel_mm``, ``raw_uv_px``,
    ``raw_xyz_cam_mm``, ``confidence``, ``side_score``, ``turn_rad``, ``shape`` and ``angles_deg``
    are NaN where there is no value. ``angles_deg`` ``(T, 2, 15, 3)`` are ``turn_rad`` taken apart:
    axis 2 is the finger joint (``angle_joint_names``), axis 3 the angle (``angle_names``).
    ``provenance`` indexes ``provenance_names``; ``time_base`` is numerator and denominator of the
    seconds per unit of ``pts``; ``meta_json`` is the meta data of the track as text.

    Raises:
        WriteError: The file exists, its folder does not, or the system refuses the write.
    """
    meta = track.meta
    arrays = {
        "uv_px": track.uv_px,
        "xyz_cam_mm": track.xyz_cam_mm,
        "xyz_rel_mm": track.xyz_rel_mm,
        "raw_uv_px": track.raw_uv_px,
        "raw_xyz_cam_mm": track.raw_xyz_cam_mm,
        "present": track.present,
        "confidence": track.confidence,
        "visible": track.visible,
        "provenance": track.provenance,
        "provenance_names": np.array(PROVENANCE),
        "side_score": track.side_score,
        "turn_rad": track.turn_rad,
        "shape": track.shape,
        "angles_deg": joint_angles_deg(track.turn_rad),
        "angle_joint_names": np.array(ANGLE_JOINTS),
        "angle_names": np.array(ANGLES),
        "frame_index": track.frame_index,
        "pts": track.pts,
        "pts_seconds": track.pts_seconds,
        "time_base": np.array([meta.time_base.numerator, meta.time_base.denominator], np.int64),
        "joint_names": np.array(JOINTS),
        "side_names": np.array(SIDES),
        "meta_json": np.array(strict_json(meta.to_json())),
    }
    write_npz(path, arrays, overwrite=overwrite)
    return path
