"""The commands ``hdrvideo synth ...`` and ``hdrvideo validate ...``; see ``cli.py``."""

import re
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from hdrvideo.errors import SettingsError
from hdrvideo.terminal import Device, say, show_progress

synth_app = typer.Typer(
    name="synth",
    help="Make videos of two hands with exact truth.",
    no_args_is_help=True,
)
validate_app = typer.Typer(
    name="validate", help="Score tracks against a truth.", no_args_is_help=True
)

OutFolder = Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")]
Seed = Annotated[int, typer.Option("--seed", help="Which scene; the same seed, the same clip.")]
Skins = Annotated[
    Path | None,
    typer.Option("--skins", help="Folder of MakeHuman skins; without, skins are procedural."),
]
Backgrounds = Annotated[
    list[Path] | None,
    typer.Option("--backgrounds", help="Folder of pictures or clips; may be given again."),
]
Split = Annotated[str, typer.Option("--split", help="train or test.")]
Relation = Annotated[str | None, typer.Option("--relation", help="What the hands do.")]
CameraKind = Annotated[str | None, typer.Option("--camera", help="third_person or egocentric.")]
Frames = Annotated[int, typer.Option("--frames", help="Frames a clip.")]
Size = Annotated[str, typer.Option("--size", help="Picture size, WIDTHxHEIGHT.")]
HandShare = Annotated[
    tuple[float, float],
    typer.Option("--hand-share", help="Least and most of the picture that the hands' box takes."),
]
Supersample = Annotated[int, typer.Option("--supersample", help="Samples a pixel side, 1 to 8.")]
Effects = Annotated[
    bool, typer.Option("--effects/--no-effects", help="Blur, noise, compression as of a camera.")
]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where to render.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]


def _size_px(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if found is None:
        raise SettingsError(f"--size is {text!r}, expected WIDTHxHEIGHT such as 640x480")
    return int(found[1]), int(found[2])


def _render_device(device: Device) -> str:
    from hdrvideo.build import pick_device

    return str(pick_device(device.value))


@synth_app.command("clip")
def make_clip(
    out: OutFolder,
    name: Annotated[str, typer.Option("--name", help="Stem of the file.")] = "clip",
    seed: Seed = 0,
    relation: Relation = None,
    camera: CameraKind = None,
    frames: Frames = 64,
    size: Size = "640x480",
    split: Split = "train",
    skins: Skins = None,
    backgrounds: Backgrounds = None,
    hand_share: HandShare = (0.05, 0.9),
    supersample: Supersample = 2,
    effects: Effects = True,
    device: DeviceOption = Device.auto,
    overwrite: Overwrite = False,
) -> None:
    """Make one clip: OUT/NAME.mp4, and its truth in OUT/truth/NAME/."""
    from hdrvideo import world
    from hdrvideo.synth.arrange import SceneSettings

    width, height = _size_px(size)
    settings = SceneSettings(
        n_frames=frames,
        height_px=height,
        width_px=width,
        relation=relation,
        camera=camera,
        hand_share=hand_share,
    )
    made = world.World.load(
        split, skins=skins, backgrounds=backgrounds or (), device=_render_device(device)
    )
    clip = out / f"{name}.mp4"
    with show_progress(clip.name, frames) as on_progress:
        scene = world.make_clip(
            *(made, seed, settings, clip, out / "truth" / name),
            supersample=supersample,
            effects=effects,
            overwrite=overwrite,
            on_progress=partial(on_progress, "rendering"),
        )
    say(f"{clip}: {scene.relation}, {scene.camera}, {len(scene)} frames, seed {seed}")


@synth_app.command("shards")
def make_shards(
    out: OutFolder,
    shards: Annotated[int, typer.Option("--shards", help="How many files.")] = 16,
    scenes: Annotated[int, typer.Option("--scenes", help="Scenes a shard.")] = 32,
    frames_each: Annotated[int, typer.Option("--frames-each", help="Frames of a scene.")] = 8,
    seed: Seed = 0,
    relation: Relation = None,
    camera: CameraKind = None,
    size: Size = "192x192",
    split: Split = "train",
    skins: Skins = None,
    backgrounds: Backgrounds = None,
    supersample: Supersample = 1,
    effects: Effects = True,
    workers: Annotated[int, typer.Option("--workers", help="Processes beside this one.")] = 0,
    device: DeviceOption = Device.auto,
) -> None:
    """Make training pictures with their truth in files, and a manifest of them."""
    from hdrvideo.synth.arrange import SceneSettings
    from hdrvideo.synth.shards import StreamSettings, read_manifest, stream_of, write_shards

    width, height = _size_px(size)
    scene = SceneSettings(height_px=height, width_px=width, relation=relation, camera=camera)
    settings = StreamSettings(
        scene, n_scenes=scenes, n_frames_each=frames_each, effects=effects, supersample=supersample
    )
    make = partial(
        stream_of,
        settings,
        split,
        skins,
        tuple(backgrounds or ()),
        seed=seed,
        device=_render_device(device),
    )
    with show_progress("shards", shards) as on_progress:
        manifest = write_shards(
            out, make, shards, n_workers=workers, on_progress=partial(on_progress, "shards")
        )
    say(f"{manifest}: {read_manifest(out)['pictures']} pictures in {shards} shards")


@synth_app.command("benchmark")
def make_benchmark(
    out: OutFolder,
    skins: Skins = None,
    backgrounds: Backgrounds = None,
    frames: Frames = 64,
    share: Annotated[float, typer.Option("--share", help="Share of the clips to make.")] = 1.0,
    device: DeviceOption = Device.auto,
) -> None:
    """Make the benchmark: OUT/clips/*.mp4, OUT/truth/ and OUT/manifest.json; goes on if broken."""
    from hdrvideo import world

    made = world.World.load(
        "test", skins=skins, backgrounds=backgrounds or (), device=_render_device(device)
    )
    plan = world.plan_benchmark(n_frames=frames, share=share)
    with show_progress("benchmark", len(plan)) as on_progress:
        manifest = world.make_benchmark(made, out, plan, on_progress=on_progress)
    say(f"{manifest}: {len(plan)} clips, {sum(p.settings.n_frames for p in plan)} frames")


@synth_app.command("preview")
def make_preview(
    out: OutFolder,
    seed: Seed = 0,
    relation: Relation = None,
    camera: CameraKind = None,
    frames: Frames = 64,
    size: Size = "320x240",
    split: Split = "train",
    skins: Skins = None,
    backgrounds: Backgrounds = None,
    device: DeviceOption = Device.auto,
    overwrite: Overwrite = False,
) -> None:
    """Draw what the world looks like: OUT/sheet.png, and a video of each relation."""
    from hdrvideo import world
    from hdrvideo.synth.arrange import SceneSettings

    width, height = _size_px(size)
    settings = SceneSettings(
        n_frames=frames, height_px=height, width_px=width, relation=relation, camera=camera
    )
    made = world.World.load(
        split, skins=skins, backgrounds=backgrounds or (), device=_render_device(device)
    )
    with show_progress("preview", None) as on_progress:
        written = world.make_preview(
            *(made, out, settings),
            seed=seed,
            overwrite=overwrite,
            on_progress=partial(on_progress, "relations"),
        )
    for path in written:
        say(str(path))


@synth_app.command("harvest")
def harvest(
    clips: Annotated[list[Path], typer.Argument(help="Videos to take hands from.")],
    out: OutFolder,
    licence: Annotated[str, typer.Option("--licence", help="Licence of the clips, kept by each.")],
    every: Annotated[int, typer.Option("--every", help="Look at every so many frames.")] = 5,
    max_per_clip: Annotated[int, typer.Option("--max-per-clip", help="Crops of a clip.")] = 100,
    device: DeviceOption = Device.auto,
) -> None:
    """Cut real single hands with their masks out of clips, for pasting."""
    from hdrvideo.harvest import harvest_to

    with show_progress("harvest", None) as on_progress:
        counts = harvest_to(
            *(clips, out),
            licence=licence,
            every=every,
            max_per_clip=max_per_clip,
            device=device.value,
            on_progress=on_progress,
        )
    say(f"{out}: {counts.kept} hands kept of {counts.looked_at} looked at")
    for reason, count in counts.rejected.items():
        if count:
            say(f"  {count} left out: {reason}")
    for line in counts.failed:
        say(f"  failed: {line}")
    if counts.failed:
        raise typer.Exit(1)


@validate_app.command("benchmark")
def score_benchmark(
    benchmark: Annotated[Path, typer.Argument(help="Folder made by `hdrvideo synth benchmark`.")],
    tracks: Annotated[Path, typer.Argument(help="Folder with <clip>/track.parquet.")],
    out: OutFolder,
    perceptual_weights: Annotated[
        Path | None,
        typer.Option(
            "--perceptual-weights", help="SqueezeNet 1.0 (.npz) to judge painted hands with."
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Score tracks against the made truth; print the table and write it to OUT."""
    from hdrvideo.validate.benchmark import score_benchmark as score
    from hdrvideo.validate.report import write_report

    report = score(benchmark, tracks, perceptual_weights=perceptual_weights)
    out.mkdir(parents=True, exist_ok=True)
    say(report.to_text())
    for path in write_report(report, out, overwrite=overwrite):
        say(str(path))


@validate_app.command("set")
def validate_set(
    name: Annotated[str, typer.Argument(help="The set, such as interhand2.6m or freihand.")],
    folder: Annotated[Path, typer.Argument(help="Its folder; see docs/datasets.md.")],
    out: OutFolder,
    split: Annotated[
        str | None, typer.Option("--split", help="Another split than its test.")
    ] = None,
    part: Annotated[
        str, typer.Option("--part", help="Of InterHand2.6M: all, human or machine.")
    ] = "all",
    limit: Annotated[
        int | None, typer.Option("--limit", help="Read so many samples, evenly spread.")
    ] = None,
    only_there: Annotated[
        bool, typer.Option("--only-there", help="Leave out samples that lack a file.")
    ] = False,
    config: Annotated[Path | None, typer.Option("--config", help="Settings file (YAML).")] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Of our own SHPE, small size.")
    ] = None,
    rival: Annotated[
        str | None,
        typer.Option("--rival", help="Read with internet, handoccnet or minimal_hand=WEIGHTS."),
    ] = None,
    rival_size: Annotated[
        str, typer.Option("--rival-size", help="Of the rival: small or paper.")
    ] = "small",
    device: DeviceOption = Device.auto,
    overwrite: Overwrite = False,
) -> None:
    """Read a data set's labelled hands; leave predictions and scores by its protocols in OUT."""
    from hdrvideo import readset
    from hdrvideo.config import load_settings
    from hdrvideo.validate.set_protocols import load_protocols
    from hdrvideo.validate.set_scores import scores_table

    with show_progress(name, limit) as on_progress:
        scores = readset.validate_set(
            *(name, folder, out),
            split=split,
            part=part,
            limit=limit,
            only_there=only_there,
            settings=load_settings(config) if config else None,
            weights=weights,
            rival=None if rival is None else next(iter(_paths("--rival", [rival]).items())),
            rival_size=rival_size,
            device=device.value,
            overwrite=overwrite,
            on_progress=partial(on_progress, "reading"),
        )
    say(scores_table(scores).rstrip())
    say(load_protocols(out / "protocols.json").to_text())
    say(str(out / "protocols.md"))
    say(str(out / readset.PREDICTIONS))


@validate_app.command("table")
def validate_table(
    benchmark: Annotated[Path, typer.Argument(help="Folder made by `hdrvideo synth benchmark`.")],
    out: OutFolder,
    rival: Annotated[
        list[str] | None,
        typer.Option("--rival", help="NAME=FILE, a rival's weights; see docs/benchmark.md."),
    ] = None,
    ours: Annotated[
        list[str] | None,
        typer.Option("--ours", help="NAME=FILE, other weights of ours: shpe, hasm or hdrm."),
    ] = None,
    every: Annotated[int, typer.Option("--every", help="Look at every so many frames.")] = 1,
    data_set: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=FOLDER, a data set to be read, too; docs/datasets.md."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Read so many samples of each set.")
    ] = None,
    perceptual_weights: Annotated[
        Path | None,
        typer.Option("--perceptual-weights", help="SqueezeNet 1.0 (.npz), to judge painting with."),
    ] = None,
    device: DeviceOption = Device.auto,
    overwrite: Overwrite = False,
) -> None:
    """Compare our stages with every rival, hands given; write OUT/table.md, .json and .png."""
    from hdrvideo.comparing import compare
    from hdrvideo.validate.comparison_report import FILES

    with show_progress("table", None) as on_progress:
        made = compare(
            *(benchmark, out),
            rivals=_paths("--rival", rival),
            ours=_paths("--ours", ours),
            every=every,
            sets=_paths("--set", data_set),
            limit=limit,
            perceptual_weights=perceptual_weights,
            device=device.value,
            overwrite=overwrite,
            on_progress=on_progress,
        )
    for line in made.verdicts():
        say(line)
    for name in FILES:
        say(str(out / name))


def _paths(option: str, given: list[str] | None) -> dict[str, Path]:
    """Read NAME=PATH words."""
    found: dict[str, Path] = {}
    for word in given or []:
        name, equals, path = word.partition("=")
        if not (name and equals and path):
            raise SettingsError(
                f"{option} is {word!r}, expected NAME=PATH such as internet=best.safetensors"
            )
        if name in found:
            raise SettingsError(f"{option} names {name} twice; name it once")
        found[name] = Path(path)
    return found
