"""What a user should know before a run: versions, devices, codecs, weights."""

import importlib
import importlib.util
import platform
from dataclasses import dataclass
from importlib import metadata

from hdrvideo import __version__
from hdrvideo.build import WEIGHTS
from hdrvideo.checkpoint import weights_path

_NEEDED = ("torch", "av", "numpy", "opencv-python-headless", "pyarrow", "safetensors", "matplotlib")
_DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "gif")


@dataclass(frozen=True)
class Finding:
    """One line of the examination; ``ok`` is False only where the main job could not run."""

    what: str
    found: str
    ok: bool = True


def examine() -> list[Finding]:
    """Look at everything; never raises for what it finds."""
    findings = [
        Finding("hdrvideo", __version__),
        Finding("python", f"{platform.python_version()} on {platform.platform()}"),
    ]
    findings += [_package(name) for name in _NEEDED]
    findings += [_seek(), *_devices(), *_codecs(), _engine()]
    for name in WEIGHTS:
        path = weights_path(name)
        found = f"{path.stat().st_size / 2**20:.1f} MiB" if path.is_file() else f"missing: {path}"
        findings.append(Finding(f"weights {name}", found, path.is_file()))
    return findings


def _package(name: str) -> Finding:
    try:
        return Finding(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, "not installed; pip install hdrvideo again", ok=False)


def _seek() -> Finding:
    if importlib.util.find_spec("decord") is None:
        return Finding("decord2", "not installed; seeking falls back to PyAV")
    return Finding("decord2", metadata.version("decord2"))


def _engine() -> Finding:
    if importlib.util.find_spec("openvino") is None:
        return Finding("openvino", "not installed (optional, faster on a CPU)")
    return Finding("openvino", metadata.version("openvino"))


def _devices() -> list[Finding]:
    import torch

    findings = [Finding("cpu", f"{torch.get_num_threads()} threads")]
    if not torch.cuda.is_available():
        return [*findings, Finding("cuda", "no device; the CPU is used")]
    for i in range(torch.cuda.device_count()):
        findings.append(Finding(f"cuda:{i}", torch.cuda.get_device_name(i)))
    return findings


def _codecs() -> list[Finding]:
    import av

    has = [name for name in _DECODERS if _can(name, "r")]
    missing = [name for name in _DECODERS if name not in has]
    decoders = ", ".join(has) + (f" (missing: {', '.join(missing)})" if missing else "")
    can_write = "libx264" in av.codecs_available
    return [
        Finding("decoders", decoders, bool(has)),
        Finding("encoder", "libx264" if can_write else "libx264 is missing", can_write),
    ]


def _can(name: str, mode: str) -> bool:
    import av

    try:
        av.Codec(name, mode)  # type: ignore[arg-type]
    except av.codec.codec.UnknownCodecError:
        return False
    return True
