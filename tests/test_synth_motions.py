"""Hand motion of the made world: limits, smoothness, splits, time, overlap, the shipped file."""

import numpy as np
import pytest
import torch

from hdrvideo.errors import SettingsError, WeightsError
from hdrvideo.handmodel import (
    HandModel,
    axis_angle_to_matrix,
    joint_angles,
    within_limits,
)
from hdrvideo.synth.assets import split_of
from hdrvideo.synth.fingers import (
    HIGH_RAD,
    LOW_RAD,
    FingerChain,
    angles_deg,
    clip_angles,
    to_axis_angle,
)
from hdrvideo.synth.motions import KINDS, OVERLAP_LIMIT_MM, Motions
from hdrvideo.synth.recordings import (
    MOVE_UNIT_MM,
    RATE_HZ,
    SPEED_LIMIT_DEG_S,
    motions_path,
    read_motions,
)


@pytest.fixture(scope="module")
def motions():
    return {split: Motions.load(split) for split in ("train", "test")}


@pytest.fixture(scope="module")
def chain():
    return FingerChain()


@pytest.fixture(scope="module")
def clips(motions):
    """Many clips of 60 frames a second: ``(clips, 75, 15, 3)`` axis-angle."""
    made = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        made.append(motions["train"].fingers(rng, 75, 1 / 60)[0])
    return torch.from_numpy(np.stack(made))


def angles_of(turns):
    return joint_angles(axis_angle_to_matrix(turns))


def with_wrist(turns):
    return torch.cat([torch.zeros(len(turns), 1, 3), turns], dim=1)


# --- clips -------------------------------------------------------------------------------------


def test_every_joint_stays_within_its_limits(clips):
    assert within_limits(with_wrist(clips.flatten(0, 1))).all()


def test_motion_has_no_jump(clips):
    """A frame's change is bounded by the fastest finger, its change of speed by a fast start."""
    degrees = torch.rad2deg(angles_of(clips))
    assert degrees.diff(dim=1).abs().max() < 1.1 * SPEED_LIMIT_DEG_S / 60
    assert degrees.diff(n=2, dim=1).abs().max() < 9.0


def test_most_clips_move(clips):
    spans = torch.rad2deg(angles_of(clips)).flatten(2)
    spans = (spans.amax(dim=1) - spans.amin(dim=1)).amax(dim=1)
    assert (spans > 10).float().mean() > 0.6


def test_fingers_do_not_go_through_one_another(clips, chain):
    overlap_mm = chain.overlap_mm(angles_of(clips.flatten(0, 1)))
    assert overlap_mm.max() < OVERLAP_LIMIT_MM + 0.5


def test_a_path_through_the_thumb_is_cleared(motions, chain):
    """From a fist with the thumb outside to one with the thumb inside the way leads open."""
    outside = angles_deg(thumb=(36, 12, -6, 22, 54), rest=(70, 0, 90, 60)).deg2rad()
    inside = angles_deg(thumb=(43, -20, 0, 50, 60), rest=(70, 0, 90, 60)).deg2rad()
    part = torch.linspace(0, 1, 60)[:, None, None]
    path = (outside + part * (inside - outside)).double()
    assert chain.overlap_mm(path.float()).max() > 5
    cleared, clear = motions["train"]._clear(path.flatten(1).numpy())
    assert clear
    cleared = torch.from_numpy(cleared).float().view(-1, 15, 3)
    assert chain.overlap_mm(cleared).max() <= OVERLAP_LIMIT_MM
    assert torch.rad2deg(cleared.diff(dim=0)).abs().max() < 1.1 * SPEED_LIMIT_DEG_S / 60


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_bytes(motions, kind):
    def draw(seed):
        return motions["test"].fingers(np.random.default_rng(seed), 20, 1 / 30, kind=kind)

    (first, names), (again, names_again) = draw(3), draw(3)
    assert first.dtype == np.float32
    assert first.shape == (20, 15, 3)
    assert first.tobytes() == again.tobytes()
    assert names == names_again
    assert draw(4)[0].tobytes() != first.tobytes()


@pytest.mark.parametrize("rate", [24, 30, 120])
def test_other_frame_rates_show_the_same_motion(motions, rate):
    def at(frames_a_second, seed):
        rng = np.random.default_rng(seed)
        return motions["train"].fingers(rng, 2 * frames_a_second, 1 / frames_a_second)[0]

    step = np.gcd(60, rate)
    for seed in range(8):
        one, other = at(60, seed)[:: 60 // step], at(rate, seed)[:: rate // step]
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_still_is_nearly_still_and_relaxed_is_open(motions, chain):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        still, _ = motions["train"].fingers(rng, 60, 1 / 30, kind="still")
        assert np.rad2deg(np.ptp(still, axis=0)).max() < 8
        relaxed, _ = motions["train"].fingers(rng, 60, 1 / 30, kind="relaxed")
        degrees = torch.rad2deg(angles_of(torch.from_numpy(relaxed)))
        assert degrees[:, 4::3, 0].amax() < 80
        assert degrees[:, 3:, 0].mean() > 10


def test_one_frame_and_a_long_clip(motions):
    for n_frames, frame_seconds in ((1, 1 / 30), (2, 2.0), (900, 1 / 30)):
        turns, _ = motions["test"].fingers(np.random.default_rng(1), n_frames, frame_seconds)
        assert np.isfinite(turns).all()
        moves, _ = motions["test"].wrist(np.random.default_rng(1), n_frames, frame_seconds)
        assert moves.shape == (n_frames, 6)


# --- wrist and key poses -----------------------------------------------------------------------


def test_wrist_moves_as_a_hand_can(motions):
    spans = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        moves, names = motions["train"].wrist(rng, 90, 1 / 60)
        again, names_again = motions["train"].wrist(np.random.default_rng(seed), 90, 1 / 60)
        assert moves.tobytes() == again.tobytes()
        assert names == names_again
        np.testing.assert_allclose(moves.mean(axis=0), 0, atol=1e-4)
        assert np.abs(np.diff(moves[:, :3], axis=0)).max() < 40
        assert np.rad2deg(np.abs(np.diff(moves[:, 3:], axis=0)).max()) < 20
        spans.append(np.ptp(moves[:, :3], axis=0).max())
    assert np.quantile(spans, 0.1) < 10
    assert 15 < np.median(spans) < 150


def test_key_poses_are_clean_and_many(motions, chain):
    drawn = {}
    for seed in range(300):
        turns, name = motions["train"].key_pose(np.random.default_rng(seed))
        drawn[name] = torch.from_numpy(turns)
    turns = torch.stack(list(drawn.values()))
    assert len(drawn) > 50
    assert within_limits(with_wrist(turns)).all()
    assert chain.overlap_mm(angles_of(turns)).max() < 3


# --- splits ------------------------------------------------------------------------------------


def test_splits_share_nothing(motions):
    train, test = motions["train"], motions["test"]
    assert not set(train.names) & set(test.names)
    for split, own in motions.items():
        assert {split_of("motion", name) for name in own.names} == {split}
        for seed in range(30):
            rng = np.random.default_rng(seed)
            used = (*own.fingers(rng, 30, 1 / 30)[1], *own.wrist(rng, 30, 1 / 30)[1])
            used = (*used, own.key_pose(rng)[1])
            assert {split_of("motion", name) for name in used} == {split}
            recorded = {name for name in used if not name.startswith("random:")}
            assert recorded <= set(own.names)


def test_both_splits_have_recordings_and_poses(motions):
    for own in motions.values():
        families = {name.split(":")[0] for name in own.names}
        assert {"leap", "sign", "handy", "made"} <= families


# --- fingers -----------------------------------------------------------------------------------


def test_chain_is_the_hand_models(chain):
    noise = torch.randn(20, 15, 3, generator=torch.Generator().manual_seed(2))
    angles = clip_angles(noise)
    joints_mm = HandModel()(with_wrist(to_axis_angle(angles))).joints_mm[:, 1:]
    torch.testing.assert_close(
        chain.joints_mm(angles).flatten(1, 2), joints_mm, atol=1e-3, rtol=1e-5
    )


def test_angles_and_axis_angle_round_trip():
    part = torch.rand(50, 15, 3, generator=torch.Generator().manual_seed(3))
    angles = LOW_RAD + part * (HIGH_RAD - LOW_RAD)
    torch.testing.assert_close(angles_of(to_axis_angle(angles)), angles, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("fingers", "deep"),
    [
        ({}, False),
        ({"rest": (10, 0, 20, 10)}, False),
        ({"index": (60, -20, 0, 0), "middle": (60, 20, 0, 0)}, True),
        ({"index": (85, 0, 100, 20)}, False),
        ({"rest": (90, 0, 100, 90)}, True),
        ({"thumb": (40, 10, -6, 20, 50), "index": (58, -14, 92, 70)}, False),
        ({"thumb": (30, 0, -6, 20, 50), "index": (58, -14, 92, 70)}, True),
        ({"thumb": (43, -31, 0, 55, 80)}, True),
    ],
)
def test_overlap_tells_touching_from_passing_through(chain, fingers, deep):
    overlap_mm = float(chain.overlap_mm(angles_deg(**fingers).deg2rad()[None]))
    assert (overlap_mm > 3) == deep


def test_overlap_agrees_with_bones_sampled_densely(chain):
    """Of the end bones of different fingers: crossing ones overlap, far ones do not."""
    noise = torch.randn(1500, 15, 3, generator=torch.Generator().manual_seed(5))
    angles = clip_angles(torch.tensor([0.7, 0.4, 0.1]) * noise + torch.tensor([0.5, 0, 0]))
    ends = chain.joints_mm(angles)[:, :, 2:]
    part = torch.linspace(0.35, 1, 20)[:, None]
    dense = ends[:, :, :1] + part * (ends[:, :, 1:] - ends[:, :, :1])
    balls = chain.overlaps_mm(angles).view(-1, 5, 3, 3, 61)[:, :, 2]
    crossing = 0
    for a in range(5):
        for b in range(a + 1, 5):
            nearest_mm = torch.cdist(dense[:, a], dense[:, b]).flatten(1).amin(dim=1)
            overlap_mm = balls[:, a, :, 9 * b + 6 : 9 * b + 9].flatten(1).amax(dim=1)
            assert (overlap_mm[nearest_mm < 5] > 0).all()
            assert (overlap_mm[nearest_mm > 14] == 0).all()
            crossing += int((nearest_mm < 5).sum())
    assert crossing > 20


def test_overlap_of_a_batch_is_that_of_each(chain, clips):
    angles = angles_of(clips[:3, ::15].flatten(0, 1))
    one_by_one = torch.cat([chain.overlap_mm(angles[k : k + 1]) for k in range(len(angles))])
    torch.testing.assert_close(chain.overlap_mm(angles), one_by_one, atol=1e-3, rtol=0)


# --- the file ----------------------------------------------------------------------------------


def test_shipped_file_is_small_and_tells_its_licences():
    entries = read_motions()
    assert motions_path().stat().st_size <= 1_500_000
    assert {entry.licence for entry in entries} == {"MIT", "Apache-2.0"}
    assert all(entry.source for entry in entries)
    recorded = [entry for entry in entries if len(entry.angles_rad) > 1]
    assert sum(len(entry.angles_rad) for entry in recorded) > 60 * RATE_HZ
    for entry in recorded:
        assert len(entry.angles_rad) >= RATE_HZ - 1
        if entry.wrist is not None:
            np.testing.assert_allclose(entry.wrist.mean(axis=0), 0, atol=MOVE_UNIT_MM)


def changed_file(path, **changes):
    with np.load(motions_path(), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files} | changes
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"angles": None}, "angles is missing or of another kind"),
        ({"licence": np.zeros(3)}, "licence is missing or of another kind"),
        ({"licence": np.array(["MIT"])}, r"licence is \(1,\), expected"),
        ({"n_frames": None}, "n_frames is missing"),
        ({"angles": np.zeros((7, 15, 3), np.int16)}, r"angles is \(7, 15, 3\), expected"),
        ({"wrist": np.zeros((7, 6), np.int16)}, r"wrist is \(7, 6\), expected"),
    ],
)
def test_file_of_something_else(tmp_path, changes, text):
    path = tmp_path / "motions.npz"
    changed_file(path, **changes)
    with pytest.raises(WeightsError, match=f"do not fit: {text}"):
        read_motions(path)


def test_file_that_is_missing_or_damaged(tmp_path):
    with pytest.raises(WeightsError, match="are missing; reinstall hdrvideo"):
        Motions.load("train", tmp_path / "none.npz")
    path = tmp_path / "half.npz"
    path.write_bytes(motions_path().read_bytes()[:5000])
    with pytest.raises(WeightsError, match=r"cannot be read .* reinstall hdrvideo"):
        Motions.load("train", path)


def test_file_without_anything_for_a_split(tmp_path):
    entries = [k for k, e in enumerate(read_motions()) if split_of("motion", e.name) == "train"]
    with np.load(motions_path(), allow_pickle=False) as file:
        words = {name: file[name][entries] for name in ("name", "source", "licence", "has_wrist")}
        n_frames = file["n_frames"]
    rows = np.repeat(np.isin(np.arange(len(n_frames)), entries), n_frames)
    with np.load(motions_path(), allow_pickle=False) as file:
        values = {name: file[name][rows] for name in ("angles", "wrist")}
    path = tmp_path / "motions.npz"
    np.savez(path, n_frames=n_frames[entries], **words, **values)
    assert Motions.load("train", path).names == Motions.load("train").names
    with pytest.raises(SettingsError, match=r"no key pose or no recording .* for test"):
        Motions.load("test", path)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"kind": "wild"}, "kind is 'wild', expected one of any, still, relaxed"),
        ({"n_frames": 0}, "motion for 0 frames"),
        ({"frame_seconds": 0.0}, "of 0.0 s; ask for"),
        ({"frame_seconds": float("nan")}, "of nan s; ask for"),
    ],
)
def test_wrong_use(motions, wrong, text):
    arguments = {"n_frames": 10, "frame_seconds": 1 / 30} | wrong
    with pytest.raises(SettingsError, match=text):
        motions["train"].fingers(np.random.default_rng(0), **arguments)


def test_unknown_split():
    with pytest.raises(SettingsError, match="split is 'dev', expected 'train' or 'test'"):
        Motions.load("dev")
