"""The z-buffer against a slow and obvious one: pixel by pixel, triangle by triangle."""

import numpy as np
import pytest
import torch

from hdrvideo.errors import ShapeError
from hdrvideo.synth.raster import NEAR_MM, Raster, nearest_hits, rasterize

HEIGHT, WIDTH = 37, 53


def slow(uvz, faces, picture, n_pictures, height=HEIGHT, width=WIDTH, cull=True):
    """Every pixel asks every triangle, in exact integers of 1/64 px."""
    face = np.full((n_pictures, height, width), -1)
    depth = np.full((n_pictures, height, width), np.inf)
    bary = np.zeros((n_pictures, height, width, 3))
    for f, corners in enumerate(faces.tolist()):
        points = uvz[corners].double()
        if not (points.isfinite().all() and points[:, 2].min() >= NEAR_MM):
            continue
        if points[:, :2].abs().max() >= 100_000:
            continue
        (ax, ay), (bx, by), (cx, cy) = [
            [round(float(v) * 64) for v in uvz[i, :2].double()] for i in corners
        ]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0 or (cull and area > 0):
            continue
        # Walk the corners so that the inside is on the positive side.
        order = [0, 1, 2] if area > 0 else [0, 2, 1]
        xy = [[(ax, ay), (bx, by), (cx, cy)][i] for i in order]
        for row in range(height):
            for column in range(width):
                edges = []
                inside = True
                for k in range(3):
                    (x0, y0), (x1, y1) = xy[(k + 1) % 3], xy[(k + 2) % 3]
                    e = (x1 - x0) * (64 * row - y0) - (y1 - y0) * (64 * column - x0)
                    left, top = y1 < y0, y1 == y0 and x1 > x0
                    inside &= e > 0 or (e == 0 and (left or top))
                    edges.append(e)
                if not inside:
                    continue
                share = np.zeros(3)
                share[order] = np.array(edges) / abs(area)
                z = 1 / (share / points[:, 2].numpy()).sum()
                n = picture[f]
                if z < depth[n, row, column]:
                    face[n, row, column], depth[n, row, column] = f, z
                    bary[n, row, column] = share / points[:, 2].numpy() * z
    return face, depth, bary


def same(found: Raster, wanted):
    face, depth, bary = wanted
    np.testing.assert_array_equal(found.face.numpy(), face)
    np.testing.assert_allclose(found.depth_mm.numpy(), depth, rtol=2e-6)
    np.testing.assert_allclose(found.bary.numpy(), bary, atol=3e-5)


def soup(rng, n_faces=60, n_pictures=3, spread=1.0):
    uvz = np.stack(
        [
            rng.uniform(-0.3, 1.3, 3 * n_faces) * WIDTH,
            rng.uniform(-0.3, 1.3, 3 * n_faces) * HEIGHT,
            rng.uniform(100, 900, 3 * n_faces),
        ],
        axis=1,
    ).reshape(n_faces, 3, 3)
    middle = uvz[:, :1]
    uvz = middle + (uvz - middle) * np.array([spread, spread, 1])
    faces = torch.arange(3 * n_faces).view(-1, 3)
    picture = torch.from_numpy(rng.integers(0, n_pictures, n_faces))
    return torch.from_numpy(uvz.reshape(-1, 3).astype(np.float32)), faces, picture


@pytest.mark.parametrize("cull", [True, False])
@pytest.mark.parametrize("spread", [0.05, 0.3, 1.0, 20.0])
def test_equals_the_slow_one_on_random_triangles(spread, cull):
    uvz, faces, picture = soup(np.random.default_rng(int(spread * 100)), spread=spread)
    wanted = slow(uvz, faces, picture, 3, cull=cull)
    assert (wanted[0] >= 0).any()
    same(rasterize(uvz, faces, picture, 3, HEIGHT, WIDTH, cull=cull), wanted)


def grid(rng, n=9, jitter=0.3, snap=False):
    """A bent sheet of triangles over the whole picture and beyond, facing the camera."""
    v, u = np.meshgrid(np.linspace(-6, HEIGHT + 6, n), np.linspace(-6, WIDTH + 6, n), indexing="ij")
    places = np.stack([u, v], axis=-1) + rng.uniform(-jitter, jitter, (n, n, 2)) * 6
    places = np.round(places) if snap else places
    z = rng.uniform(300, 500, (n, n, 1))
    uvz = np.concatenate([places, z], axis=-1).reshape(-1, 3).astype(np.float32)
    at = np.arange(n * n).reshape(n, n)
    a, b, c, d = at[:-1, :-1], at[1:, :-1], at[1:, 1:], at[:-1, 1:]
    faces = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)]).reshape(-1, 3)
    return torch.from_numpy(uvz), torch.from_numpy(faces)


@pytest.mark.parametrize("snap", [True, False])
def test_neighbours_cover_every_pixel_exactly_once(snap):
    """Snapped corners lie on pixel centres, where only the fill rule decides."""
    uvz, faces = grid(np.random.default_rng(4), jitter=0.2, snap=snap)
    # One picture for each triangle: the sum says how often a pixel is covered.
    apart = rasterize(uvz, faces, torch.arange(len(faces)), len(faces), HEIGHT, WIDTH)
    assert ((apart.face >= 0).sum(dim=0) == 1).all()
    together = torch.zeros(len(faces), dtype=torch.int64)
    whole = rasterize(uvz, faces, together, 1, HEIGHT, WIDTH)
    assert (whole.face >= 0).all()
    same(whole, slow(uvz, faces, together, 1))


def test_no_pixel_depends_on_the_order_of_the_triangles():
    rng = np.random.default_rng(5)
    uvz, faces, picture = soup(rng, 90)
    first = rasterize(uvz, faces, picture, 3, HEIGHT, WIDTH)
    order = torch.from_numpy(rng.permutation(len(faces)))
    second = rasterize(uvz, faces[order], picture[order], 3, HEIGHT, WIDTH)
    there = first.face >= 0
    assert torch.equal(order[second.face[there]], first.face[there])
    assert torch.equal(first.depth_mm, second.depth_mm)
    assert torch.equal(first.bary, second.bary)


def test_a_batch_is_the_same_as_its_pictures():
    uvz, faces, picture = soup(np.random.default_rng(6), 90)
    whole = rasterize(uvz, faces, picture, 3, HEIGHT, WIDTH)
    for n in range(3):
        one = picture == n
        alone = rasterize(uvz, faces[one], picture[one] * 0, 1, HEIGHT, WIDTH)
        assert torch.equal(alone.depth_mm[0], whole.depth_mm[n])
        assert torch.equal(alone.bary[0], whole.bary[n])


def test_of_two_triangles_that_touch_the_first_wins_everywhere():
    uvz = torch.tensor([[5.0, 5, 200], [5, 30, 200], [40, 30, 300], [40, 5, 300]])
    faces = torch.tensor([[0, 1, 2], [0, 1, 2], [0, 2, 3], [0, 2, 3]])
    found = rasterize(uvz, faces, torch.zeros(4, dtype=torch.int64), 1, HEIGHT, WIDTH)
    assert set(found.face.unique().tolist()) == {-1, 0, 2}


def test_depth_of_a_tilted_plane_is_analytic():
    """Plane z = 400 + x / 2 seen through f = 50: 1/z is linear in the picture."""
    corners = np.array([[-200, -150], [-200, 150], [200, 150], [200, -150.0]])
    z = 400 + corners[:, 0] / 2
    uv = corners / z[:, None] * 50 + [WIDTH / 2, HEIGHT / 2]
    uvz = torch.from_numpy(np.concatenate([uv, z[:, None]], axis=1).astype(np.float32))
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    found = rasterize(uvz, faces, torch.zeros(2, dtype=torch.int64), 1, HEIGHT, WIDTH)
    row, column = (found.face[0] >= 0).nonzero().unbind(1)
    assert len(row) > 500
    slope = (column - WIDTH / 2) / 50
    wanted = 400 / (1 - slope / 2)
    # Corners are rounded to 1/64 px.
    torch.testing.assert_close(found.depth_mm[0, row, column], wanted.float(), rtol=1e-3, atol=0.0)


def test_what_cannot_be_drawn_is_left_out():
    one = torch.tensor([[5.0, 5, 200], [5, 30, 200], [40, 30, 300]])
    cases = {
        "behind": one * torch.tensor([1, 1, -1]),
        "too near": torch.cat([one[:2], torch.tensor([[40, 30, NEAR_MM - 0.1]])]),
        "not a number": torch.cat([one[:2], torch.tensor([[torch.nan, 30, 300]])]),
        "endless": torch.cat([one[:2], torch.tensor([[torch.inf, 30, 300]])]),
        "endlessly far": torch.cat([one[:2], torch.tensor([[40, 30, torch.inf]])]),
        "far outside": torch.cat([one[:2], torch.tensor([[2e5, 30, 300]])]),
        "right of it": one + torch.tensor([WIDTH, 0, 0]),
        "above it": one - torch.tensor([0, 60, 0]),
        "a line": one[[0, 1, 1]],
        "between centres": one * torch.tensor([0.001, 0.001, 1]) + torch.tensor([5.3, 5.3, 0]),
        "its back": one[[0, 2, 1]],
    }
    faces, picture = torch.tensor([[0, 1, 2]]), torch.zeros(1, dtype=torch.int64)
    assert (rasterize(one, faces, picture, 1, HEIGHT, WIDTH).face >= 0).any()
    for name, uvz in cases.items():
        found = rasterize(uvz, faces, picture, 1, HEIGHT, WIDTH)
        assert (found.face == -1).all(), name
        assert (found.depth_mm == torch.inf).all(), name
        assert not found.bary.any(), name


def test_nothing_to_draw_gives_empty_pictures():
    nothing = torch.zeros(0, 3)
    faces, picture = torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    found = rasterize(nothing, faces, picture, 2, 4, 5)
    assert found.face.shape == (2, 4, 5)
    assert (found.face == -1).all()


def test_huge_triangles_cover_the_picture():
    uvz = torch.tensor([[-9e4, -9e4, 200], [-9e4, 9e4, 200], [9e4, 9e4, 300], [9e4, -9e4, 300]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    picture = torch.zeros(2, dtype=torch.int64)
    found = rasterize(uvz, faces, picture, 1, HEIGHT, WIDTH)
    assert (found.face >= 0).all()
    same(found, slow(uvz, faces, picture, 1))


def test_the_shares_put_the_corners_together_again():
    uvz, faces, picture = soup(np.random.default_rng(8), 40)
    hits = nearest_hits(uvz, faces, picture, 3, HEIGHT, WIDTH)
    assert len(hits.pixel.unique()) == len(hits)
    assert (hits.bary >= 0).all()
    torch.testing.assert_close(hits.bary.sum(dim=1), torch.ones(len(hits)))
    xyz = torch.cat([uvz[:, :2] * uvz[:, 2:], uvz[:, 2:]], dim=1)
    point = (xyz[faces[hits.face]] * hits.bary[..., None]).sum(dim=1)
    place = point[:, :2] / point[:, 2:]
    inside = hits.pixel % (HEIGHT * WIDTH)
    pixels = torch.stack([inside % WIDTH, inside // WIDTH], dim=1)
    assert float((place - pixels).abs().max()) < 0.02
    torch.testing.assert_close(point[:, 2], hits.depth_mm)


def test_errors_say_what_is_wrong():
    uvz = torch.zeros(3, 3)
    faces, picture = torch.tensor([[0, 1, 2]]), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ShapeError, match=r"uvz is .*\(3, 2\), expected float32"):
        rasterize(uvz[:, :2], faces, picture, 1, 4, 4)
    with pytest.raises(ShapeError, match=r"faces is .*int32"):
        rasterize(uvz, faces.int(), picture, 1, 4, 4)
    with pytest.raises(ShapeError, match=r"picture is .*expected int64 \(1,\)"):
        rasterize(uvz, faces, picture[:0], 1, 4, 4)
    with pytest.raises(ShapeError, match="1 pictures of 4 x 0 px, expected at least one"):
        rasterize(uvz, faces, picture, 1, 0, 4)
