"""The command line: parse, call one public function, print, return an exit code.

Exit codes: 0 done, 1 failed (also when one clip of many failed), 2 wrong use.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from hdrvideo import __version__
from hdrvideo.cli_train import train_app
from hdrvideo.cli_world import synth_app, validate_app
from hdrvideo.config import Settings, live_settings, load_settings
from hdrvideo.errors import HdrVideoError, SettingsError
from hdrvideo.terminal import Device, err_console, out_console, say, show_progress

app = typer.Typer(
    name="hdrvideo",
    help="A hand video goes in; two steady 3D hands come out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(synth_app)
app.add_typer(validate_app)
app.add_typer(train_app)


Clips = Annotated[list[str], typer.Argument(help="Videos, folders of pictures, or glob patterns.")]
Clip = Annotated[str, typer.Argument(help="The clip that the track was made from.")]
Track = Annotated[Path, typer.Argument(help="A track.parquet.")]
OutFile = Annotated[Path | None, typer.Option("-o", "--out", help="File to write.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where the nets run.")]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="Settings file (YAML).")]


class _State:
    debug = False


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print tracebacks of errors.")] = False,
) -> None:
    _State.debug = debug
    if version:
        out_console.print(__version__)
        raise typer.Exit


@app.command()
def annotate(
    clips: Clips,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")] = Path("."),
    device: DeviceOption = Device.auto,
    config: ConfigOption = None,
    focal: Annotated[float | None, typer.Option("--focal", help="Focal length, pixels.")] = None,
    fov: Annotated[float | None, typer.Option("--fov", help="Field of view, degrees.")] = None,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="The video is mirrored, as selfies are.")
    ] = False,
    no_refine: Annotated[
        bool, typer.Option("--no-refine", help="Smooth poses only; leave the refiner out.")
    ] = False,
    causal: Annotated[
        bool, typer.Option("--causal", help="Smooth by earlier frames alone; sides still wait.")
    ] = False,
    delay: Annotated[
        int | None, typer.Option("--delay", help="As a live view so many frames late would see.")
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", help="Leave more: masks or crops. May be given again."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Find and follow both hands; leave track, ledger, overlay and summary in OUT/<clip>/."""
    from hdrvideo import jobs

    settings = load_settings(config) if config else Settings()
    settings = jobs.with_camera(settings, focal, fov)
    settings = _switched(settings, delay, mirror=mirror, no_refine=no_refine, causal=causal)
    kept = jobs.check_keep(keep or ())
    folders = jobs.result_folders(clips, out)
    parts = jobs.build_for(settings, device.value)
    n_failed = 0
    for clip, folder in zip(clips, folders, strict=True):
        try:
            with show_progress(clip, jobs.claimed_frames(clip, settings)) as on_progress:
                done = jobs.annotate_to(
                    clip,
                    folder,
                    settings=settings,
                    parts=parts,
                    keep=kept,
                    overwrite=overwrite,
                    on_progress=on_progress,
                )
        except HdrVideoError as error:
            _complain(error)
            n_failed += 1
            continue
        say(f"{clip} -> {done.folder}")
        for line in jobs.describe(done.counts):
            say("  " + line)
        if done.camera.source == "assumed":
            say("  camera assumed (60 degree view): depth is not metric; see --focal and --fov")
    if n_failed:
        if len(clips) > 1:
            say(f"{n_failed} of {len(clips)} clips failed")
        raise typer.Exit(1)


def _switched(
    settings: Settings, delay: int | None, *, mirror: bool, no_refine: bool, causal: bool
) -> Settings:
    """Give settings with the switches of the command line laid over them."""
    if delay is not None:
        settings = live_settings(settings, delay)
    return replace(
        settings,
        mirror=mirror or settings.mirror,
        refine="off" if no_refine else settings.refine,
        motion=replace(settings.motion, causal=causal or settings.motion.causal),
    )


@app.command()
def export(
    track: Track,
    format: Annotated[str, typer.Option("--format", help="npz, csv, json or coco.")],
    out: OutFile = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a track in a format that other tools read."""
    from hdrvideo.output.formats import default_path
    from hdrvideo.output.formats import export as write
    from hdrvideo.output.save import load_track

    target = out or default_path(track, format)
    say(str(write(load_track(track), format, target, overwrite=overwrite)))


@app.command()
def render(
    clip: Clip,
    track: Track,
    out: OutFile = None,
    panels: Annotated[
        str,
        typer.Option(
            "--panels", help="Side by side: raw, overlay, masks, hands, plot; several by commas."
        ),
    ] = "overlay",
    raw: Annotated[bool, typer.Option("--raw", help="Draw raw poses under refined ones.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Draw the review video: same frames, same times, audio kept."""
    from hdrvideo import jobs
    from hdrvideo.output.overlay import OverlayStyle
    from hdrvideo.output.panels import check_panels

    names = check_panels([name.strip() for name in panels.split(",")])
    target = out or track.parent / f"{'_'.join(names)}.mp4"
    with show_progress(clip, jobs.claimed_frames(clip, Settings())) as on_progress:
        jobs.render(
            clip,
            track,
            target,
            panels=names,
            style=OverlayStyle(raw=raw),
            overwrite=overwrite,
            on_progress=on_progress,
        )
    say(str(target))


@app.command()
def report(clip: Clip, track: Track, out: OutFile = None, overwrite: Overwrite = False) -> None:
    """Draw one page: coverage, trajectories, confidence, the six worst frames."""
    from hdrvideo import jobs

    target = out or track.parent / "report.png"
    say(str(jobs.report(clip, track, target, overwrite=overwrite)))


@app.command()
def doctor() -> None:
    """Print versions, devices, codecs and weights; exit 1 if the main job could not run."""
    from hdrvideo.doctor import examine

    findings = examine()
    for finding in findings:
        say(f"{'ok  ' if finding.ok else 'FAIL'} {finding.what}: {finding.found}")
    if not all(f.ok for f in findings):
        raise typer.Exit(1)


@app.command()
def bench(
    clip: Annotated[str, typer.Argument(help="The clip to time.")],
    device: DeviceOption = Device.auto,
    config: ConfigOption = None,
    repeats: Annotated[int, typer.Option("--repeats", help="Runs of each stage.")] = 3,
) -> None:
    """Print frames per second of decode, pose and write apart, and of all together."""
    from hdrvideo import jobs
    from hdrvideo.bench import time_stages

    settings = load_settings(config) if config else Settings()
    for line in time_stages(clip, settings, jobs.build_for(settings, device.value), repeats):
        say(line)


def _complain(error: HdrVideoError) -> None:
    if _State.debug:
        err_console.print_exception()
    err_console.print(f"error: {error}", markup=False)


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        app()
    except SettingsError as error:
        _complain(error)
        sys.exit(2)
    except HdrVideoError as error:
        _complain(error)
        sys.exit(1)
