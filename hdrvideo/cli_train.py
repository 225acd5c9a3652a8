"""``hdrvideo train``: the nets again, on made data or your own."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from hdrvideo.errors import SettingsError
from hdrvideo.terminal import Device, say, show_progress

train_app = typer.Typer(name="train", help="Train a net again.", no_args_is_help=True)


@train_app.callback()
def _root() -> None:
    """Train a net again."""


Config = Annotated[Path, typer.Option("--config", help="Settings file (YAML); see configs/.")]
Out = Annotated[Path, typer.Option("-o", "--out", help="Folder of the run.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run there.")]
Where = Annotated[Device, typer.Option("--device", help="Where to train.")]


@train_app.command()
def hasm(config: Config, out: Out, resume: Resume = False, device: Where = Device.auto) -> None:
    """Train hand amodal segmentation; best.safetensors in the folder is what to ship."""
    _train("hasm", config, out, resume, device)


@train_app.command()
def hdrm(config: Config, out: Out, resume: Resume = False, device: Where = Device.auto) -> None:
    """Train the net that paints a hand whole and removes the other."""
    _train("hdrm", config, out, resume, device)


@train_app.command()
def shpe(
    config: Config,
    out: Out,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=FOLDER of a data set, for those of the settings file."),
    ] = None,
    resume: Resume = False,
    device: Where = Device.auto,
) -> None:
    """Train the net that reads a hand's joints in 3D."""
    _train("shpe", config, out, resume, device, dict(_set(text) for text in sets or ()))


def _set(text: str) -> tuple[str, str]:
    name, is_told, folder = text.partition("=")
    if not (name and is_told and folder):
        raise SettingsError(f"--set is {text!r}, expected NAME=FOLDER such as freihand=data/set")
    return name, folder


@train_app.command()
def frame(config: Config, out: Out, resume: Resume = False, device: Where = Device.auto) -> None:
    """Train the net that reads joints once more, on hands that were painted whole and alone."""
    _train("frame", config, out, resume, device)


@train_app.command()
def refine(config: Config, out: Out, resume: Resume = False, device: Where = Device.auto) -> None:
    """Train the net that makes poses steady over time; `train tracks` makes what it learns from."""
    _train("refine", config, out, resume, device)


@train_app.command("pcnet_mask")
def pcnet_mask(
    config: Config, out: Out, resume: Resume = False, device: Where = Device.auto
) -> None:
    """Train the rival that completes masks and says who hides whom (PCNet-M)."""
    _train("pcnet_mask", config, out, resume, device)


@train_app.command("pcnet_content")
def pcnet_content(
    config: Config, out: Out, resume: Resume = False, device: Where = Device.auto
) -> None:
    """Train the rival that paints hidden parts, one thing at a time (PCNet-C)."""
    _train("pcnet_content", config, out, resume, device)


@train_app.command("human_deocclusion")
def human_deocclusion(
    config: Config, out: Out, resume: Resume = False, device: Where = Device.auto
) -> None:
    """Train the rival that completes and paints hands by their parts (Human De-occlusion)."""
    _train("human_deocclusion", config, out, resume, device)


@train_app.command()
def internet(config: Config, out: Out, resume: Resume = False, device: Where = Device.auto) -> None:
    """Train a rival: InterNet, both hands' joints and handedness from one picture."""
    _train("internet", config, out, resume, device)


@train_app.command()
def handoccnet(
    config: Config, out: Out, resume: Resume = False, device: Where = Device.auto
) -> None:
    """Train a rival: HandOccNet, a hand's pose and shape where something hides it."""
    _train("handoccnet", config, out, resume, device)


@train_app.command(name="minimal_hand")
def minimal_hand(
    config: Config, out: Out, resume: Resume = False, device: Where = Device.auto
) -> None:
    """Train a rival: minimal-hand, a hand's joints and their rotations."""
    _train("minimal_hand", config, out, resume, device)


@train_app.command()
def memory(config: Config, out: Out, resume: Resume = False, device: Where = Device.auto) -> None:
    """Train what a painter makes of frames before; `train clips` makes what it learns from."""
    _train("memory", config, out, resume, device)


Split = Annotated[str, typer.Option("--split", help="train or test.")]
Skins = Annotated[Path | None, typer.Option("--skins", help="Folder of MakeHuman skins.")]
Backgrounds = Annotated[
    list[Path] | None, typer.Option("--backgrounds", help="Folder of pictures; may repeat.")
]
FirstSeed = Annotated[int, typer.Option("--first-seed", help="Seed of the first clip.")]


@train_app.command()
def clips(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the clips.")],
    clips: Annotated[int, typer.Option("--clips", help="How many clips.")] = 24,
    frames: Annotated[int, typer.Option("--frames", help="Frames of a clip.")] = 16,
    first_seed: FirstSeed = 0,
    split: Split = "train",
    skins: Skins = None,
    backgrounds: Backgrounds = None,
    device: Where = Device.auto,
) -> None:
    """Make short made clips with each hand alone and its true motion, for `train memory`.

    Clips that are there already are left.
    """
    from hdrvideo.build import pick_device
    from hdrvideo.synth.assets import Assets
    from hdrvideo.synth.motions import Motions
    from hdrvideo.train.bare_clips import ClipSettings, make_clips

    assets = Assets.find(split, skins=skins, backgrounds=backgrounds or ())
    settings = ClipSettings(n_clips=clips, n_frames=frames, first_seed=first_seed)
    with show_progress("clips", clips) as on_progress:
        make_clips(
            *(out, split, settings, assets, Motions.load(split)),
            device=pick_device(device.value).type,
            on_progress=partial(on_progress, "clips"),
        )
    say(str(out))


@train_app.command()
def tracks(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the tracks.")],
    clips: Annotated[int, typer.Option("--clips", help="How many clips.")] = 100,
    first_seed: FirstSeed = 0,
    split: Split = "train",
    skins: Skins = None,
    backgrounds: Backgrounds = None,
    unread: Annotated[
        bool, typer.Option("--unread", help="Only the truth of scenes, a hundred times as quick.")
    ] = False,
    device: Where = Device.auto,
) -> None:
    """Make practice tracks: made clips, as the frame core reads them, with their truth.

    They are what `train refine` learns from. Tracks that are there already are left, so several
    processes with seeds of their own can fill one folder.
    """
    from hdrvideo.rehearse import RehearsalSettings, rehearse
    from hdrvideo.world import World

    world = World.load(split, skins=skins, backgrounds=backgrounds or ())
    settings = RehearsalSettings(n_clips=clips, first_seed=first_seed, unread=unread)
    with show_progress("tracks", clips) as on_progress:
        rehearse(
            *(world, out, settings),
            device=device.value,
            on_progress=partial(on_progress, "clips"),
        )
    say(str(out))


def _train(
    name: str,
    config: Path,
    out: Path,
    resume: bool,
    device: Device,
    sets: Mapping[str, str] | None = None,
) -> None:
    from hdrvideo.train.state import BEST
    from hdrvideo.training import train_net

    with _told():
        metrics = train_net(name, config, out, resume=resume, device=device.value, sets=sets)
    if not _is_first():
        return
    for metric, value in metrics.items():
        say(f"{metric} {value:.4f}")
    if (out / BEST).is_file():
        say(str(out / BEST))


class _Said(logging.Handler):
    """Prints what the loop tells."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line."""
        say(record.getMessage())


@contextmanager
def _told() -> Iterator[None]:
    """Let the first worker say what the loop tells; the others are silent."""
    from hdrvideo.train.logs import LOGGER

    handler = _Said() if _is_first() else logging.NullHandler()
    level = LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)


def _is_first() -> bool:
    """Tell whether this process is the only one, or the first that ``torchrun`` started."""
    return os.environ.get("RANK", "0") == "0"
