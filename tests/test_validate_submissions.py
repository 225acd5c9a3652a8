"""Files for HO-3D and DexYCB: round trip, the servers' rules, and what is refused."""

import json
import zipfile

import numpy as np
import pytest
from field_cases import flat_hand

from hdrvideo.errors import ProtocolError, WriteError
from hdrvideo.hand import ADULT_BONES_MM, BONES, ORDERS, to_order
from hdrvideo.validate.submissions import read_dexycb, read_ho3d, write_dexycb, write_ho3d

N = 4


def adult_hand(seed: int = 0) -> np.ndarray:
    """Give ``(21, 3)`` a hand of an adult's bones, each finger bent anyhow, half a metre away."""
    rng = np.random.default_rng(seed)
    hand = np.zeros((21, 3))
    for (parent, joint), length_mm in zip(BONES, ADULT_BONES_MM, strict=True):
        way = rng.normal(size=3) * [0.5, 0.7, 0.3] + [0.25 * ((joint - 1) // 4 - 2), -1, 0]
        hand[joint] = hand[parent] + length_mm * way / np.linalg.norm(way)
    return hand + np.array([30, 40, 500])


def hands(n: int = N) -> np.ndarray:
    return np.stack([adult_hand(k) for k in range(n)])


def meshes(n: int = N, n_vertices: int = 778) -> np.ndarray:
    return np.random.default_rng(0).normal([30, 0, 500], 40, (n, n_vertices, 3))


def zipped(path, content, name: str = "pred.json", **others: str):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content if isinstance(content, str) else json.dumps(content))
        for other, text in others.items():
            archive.writestr(f"{other}.json", text)
    return path


def ho3d_content(n: int = N) -> list:
    """Give what HO-3D's file holds, made another way: metres, OpenGL, MANO's order."""
    mano = (0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20)
    flip = np.array([1, -1, -1]) / 1000
    return [(hands(n)[:, mano] * flip).tolist(), (meshes(n) * flip).tolist()]


# HO-3D


def test_ho3d_round_trip(tmp_path):
    path = write_ho3d(tmp_path / "pred.zip", hands(), meshes(), n_frames=N)
    xyz, vertices = read_ho3d(path, n_frames=N)
    # A thousandth of a millimetre is written.
    np.testing.assert_allclose(xyz, hands(), atol=5.1e-4)
    np.testing.assert_allclose(vertices, meshes(), atol=5.1e-4)
    assert [p.name for p in tmp_path.iterdir()] == ["pred.zip"]


def test_ho3d_file_is_as_the_server_wants_it(tmp_path):
    path = write_ho3d(tmp_path / "pred.zip", hands(), meshes(), n_frames=N)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["pred.json"]
        content = json.loads(archive.read("pred.json"))
    for got, want in zip(content, ho3d_content(), strict=True):
        np.testing.assert_allclose(got, want, atol=5.1e-7)
    joints = np.array(content[0])
    # Metres, before the camera (negative z in OpenGL), and MANO's fourth joint is the middle
    # knuckle, its last five the tips.
    assert (joints[..., 2] < -0.2).all()
    np.testing.assert_allclose(joints[:, 4, 0], hands()[:, 9, 0] / 1000, atol=1e-6)
    np.testing.assert_allclose(
        joints[:, 16:, 1], -hands()[:, [4, 8, 12, 16, 20], 1] / 1000, atol=1e-6
    )


def test_ho3d_reads_what_others_wrote(tmp_path):
    xyz, vertices = read_ho3d(zipped(tmp_path / "a.zip", ho3d_content()), n_frames=N)
    np.testing.assert_allclose(xyz, hands())
    np.testing.assert_allclose(vertices, meshes())


def test_ho3d_takes_the_only_json_at_the_top(tmp_path):
    path = zipped(tmp_path / "a.zip", ho3d_content(), "mine.json")
    assert read_ho3d(path, n_frames=N)[0].shape == (N, 21, 3)
    path = zipped(tmp_path / "b.zip", ho3d_content(), other="[]")
    assert read_ho3d(path, n_frames=N)[0].shape == (N, 21, 3)
    path = zipped(tmp_path / "c.zip", ho3d_content(), "mine.json", other="[]")
    with pytest.raises(ProtocolError, match=r"has 2 \.json files at its top and no pred\.json"):
        read_ho3d(path, n_frames=N)
    path = zipped(tmp_path / "d.zip", ho3d_content(), "folder/pred.json")
    with pytest.raises(ProtocolError, match=r"has 0 \.json files at its top.*in no folder"):
        read_ho3d(path, n_frames=N)


def test_ho3d_takes_meshes_of_another_make(tmp_path):
    path = write_ho3d(tmp_path / "pred.zip", hands(), meshes(n_vertices=1609), n_frames=N)
    assert read_ho3d(path, n_frames=N)[1].shape == (N, 1609, 3)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([[], [], []], "must be a list of two, joints and vertices"),
        ({"joints": 1}, "must be a list of two"),
        ("not JSON", "is not a zip with readable JSON"),
        (ho3d_content(3), "has joints of 3 frames, expected 4: one answer for each of the split"),
        ([ho3d_content()[0], ho3d_content(3)[1]], "has vertices of 3 frames, expected 4"),
        ([7, 7], "has joints of 0 frames, expected 4"),
        ([np.zeros((N, 20, 3)).tolist()] * 2, r"joints .* are \(4, 20, 3\), expected \(4, 21, 3\)"),
        ([ho3d_content()[0], [[]] * N], r"vertices .* are \(4, 0\), expected \(4, V, 3\)"),
        ([ho3d_content()[0], [[[1, 2, 3]], [], [], []]], "vertices .* differ in number"),
        ([[["a"]] * N] * 2, "joints .* no numbers, or differ in number"),
    ],
)
def test_ho3d_files_that_the_server_would_refuse(tmp_path, content, text):
    with pytest.raises(ProtocolError, match=text):
        read_ho3d(zipped(tmp_path / "a.zip", content), n_frames=N)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_ho3d_files_with_words_for_numbers(tmp_path, word):
    text = json.dumps(ho3d_content()).replace("[[[0.03,", f"[[[{word},", 1)
    with pytest.raises(ProtocolError, match=f"it holds {word}, where every frame needs numbers"):
        read_ho3d(zipped(tmp_path / "a.zip", text), n_frames=N)


def test_ho3d_file_that_is_no_zip(tmp_path):
    (tmp_path / "a.zip").write_text("plain")
    with pytest.raises(ProtocolError, match="is not a zip with readable JSON"):
        read_ho3d(tmp_path / "a.zip", n_frames=N)
    with pytest.raises(ProtocolError, match="is not a zip with readable JSON"):
        read_ho3d(tmp_path / "none.zip", n_frames=N)


def refused_ho3d(tmp_path, xyz, vertices, text: str, n_frames: int = N) -> None:
    with pytest.raises(ProtocolError, match=text):
        write_ho3d(tmp_path / "pred.zip", xyz, vertices, n_frames=n_frames)
    assert not list(tmp_path.iterdir())


def test_ho3d_wrong_counts_are_refused(tmp_path):
    refused_ho3d(tmp_path, hands(3), meshes(), "has joints of 3 frames, expected 4")
    refused_ho3d(tmp_path, hands(), meshes(3), "has vertices of 3 frames, expected 4")
    refused_ho3d(
        tmp_path, hands()[:, :20], meshes(), r"joints .* are \(4, 20, 3\), expected \(4, 21"
    )
    refused_ho3d(tmp_path, hands(), meshes()[..., :2], r"are \(4, 778, 2\), expected \(4, V, 3\)")


def test_ho3d_nan_is_refused(tmp_path):
    xyz, vertices = hands(), meshes()
    xyz[2, 5, 1] = np.nan
    refused_ho3d(
        tmp_path, xyz, meshes(), "joints .* not finite in 1 of 4 frames, first 2; each needs"
    )
    vertices[1:, 0] = np.inf
    refused_ho3d(tmp_path, hands(), vertices, "vertices .* not finite in 3 of 4 frames, first 1")


@pytest.mark.parametrize("order", ["mano", "interhand"])
def test_ho3d_wrong_order_is_refused(tmp_path, order):
    text = f"joints of HO-3D's pred.json look like order '{order}', expected 'openpose'"
    refused_ho3d(tmp_path, to_order(hands(), order), meshes(), text)
    # And in a file that has ours, or InterHand's, where it should have MANO's.
    flip = np.array([1, -1, -1]) / 1000
    other = {"mano": "openpose"}.get(order, order)
    content = [(to_order(hands(), other) * flip).tolist(), ho3d_content()[1]]
    with pytest.raises(ProtocolError, match=f"look like order '{other}', expected 'ho3d'"):
        read_ho3d(zipped(tmp_path / "a.zip", content), n_frames=N)


def test_ho3d_wrong_units_and_axes_are_refused(tmp_path):
    refused_ho3d(tmp_path, hands() / 1000, meshes(), "make palms of 0.0895 mm, expected 30 to 200")
    refused_ho3d(tmp_path, hands() * [1, -1, -1], meshes(), "lie 500 mm behind the camera; y and z")
    joints, vertices = (np.array(part) for part in ho3d_content())
    for wrong, text in (
        (joints * 1000, "make palms of 89.* mm, expected"),
        (joints * [1, -1, -1], "lie 500 mm behind the camera"),
    ):
        path = zipped(tmp_path / "a.zip", [wrong.tolist(), vertices.tolist()])
        with pytest.raises(ProtocolError, match=text):
            read_ho3d(path, n_frames=N)


def test_root_relative_and_empty_hands_pass(tmp_path):
    # Only aligned numbers are wanted: wrists at the origin. A hand that is not found: zeros.
    xyz = hands() - hands()[:, :1]
    xyz[1] = 0
    path = write_ho3d(tmp_path / "pred.zip", xyz, meshes(), n_frames=N)
    np.testing.assert_allclose(read_ho3d(path, n_frames=N)[0], xyz, atol=5.1e-4)
    zeros = write_ho3d(tmp_path / "zeros.zip", 0 * xyz, meshes(), n_frames=N)
    assert not read_ho3d(zeros, n_frames=N)[0].any()


def test_ho3d_names_and_existing_files(tmp_path):
    with pytest.raises(ProtocolError, match=r"pred\.json must end with \.zip"):
        write_ho3d(tmp_path / "pred.json", hands(), meshes(), n_frames=N)
    path = write_ho3d(tmp_path / "pred.zip", hands(), meshes(), n_frames=N)
    with pytest.raises(WriteError, match="exists"):
        write_ho3d(path, hands(), meshes(), n_frames=N)
    write_ho3d(path, hands(), meshes(), n_frames=N, overwrite=True)


# DexYCB

IDS = [7, 0, 31, 406888]


def test_dexycb_round_trip(tmp_path):
    path = write_dexycb(tmp_path / "s0.txt", IDS, hands())
    np.testing.assert_allclose(read_dexycb(path, IDS), hands(), atol=5.1e-4)
    # Asked for in another order, and for some only.
    np.testing.assert_allclose(read_dexycb(path, [31, 7]), hands()[[2, 0]], atol=5.1e-4)


def test_dexycb_lines_are_as_the_toolkit_wants_them(tmp_path):
    path = write_dexycb(tmp_path / "s0.txt", IDS, hands())
    lines = path.read_text().splitlines()
    assert [len(line.split(",")) for line in lines] == [64] * N
    assert [int(line.split(",")[0]) for line in lines] == IDS
    first = np.array(lines[0].split(",")[1:], dtype=float).reshape(21, 3)
    np.testing.assert_allclose(first, hands()[0], atol=5.1e-4)


def test_dexycb_of_lines_for_one_image_the_last_counts(tmp_path):
    path = write_dexycb(tmp_path / "s0.txt", [1, 2], hands(2))
    again = write_dexycb(tmp_path / "again.txt", [1], hands(3)[2:])
    path.write_text(path.read_text() + again.read_text())
    np.testing.assert_allclose(read_dexycb(path, [1])[0], hands(3)[2], atol=5.1e-4)


def line(image: object = 1, first: object = 1.0, n: int = 63) -> str:
    return ",".join(str(v) for v in (image, first, *[2.0] * (n - 1)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (line(n=62), "line 1 has 63 numbers parted by commas, expected 64: image, then 21 x 3"),
        (line() + "\n\n", "line 2 has 1 numbers parted by commas"),
        (line().replace(",", " "), "line 1 has 1 numbers"),
        (line(image="one"), "line 1 has no numbers"),
        (line(image=1.5), "line 1 has no numbers"),
        (line(first="x"), "line 1 has no numbers"),
        (line(image=2), "lacks 1 of 1 images, first 1; the toolkit stops there"),
        ("", "lacks 1 of 1 images, first 1"),
        (line(first="nan"), "joints of DexYCB's result are not finite in 1 of 1 frames"),
        ("\xe9", "cannot be read"),
    ],
)
def test_dexycb_files_that_the_toolkit_would_refuse(tmp_path, text, message):
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    with pytest.raises(ProtocolError, match=message):
        read_dexycb(tmp_path / "a.txt", [1])


def test_dexycb_file_that_is_not_there(tmp_path):
    with pytest.raises(ProtocolError, match=r"none\.txt cannot be read"):
        read_dexycb(tmp_path / "none.txt", [1])


@pytest.mark.parametrize(
    ("ids", "change", "text"),
    [
        ([1, 2, 1, 1], lambda xyz: xyz, "has 2 image numbers twice; each needs one line"),
        ([1, 2, 3, -4], lambda xyz: xyz, "wants image numbers of 0 or more, got array"),
        ([1.0, 2.0, 3.0, 4.0], lambda xyz: xyz, "wants image numbers of 0 or more"),
        (IDS, lambda xyz: xyz[:3], "has joints of 3 frames, expected 4"),
        (IDS, lambda xyz: xyz * np.nan, "not finite in 4 of 4 frames, first 0"),
        (IDS, lambda xyz: to_order(xyz, "mano"), "look like order 'mano', expected 'dexycb'"),
        (IDS, lambda xyz: to_order(xyz, "interhand"), "look like order 'interhand'"),
        (IDS, lambda xyz: xyz / 1000, "make palms of 0.0895 mm"),
        (IDS, lambda xyz: xyz * [1, -1, -1], "behind the camera"),
    ],
)
def test_dexycb_writes_nothing_wrong(tmp_path, ids, change, text):
    with pytest.raises(ProtocolError, match=text):
        write_dexycb(tmp_path / "a.txt", ids, change(hands()))
    assert not list(tmp_path.iterdir())


def test_dexycb_reads_nothing_in_another_order(tmp_path):
    path = write_dexycb(tmp_path / "a.txt", IDS, hands())
    rows = [
        f"{k}," + ",".join(f"{v:.3f}" for v in to_order(hand, "mano").ravel())
        for k, hand in zip(IDS, hands(), strict=True)
    ]
    path.write_text("\n".join(rows))
    with pytest.raises(ProtocolError, match="look like order 'mano', expected 'dexycb'"):
        read_dexycb(path, IDS)


# the order that bones tell


def test_right_orders_pass_whatever_the_pose(tmp_path):
    for k in range(40):
        write_dexycb(tmp_path / f"{k}.txt", [0], adult_hand(k)[None])


@pytest.mark.parametrize("order", [name for name in ORDERS if ORDERS[name] != tuple(range(21))])
def test_wrong_orders_are_told_whatever_the_pose(tmp_path, order):
    for k in range(40):
        with pytest.raises(ProtocolError, match="look like order"):
            write_dexycb(tmp_path / "a.txt", [0], to_order(adult_hand(k)[None], order))


def test_a_hand_of_odd_bones_in_the_right_order_passes(tmp_path):
    # A poor prediction is not another order.
    write_dexycb(tmp_path / "a.txt", [0], flat_hand()[None])
    rng = np.random.default_rng(0)
    write_dexycb(tmp_path / "b.txt", IDS, hands() + rng.normal(0, 8, (N, 21, 3)))
