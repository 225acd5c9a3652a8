"""hdrvideo: a hand video goes in; two steady 3D hands come out.

>>> import hdrvideo
>>> track = hdrvideo.annotate("clip.mp4")          # doctest: +SKIP
>>> track.xyz_cam_mm.shape                         # doctest: +SKIP
(T, 2, 21, 3)
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public names and where they live. They are loaded when first used: importing hdrvideo is quick,
# and reading a track needs neither torch nor a video library.
_HOMES = {
    "annotate": "hdrvideo.pipeline",
    "stream": "hdrvideo.pipeline",
    "live": "hdrvideo.livefeed",
    "render": "hdrvideo.jobs",
    "load": "hdrvideo.output.save",
    "save": "hdrvideo.output.save",
    "export": "hdrvideo.output.formats",
    "PoseTrack": "hdrvideo.track",
    "Settings": "hdrvideo.config",
    "HdrVideoError": "hdrvideo.errors",
}
_REAL_NAMES = {"load": "load_track", "save": "save_track"}
__all__ = ["__version__", *sorted(_HOMES)]

if TYPE_CHECKING:
    from hdrvideo.config import Settings as Settings
    from hdrvideo.errors import HdrVideoError as HdrVideoError
    from hdrvideo.jobs import render as render
    from hdrvideo.livefeed import live as live
    from hdrvideo.output.formats import export as export
    from hdrvideo.output.save import load_track, save_track
    from hdrvideo.pipeline import annotate as annotate
    from hdrvideo.pipeline import stream as stream
    from hdrvideo.track import PoseTrack as PoseTrack

    load, save = load_track, save_track


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hdrvideo' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), _REAL_NAMES.get(name, name))
