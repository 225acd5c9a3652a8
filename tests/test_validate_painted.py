"""Painted hands of a clip: resampling, scores of the truth and of worse ones, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from validate_truths import (
    make_scene,
    make_shot,
    painted_arrays,
    random_weights,
    truth_as_painted,
    without,
)

from hdrvideo.errors import TrackError
from hdrvideo.geometry import apply_affine
from hdrvideo.handmodel import HandModel
from hdrvideo.validate.averages import clip_sums
from hdrvideo.validate.bare import load_painted
from hdrvideo.validate.masks import hole_region
from hdrvideo.validate.painting import MAX_PSNR_DB, hole_ssim
from hdrvideo.validate.painting_protocols import (
    PAINTING_METRICS,
    PERCEPTUAL_METRICS,
    compare_painting,
)
from hdrvideo.validate.perceptual import SqueezeNetDistance
from hdrvideo.validate.squares import (
    cut_square,
    frame_from_square,
    resample_square,
    sample_places,
)
from hdrvideo.validate.truth import save_truth

REGIONS = ("hole", "removed")
BEST = {"l1": 0, "psnr": MAX_PSNR_DB, "ssim": 1, "laplacian": 0, "not_covered": 0}


@pytest.fixture(scope="module")
def model():
    return HandModel()


@pytest.fixture(scope="module")
def truth(model, tmp_path_factory):
    scene = make_scene(model)
    return save_truth(tmp_path_factory.mktemp("truth"), [make_shot(scene, model)], scene)


def pictures_of(truth, change=lambda picture, frame, side: picture) -> list:
    """Give the truth's bare pictures, each through a change."""
    return [[change(truth.bare_u8(t, s), t, s) for s in range(2)] for t in range(len(truth))]


def scored(truth, model, tmp_path, arrays, distance=None):
    np.savez(tmp_path / "bare.npz", **arrays)
    painted = load_painted(tmp_path / "bare.npz", len(truth))
    return compare_painting(truth, painted, model, distance)


def squares_of(truth) -> np.ndarray:
    return np.stack([truth.square(t) for t in range(len(truth))])


def ramp(square: np.ndarray) -> np.ndarray:
    """Give a square's picture of u - 100 in red and v - 70 in green, by the pixels' centres."""
    v, u = np.mgrid[:256, :256].astype(float)
    uv = apply_affine(frame_from_square(square), np.stack([u, v], -1).reshape(-1, 2)) - [100, 70]
    rgb = np.concatenate([uv, 0 * uv[:, :1]], axis=1).reshape(256, 256, 3)
    return np.clip(rgb.round(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("square", [(100, 90, 200), (130, 60, 256), (90, 100, 413), (150, 150, 77)])
def test_a_pixel_stays_where_it_is_in_the_frame(square):
    square, to_square = np.array(square), np.array([120, 80, 230])
    found, covered = resample_square(ramp(square), square, to_square)
    # The outermost half pixel repeats its neighbour.
    inner = covered & np.roll(covered, 2, 0) & np.roll(covered, -2, 0)
    inner &= np.roll(covered, 2, 1) & np.roll(covered, -2, 1)
    difference = (found.astype(int) - ramp(to_square))[inner]
    assert inner.sum() > 5000
    assert np.abs(difference).max() <= 1
    # A place that is half a pixel off is as much of a level off.
    assert np.abs(difference.mean(axis=0)).max() < 0.1


def test_the_same_square_is_the_same_picture():
    picture = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    square = np.array([-17, 33, 91])
    found, covered = resample_square(picture, square, square)
    np.testing.assert_array_equal(found, picture)
    assert covered.all()


def test_what_is_covered_by_hand():
    # The square's u from 64 to 319 in one of 0 to 255: columns 64 and more; rows up to 127.
    picture = np.zeros((256, 256, 3), np.uint8)
    _, covered = resample_square(picture, np.array([64, -128, 256]), np.array([0, 0, 256]))
    v, u = np.mgrid[:256, :256]
    np.testing.assert_array_equal(covered, (u >= 64) & (v < 128))
    _, covered = resample_square(picture, np.array([900, 0, 256]), np.array([0, 0, 256]))
    assert not covered.any()


def test_finer_pixels_are_smoothed():
    # A pattern of two pixels, three of which become one, is grey and no black and white moiré.
    v, u = np.mgrid[:256, :256]
    picture = np.repeat((255 * ((u + v) % 2)).astype(np.uint8)[..., None], 3, -1)
    found, covered = resample_square(picture, np.array([0, 0, 100]), np.array([0, 0, 300]))
    inner = found[5:80, 5:80].astype(int)
    assert covered[5:80, 5:80].all()
    assert np.abs(inner - 127).max() < 20


def test_places_need_all_pixels_round_them():
    mask = np.ones((4, 5), bool)
    mask[1, 2] = False
    uv = [(0, 0), (1.5, 0.5), (3, 1), (4, 3), (4.1, 3), (-0.1, 0), (np.nan, 1), (1.0, 0.5)]
    found = sample_places(mask, np.array(uv))
    assert found.tolist() == [True, False, True, True, False, False, False, True]


def test_the_truth_is_perfect(truth, model, tmp_path):
    found = scored(truth, model, tmp_path, truth_as_painted(truth.folder))
    for region in REGIONS:
        for name, best in BEST.items():
            values = found.values[f"{region}_{name}"]
            assert np.isfinite(values).any()
            np.testing.assert_allclose(values[np.isfinite(values)], best, atol=1e-6)
    flicker = found.values["hole_flicker"]
    assert np.isfinite(flicker[:2, 1]).all()
    np.testing.assert_array_equal(flicker, found.values["hole_flicker_of_truth"])


def test_only_hidden_hands_have_a_hole(truth, model, tmp_path):
    # The right hand lies before the left one: nothing of it is hidden, all of it is removed.
    found = scored(truth, model, tmp_path, truth_as_painted(truth.folder))
    for name in BEST:
        assert np.isnan(found.values[f"hole_{name}"][:, 0]).all()
        assert np.isfinite(found.values[f"removed_{name}"]).all()
    assert np.isnan(found.values["hole_flicker"][2]).all(), "the last frame has no next"


def test_a_known_difference(truth, model, tmp_path):
    def off(picture, frame, side):
        return np.where(picture <= 235, picture + 20, picture - 20).astype(np.uint8)

    arrays = painted_arrays(squares_of(truth), pictures_of(truth, off))
    found = scored(truth, model, tmp_path, arrays)
    for region in REGIONS:
        l1 = found.values[f"{region}_l1"]
        np.testing.assert_allclose(l1[np.isfinite(l1)], 20 / 255, rtol=1e-4)
        psnr = found.values[f"{region}_psnr"]
        np.testing.assert_allclose(psnr[np.isfinite(psnr)], 20 * np.log10(255 / 20), rtol=1e-4)
    sums = clip_sums(found, PAINTING_METRICS)
    names = [metric.name for metric in PAINTING_METRICS]
    place = names.index("bare_removed_l1_covered")
    assert sums.total[place].sum() / sums.count[place].sum() == pytest.approx(20 / 255, rel=1e-4)


def test_what_lies_outside_the_regions_is_of_no_account(truth, model, tmp_path):
    def only_hole(picture, frame, side):
        visible, amodal = truth.square_masks(frame)
        hole = hole_region(visible, amodal)[side]
        return np.where(hole[..., None], picture, 255 - picture)

    arrays = painted_arrays(squares_of(truth), pictures_of(truth, only_hole))
    found = scored(truth, model, tmp_path, arrays)
    assert np.nanmax(found.values["hole_l1"]) == 0
    assert np.nanmin(found.values["removed_l1"]) > 0.05


def test_more_noise_is_worse_and_trembles_more(truth, model, tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (3, 2, 256, 256, 3))
    means = []
    for size in (5, 20, 60):
        pictures = pictures_of(
            truth, lambda p, t, s, k=size: (p + k * noise[t, s]).clip(0, 255).astype(np.uint8)
        )
        found = scored(truth, model, tmp_path, painted_arrays(squares_of(truth), pictures))
        means.append({name: np.nanmean(a) for name, a in found.values.items()})
    for name in means[0]:
        series = np.array([m[name] for m in means])
        if "covered" in name or "truth" in name:
            assert np.ptp(series) == 0, name
        else:
            sign = -1 if name.endswith(("psnr", "ssim")) else 1
            assert (np.diff(sign * series) > 0).all(), name


def test_another_square_of_the_same_pictures_is_nearly_as_good(truth, model, tmp_path):
    shot = make_shot(make_scene(model), model)
    bare_u8 = (shot.bare_rgb * 255).round().byte().permute(0, 1, 3, 4, 2).numpy()
    squares = squares_of(truth) + np.array([-9, -5, 31])
    pictures = [
        [cut_square(np.ascontiguousarray(p), square) for p in pair]
        for pair, square in zip(bare_u8, squares, strict=True)
    ]
    found = scored(truth, model, tmp_path, painted_arrays(squares, pictures))
    assert np.nanmax(found.values["hole_not_covered"]) == 0
    assert np.nanmax(found.values["hole_l1"]) < 0.01
    assert np.nanmax(found.values["removed_l1"]) < 0.01


def test_what_the_square_does_not_cover_is_left_out_and_counted(truth, model, tmp_path):
    squares = squares_of(truth)
    shift = squares[:, 2] // 2
    moved = squares + shift[:, None] * np.array([1, 0, 0])
    pictures = pictures_of(truth, lambda p, t, s: np.full_like(p, 0))
    found = scored(truth, model, tmp_path, painted_arrays(moved, pictures))
    for frame in range(3):
        masks = truth.square_masks(frame)
        hole = hole_region(*masks)[1]
        u = frame_from_square(squares[frame])[0, 0] * (np.arange(256) + 0.5)
        missing = hole[:, u < shift[frame]].sum() / hole.sum()
        assert 0.02 < missing < 0.98, "the test's square cuts the hole"
        assert found.values["hole_not_covered"][frame, 1] == pytest.approx(missing, abs=1e-9)
        true = (truth.bare_u8(frame, 1) / 255).transpose(2, 0, 1)
        covered = hole & (u >= shift[frame])
        expected = true[:, covered].mean()
        assert found.values["hole_l1"][frame, 1] == pytest.approx(expected, rel=1e-4)
        # Windows over the edge of what is covered find the truth beyond it.
        seen = np.where(u >= shift[frame], 0.0, true)
        expected = hole_ssim(seen, true, covered)
        assert found.values["hole_ssim"][frame, 1] == pytest.approx(expected, abs=1e-4)


def test_flicker_needs_cover_in_both_frames(truth, model, tmp_path):
    squares = squares_of(truth)
    squares[1, 0] += squares[1, 2] // 2
    pictures = pictures_of(truth, lambda p, t, s: np.zeros_like(p))
    found = scored(truth, model, tmp_path, painted_arrays(squares, pictures))
    # Black stays black; the truth that fills the rest of frame 1 would not.
    assert found.values["hole_flicker"][0, 1] == 0
    assert found.values["hole_flicker_of_truth"][0, 1] > 0


def test_a_missing_picture_covers_nothing(truth, model, tmp_path):
    pictures = pictures_of(truth, lambda p, t, s: None if (t, s) == (1, 1) else p)
    found = scored(truth, model, tmp_path, painted_arrays(squares_of(truth), pictures))
    np.testing.assert_array_equal(found.values["hole_not_covered"][:, 1], [0, 1, 0])
    np.testing.assert_array_equal(found.values["hole_l1"][:, 1], [0, np.nan, 0])
    assert np.isnan(found.values["hole_flicker"]).all(), "both pairs of frames need frame 1"


def test_a_hand_that_is_not_there_has_no_samples(truth, model, tmp_path):
    np.savez(tmp_path / "bare.npz", **truth_as_painted(truth.folder))
    painted = load_painted(tmp_path / "bare.npz", 3)
    found = compare_painting(replace(without(truth, 1), folder=truth.folder), painted, model)
    for name, values in found.values.items():
        assert np.isnan(values[:, 1]).all(), name


def test_the_perceptual_distance_comes_with_its_net(truth, model, tmp_path):
    np.savez(tmp_path / "net.npz", **random_weights())
    distance = SqueezeNetDistance(tmp_path / "net.npz")
    same = scored(truth, model, tmp_path, truth_as_painted(truth.folder), distance)
    pictures = pictures_of(truth, lambda p, t, s: 255 - p)
    other = scored(truth, model, tmp_path, painted_arrays(squares_of(truth), pictures), distance)
    for region in REGIONS:
        name = f"{region}_squeezenet"
        assert np.nanmax(same.values[name]) == 0
        assert np.nanmin(other.values[name]) > 0.01
        np.testing.assert_array_equal(
            np.isnan(same.values[name]), np.isnan(same.values[f"{region}_l1"])
        )
    assert clip_sums(same, PERCEPTUAL_METRICS).count.sum(axis=1).tolist() == [3, 6]


def test_names_say_their_protocol():
    for metric in (*PAINTING_METRICS, *PERCEPTUAL_METRICS):
        assert metric.name.startswith(("bare_hole_", "bare_removed_"))
        endings = ("_covered", "_covered_db", "_not_covered_pct", "_runs2")
        assert metric.name.endswith(endings)
        assert metric.name.endswith("_pct") == (metric.unit == "%")
        assert metric.name.endswith("_db") == (metric.unit == "dB")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"exists": None}, "exists missing or unknown"),
        ({"more": np.zeros(1)}, "more missing or unknown"),
        (
            {"square": np.zeros((2, 3), np.int64)},
            r"square is int64 \(2, 3\), expected int64 \(3, 3",
        ),
        ({"exists": np.ones((3, 2), np.uint8)}, "exists is uint8"),
        ({"exists": np.eye(3, 2, dtype=bool)}, "exists and the pictures' lengths disagree at .* 0"),
        ({"jpeg": np.zeros(3, np.uint8)}, "its 6 pictures do not add up to 3 bytes"),
        ({"square": np.zeros((3, 3), np.int64)}, "the square of frame 0 has no pixels"),
    ],
)
def test_files_that_do_not_fit_are_refused(truth, tmp_path, changes, text):
    arrays = {**truth_as_painted(truth.folder), **changes}
    np.savez(tmp_path / "bare.npz", **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(TrackError, match=rf"bare.npz cannot be used: {text}.*; paint the bench"):
        load_painted(tmp_path / "bare.npz", 3)


def test_a_missing_or_damaged_file_is_one_clear_error(truth, tmp_path):
    with pytest.raises(TrackError, match=r"bare.npz cannot be used: there is no such file"):
        load_painted(tmp_path / "bare.npz", 3)
    (tmp_path / "bare.npz").write_bytes(b"nothing")
    with pytest.raises(TrackError, match=r"bare.npz cannot be used: .*paint the bench"):
        load_painted(tmp_path / "bare.npz", 3)
    arrays = truth_as_painted(truth.folder)
    np.savez(tmp_path / "bare.npz", **{**arrays, "jpeg": np.zeros_like(arrays["jpeg"])})
    with pytest.raises(TrackError, match="the picture of frame 2 is damaged"):
        load_painted(tmp_path / "bare.npz", 3).picture_u8(2, 1)
