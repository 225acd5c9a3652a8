"""Harvest: that every hand is accounted for, and that clips become a folder of crops."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from clips import Made, make_clip
from harvest_hands import GOOD, LAX, moving, track_of

from hdrvideo import harvest
from hdrvideo.config import Settings
from hdrvideo.datatypes import Frame
from hdrvideo.errors import SettingsError, TrackError, WriteError
from hdrvideo.harvest import REASONS, HandPicker, HarvestCounts, harvest_to
from hdrvideo.synth.assets import split_of
from hdrvideo.synth.crops import CROP_PX, load_crops


class FakeCutter:
    """Says of every third hand that something hides it; remembers the sides it was asked for."""

    def __init__(self) -> None:
        self.n, self.sides = 0, []

    def __call__(self, pictures, *, uv_px, xyz_mm, k_px, side, source_px):
        assert len(pictures) == len(uv_px) == len(xyz_mm) == len(k_px) == len(side)
        assert len(source_px) == len(side)
        self.sides += side.tolist()
        mask = np.zeros((CROP_PX, CROP_PX), bool)
        mask[100:150, 100:150] = True
        cuts = []
        for _ in pictures:
            self.n += 1
            cuts.append(replace(GOOD, mask=mask, covered=0.2 if self.n % 3 == 0 else 0.95))
        return cuts


def frames_of(n: int, blurred: range = range(0)) -> list[Frame]:
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 255, (600, 840, 3), dtype=np.uint8)
    smooth = np.full_like(sharp, 120)
    return [Frame(i, i, Fraction(1, 30), smooth if i in blurred else sharp) for i in range(n)]


def pick(track, *, limit=100, rules=LAX, every=1, blurred=range(0)):
    picker = HandPicker(track, FakeCutter(), rules, every=every, limit=limit)
    kept = list(picker(frames_of(len(track), blurred)))
    return picker, kept


def test_every_hand_is_accounted_for():
    track = moving()
    picker, kept = pick(track, blurred=range(8, 10))
    counts = picker.counts
    assert counts.looked_at == 24 == int(track.present.sum())
    assert counts.rejected["blurred"] == 4
    assert counts.rejected["partly hidden"] == 20 // 3
    assert counts.kept == len(kept) == 24 - 4 - 6
    for candidate, crop in kept:
        assert crop.side == candidate.side
        assert crop.split == split_of("harvest", "clip.mp4")
        assert torch.allclose(crop.uv_px.mean(0), torch.tensor([128.0, 128.0]), atol=30)
        assert crop.rgb.shape == (3, CROP_PX, CROP_PX)


def test_the_same_hand_is_taken_once():
    still, kept = pick(track_of())
    assert still.counts.rejected["seen before"] == 22
    assert len(kept) == 2


def test_no_more_than_the_limit():
    for limit in (1, 3, 16):
        picker, kept = pick(moving(), limit=limit)
        assert len(kept) == min(limit, 16)
        counts = picker.counts
        assert counts.looked_at == 24
        assert (
            counts.rejected["over the limit"] == 24 - counts.kept - counts.rejected["partly hidden"]
        )


def test_a_mirrored_clip_shows_the_other_side():
    track = moving(3, absent=(1,))
    mirrored = replace(track, meta=replace(track.meta, settings={"mirror": True}))
    _, plain = pick(track)
    picker, other = pick(mirrored)
    assert {crop.side for _, crop in plain} == {0}
    assert {crop.side for _, crop in other} == {1}
    assert set(picker._cutter.sides) == {1}


def test_a_track_of_another_clip_is_refused():
    picker = HandPicker(moving(), FakeCutter(), LAX, every=1, limit=99)
    with pytest.raises(TrackError, match="8 hands lie behind the clip's end"):
        list(picker(frames_of(8)))
    picker = HandPicker(moving(2), FakeCutter(), LAX, every=1, limit=99)
    lost = [Frame(0, 0, Fraction(1, 30), None, "lost")]
    with pytest.raises(TrackError, match="frame 0 is lost but has a hand"):
        list(picker(lost))


def test_counts_that_do_not_add_up_are_refused():
    with pytest.raises(TrackError, match=r"3 kept . 0 rejected is not 4 looked at"):
        HarvestCounts(looked_at=4, kept=3)
    one = HarvestCounts(2, 1, {**dict.fromkeys(REASONS, 0), "blurred": 1}, ("a: bad",))
    both = one + one
    assert (both.looked_at, both.kept, both.rejected["blurred"]) == (4, 2, 2)
    assert both.failed == ("a: bad", "a: bad")


# ------------------------------------------------------------------------------- the whole job


@pytest.fixture
def two_clips(tmp_path, monkeypatch):
    """Give a clip and a file that is none; poses come from a made track, masks from a fake."""
    good = make_clip(tmp_path / "waving.mp4", Made(n_frames=12, width=840, height=600))
    bad = tmp_path / "broken.mp4"
    bad.write_bytes(b"no video")

    def windows(frames, info, settings, parts):
        n = sum(1 for _ in frames)
        track = moving(n)
        yield replace(track, meta=replace(track.meta, clip="waving.mp4")), None

    monkeypatch.setattr("hdrvideo.pipeline.pose_windows", windows)
    monkeypatch.setattr(harvest, "HandCutter", lambda device: FakeCutter())
    return [good, bad]


def test_clips_become_a_folder_of_crops(two_clips, tmp_path):
    out, seen = tmp_path / "new" / "crops", []
    rules, settings = replace(LAX, min_sharpness=0.0), Settings(engine="torch")
    counts = harvest_to(
        two_clips,
        out,
        licence="CC-BY-4.0",
        every=2,
        rules=rules,
        settings=settings,
        on_progress=lambda clip, n: seen.append((clip, n)),
    )
    assert counts.looked_at == 12
    assert counts.kept == 8
    assert counts.rejected["partly hidden"] == 4
    assert len(counts.failed) == 1
    assert "broken.mp4" in counts.failed[0]
    assert seen == [("waving", n) for n in range(1, 13)]
    crops = load_crops(out, split_of("harvest", "waving.mp4"))
    assert len(crops) == 8
    assert {c.source for c in crops} == {"waving.mp4"}
    assert (out / "waving_000000_right.json").is_file()
    assert '"licence": "CC-BY-4.0"' in (out / "waving_000000_right.json").read_text()
    with pytest.raises(WriteError, match="already holds hands of waving; choose another folder"):
        harvest_to(two_clips, out, licence="CC-BY-4.0")


def test_jobs_that_cannot_be_are_refused(tmp_path):
    clip = tmp_path / "clip.mp4"
    with pytest.raises(SettingsError, match="licence is empty; say under what terms"):
        harvest_to([clip], tmp_path, licence=" ")
    with pytest.raises(SettingsError, match="every is 0, max_per_clip 5, clips 1"):
        harvest_to([clip], tmp_path, licence="CC0", every=0, max_per_clip=5)
    with pytest.raises(SettingsError, match="clips 0; expected at least 1 each"):
        harvest_to([], tmp_path, licence="CC0")
    clip.write_bytes(b"")
    with pytest.raises(WriteError, match="cannot be made"):
        harvest_to([clip], clip / "below", licence="CC0")
