"""Pictures with their times: what a clip is, its frames in order or by index, and a new clip."""

from hdrvideo.clip.probe import probe
from hdrvideo.clip.read import ClipReader, open_clip
from hdrvideo.clip.seek import ClipSeeker
from hdrvideo.clip.write import ClipWriter

__all__ = ["ClipReader", "ClipSeeker", "ClipWriter", "open_clip", "probe"]
