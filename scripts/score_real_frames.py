"""Read labelled pictures of real hands by the landmark net and our SHPE; a Markdown table.

Usage::

    python scripts/score_real_frames.py --labelled FOLDER [--shpe small --weights FILE]
        [--mediapipe] [-o table.md] [--sheet sheet.png]

FOLDER holds FreiHAND, InterHand2.6M and so on (see :mod:`hdrvideo.validate.labelled`). Each hand is
read from five squares round its labelled joints, as tracking takes them, each a little off; the
side is given. Rows named "landmark" are MediaPipe's hand landmark net as we run it; "in camera"
means put into the picture's true camera, as ``annotate`` does. With ``--mediapipe`` (needs the
extra ``compare``) MediaPipe Hands as a whole, in image mode with two hands and its default
thresholds, must find the hands by itself; who is whose is decided as in the benchmark
(:mod:`hdrvideo.validate.match`), sides are not asked for. Rules of the columns:
:mod:`hdrvideo.validate.labelled_scores`. The sheet shows the labels thin and what was read thick.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from score_real import table

from hdrvideo.build import small_shpe
from hdrvideo.checkpoint import load_weights, weights_path
from hdrvideo.crop.take import Pyramid, take_crop, take_hands
from hdrvideo.datatypes import N_JOINTS, N_SIDES, U8
from hdrvideo.errors import HdrVideoError
from hdrvideo.frame.detnet import DetNetSmall, DetReader, DetShpe
from hdrvideo.frame.lift import lift_hands
from hdrvideo.frame.shpe import CropPoses, LandmarkNet, LandmarkShpe
from hdrvideo.frame.stage import MixedShpe
from hdrvideo.geometry import apply_affine, invert_affine, square_from_pose, turn_xy
from hdrvideo.hand import BONES
from hdrvideo.output.colours import SIDE_RGB
from hdrvideo.sets.sample import load_rgb_u8
from hdrvideo.sheets import draw_sheet
from hdrvideo.validate.labelled import F64, LabelledHand, load_labelled
from hdrvideo.validate.labelled_scores import HEAD, Reading, measure, rows_of, squares_of
from hdrvideo.validate.match import match_hands

DRAWS = 5
TILE_PX = 256
# The sheet's square over the tracking square: what is beyond the fingertips is shown, too.
SHEET_SCALE = 1.2
TRUTH_RGB = (255, 255, 255)


def build_readers(shpe: str, weights: Path | None) -> LandmarkShpe | DetShpe:
    """Load the net: the landmark net alone, or our small one with the landmark net in it."""
    if shpe == "landmark":
        net = LandmarkNet().eval()
        load_weights(net, weights or weights_path("landmark"))
        return LandmarkShpe(net)
    return DetShpe(DetReader(small_shpe(weights)).eval(), resolution_px=DetNetSmall.RESOLUTION_PX)


def read_hand(
    shpe: LandmarkShpe | DetShpe, hand: LabelledHand, picture: U8, seed: int
) -> list[Reading]:
    """Read a hand from its squares: readings of each net, plain and in the camera."""
    crops = take_hands(Pyramid(picture), squares_of(hand, DRAWS, seed), shpe.resolution_px)
    answers: dict[str, CropPoses]
    with torch.inference_mode():
        if isinstance(shpe, DetShpe):
            said = shpe.look(crops.rgb)
            # As `annotate` takes them: see `shpe_2d` of the settings.
            mean = MixedShpe(shpe, uv="mean", xyz="own")(crops.rgb)
            answers = {"landmark": said.landmark, "ours": said.poses, "ours, mean 2D": mean}
        else:
            answers = {"landmark": shpe(crops.rgb)}
    readings = []
    for name, poses in answers.items():
        uv_px = apply_affine(crops.frame_from_crop, poses.uv_crop_px.numpy())
        xyz_mm = turn_xy(crops.frame_from_crop, poses.xyz_crop_mm.numpy())
        readings += [Reading(name, hand, *one) for one in zip(uv_px, xyz_mm, strict=True)]
        if hand.camera is not None:
            lifted = lift_hands(uv_px, xyz_mm, hand.camera)
            who = f"{name}, in camera"
            readings += [Reading(who, hand, *one) for one in zip(uv_px, lifted, strict=True)]
    return readings


def mediapipe_hands(picture: U8) -> list[tuple[F64, F64]]:
    """Find hands by MediaPipe Hands: joints in the picture, and root-free ones in millimetres."""
    import mediapipe as mp

    size = np.array([picture.shape[1], picture.shape[0]])
    with mp.solutions.hands.Hands(static_image_mode=True, max_num_hands=N_SIDES) as tracker:
        found = tracker.process(picture)
    flat, space = found.multi_hand_landmarks or [], found.multi_hand_world_landmarks or []
    return [
        (
            np.array([(p.x, p.y) for p in one.landmark]) * size - 0.5,
            np.array([(p.x, p.y, p.z) for p in world.landmark]) * 1000,
        )
        for one, world in zip(flat, space, strict=True)
    ]


def mediapipe_readings(hands: Sequence[LabelledHand], pictures: dict[Path, U8]) -> list[Reading]:
    """Run MediaPipe Hands on each picture."""
    readings = []
    for path, picture in pictures.items():
        known = [hand for hand in hands if hand.picture == path]
        size_px = (picture.shape[1], picture.shape[0])
        readings += match_readings("MediaPipe", known, mediapipe_hands(picture), size_px)
    return readings


def match_readings(
    reader: str,
    hands: Sequence[LabelledHand],
    found: Sequence[tuple[F64, F64]],
    size_px: tuple[int, int],
) -> list[Reading]:
    """Give found hands to the labelled hands of one picture.

    Args:
        reader: Who found them.
        hands: One or two, of different sides.
        found: Up to two pairs of uv and xyz.
        size_px: Width and height of the picture.
    """
    true = np.full((1, N_SIDES, N_JOINTS, 2), np.nan)
    predicted = true.copy()
    palm_px, present = np.full((1, N_SIDES), np.nan), np.zeros((1, N_SIDES), dtype=bool)
    for hand in hands:
        true[0, hand.side], palm_px[0, hand.side] = hand.uv_px, hand.palm_px
        present[0, hand.side] = True
    for place, (uv_px, _) in enumerate(found):
        predicted[0, place] = uv_px
    partners = match_hands(predicted, true, present, palm_px, size_px).partner[0]
    return [
        Reading(reader, hand, *(found[partners[hand.side]] if partners[hand.side] >= 0 else ()))
        for hand in hands
    ]


def draw_reading(picture: U8, reading: Reading) -> U8:
    """Draw the labels thin and white, what was read thick, in a square round the labelled hand."""
    hand = reading.hand
    exact = square_from_pose(hand.uv_px, mirror=False)
    square = type(exact)(exact.u_px, exact.v_px, exact.size_px * SHEET_SCALE)
    tile = take_crop(Pyramid(picture), square, TILE_PX, replicate=False)
    way = invert_affine(square.frame_from_crop(TILE_PX))
    if reading.uv_px is not None:
        points = np.rint(apply_affine(way, reading.uv_px)).astype(int)
        for a, b in BONES:
            cv2.line(tile, points[a], points[b], SIDE_RGB[hand.side], 3, cv2.LINE_AA)
    points = np.rint(apply_affine(way, hand.uv_px)).astype(int)
    for a, b in BONES:
        if hand.labelled[a] and hand.labelled[b]:
            cv2.line(tile, points[a], points[b], TRUTH_RGB, 1, cv2.LINE_AA)
    epe = 100 * measure(reading)[1]
    cv2.putText(
        tile, f"{epe:.0f} %", (6, TILE_PX - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 0), 1
    )
    return tile


def draw_readings(readings: Iterable[Reading], pictures: dict[Path, U8]) -> U8:
    """Draw the first reading of each hand, a row a reader, as many rows as hands need."""
    first: dict[tuple[str, str], Reading] = {}
    for one in readings:
        if "camera" not in one.reader:
            first.setdefault((one.hand.name, one.reader), one)
    readers = list(dict.fromkeys(reader for _, reader in first))
    names = list(dict.fromkeys(name for name, _ in first))
    rows = []
    for start in range(0, len(names), 6):
        some = names[start : start + 6]
        for reader in readers:
            shown = [first[name, reader] for name in some if (name, reader) in first]
            tiles = [draw_reading(pictures[one.hand.picture], one) for one in shown]
            rows.append((f"{reader}: {'; '.join(some)}", tiles))
    return draw_sheet(rows, tile_px=TILE_PX)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labelled", type=Path, required=True, help="folder of labelled sets")
    parser.add_argument("--shpe", choices=("landmark", "small"), default="landmark")
    parser.add_argument("--weights", type=Path, help="of the net; default: the shipped ones")
    parser.add_argument("--mediapipe", action="store_true", help="run MediaPipe Hands as well")
    parser.add_argument("-o", "--output", type=Path, help="write the table here as well")
    parser.add_argument("--sheet", type=Path, help="picture of all hands")
    args = parser.parse_args()
    torch.set_num_threads(1)
    readings: list[Reading] = []
    try:
        hands = load_labelled(args.labelled)
        shpe = build_readers(args.shpe, args.weights)
        pictures = {hand.picture: load_rgb_u8(hand.picture) for hand in hands}
        for seed, hand in enumerate(hands):
            readings += read_hand(shpe, hand, pictures[hand.picture], seed)
    except HdrVideoError as error:
        sys.exit(f"error: {error}")
    if args.mediapipe:
        try:
            readings += mediapipe_readings(hands, pictures)
        except ImportError as error:
            sys.exit(f'error: {error}; pip install ".[compare]"')
    text = table(HEAD, rows_of(readings))
    print(text)
    if args.output:
        args.output.write_text(text + "\n", encoding="utf-8")
    if args.sheet:
        cv2.imwrite(str(args.sheet), draw_readings(readings, pictures)[..., ::-1])


if __name__ == "__main__":
    main()
