"""Triangles: normals, inside or not, and finding one in a mesh."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meso_core.errors import LocationError
from meso_core.location import find_triangle, in_triangle, surface_normal

SHARE = st.floats(0.0, 1.0)


@st.composite
def triangles(draw):
    """Vertices (3, 2) of a triangle that is no sliver, in µm: sides from 0.2 mm, an angle from 6 to 174 degrees."""
    corner = np.array([draw(st.floats(-1e4, 1e4)), draw(st.floats(-1e4, 1e4))])
    first, second = draw(st.floats(200, 5000)), draw(st.floats(200, 5000))
    turn, angle = draw(st.floats(0, 2 * np.pi)), draw(st.floats(0.1, np.pi - 0.1))
    ends = [
        [first * np.cos(turn), first * np.sin(turn)],
        [second * np.cos(turn + angle), second * np.sin(turn + angle)],
    ]
    order = draw(st.permutations(range(3)))
    return np.array([corner, corner + ends[0], corner + ends[1]])[order]


def test_normal_follows_the_right_hand_rule_and_has_length_one():
    flat = np.array([[0, 0, 0], [2, 0, 0], [0, 3, 0]], float)
    np.testing.assert_allclose(surface_normal(flat), [0, 0, 1])
    np.testing.assert_allclose(surface_normal(np.stack([flat, flat[::-1]])), [[0, 0, 1], [0, 0, -1]])


def test_normal_turns_with_the_triangle():
    rng = np.random.default_rng(1)
    triangles = rng.normal(size=(50, 3, 3))
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    np.testing.assert_allclose(
        surface_normal(triangles @ rotation.T), surface_normal(triangles) @ rotation.T, atol=1e-9
    )


def test_points_on_one_line_have_no_normal():
    with pytest.raises(LocationError, match="not on one line"):
        surface_normal([[0, 0, 0], [1, 1, 1], [2, 2, 2]])


@given(triangles(), SHARE, SHARE)
def test_every_mixture_of_the_vertices_is_inside(triangle, u, v):
    u, v = (u, v) if u + v <= 1 else (1 - u, 1 - v)
    assert in_triangle(triangle, np.array([1 - u - v, u, v]) @ triangle)


@given(triangles(), SHARE, st.floats(0.01, 5.0))
def test_points_beyond_an_edge_are_outside(triangle, along, beyond):
    a, b, c = triangle
    on_edge = a + along * (b - a)
    assert in_triangle(triangle, on_edge)
    assert not in_triangle(triangle, on_edge + beyond * (on_edge - c))


def grid_mesh(n: int):
    x, y = np.meshgrid(np.arange(n + 1.0), np.arange(n + 1.0), indexing="ij")
    number = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
    a, b, c, d = (k.ravel() for k in (number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]))
    return np.c_[x.ravel(), y.ravel(), x.ravel()], np.concatenate([np.c_[a, b, c], np.c_[a, c, d]])


def brute_force(points, vertices, connectivity):
    found = np.full(len(points), -1)
    for k in range(len(connectivity))[::-1]:
        found[in_triangle(vertices[connectivity[k], :2], points)] = k
    return found


def test_found_triangle_is_the_first_that_holds_the_point_also_on_edges_and_vertices():
    vertices, connectivity = grid_mesh(7)
    rng = np.random.default_rng(2)
    points = np.concatenate(
        [rng.uniform(-1, 8, (300, 2)), rng.integers(-1, 9, (100, 2)), rng.integers(0, 15, (100, 2)) / 2]
    )
    np.testing.assert_array_equal(
        find_triangle(points, vertices, connectivity), brute_force(points, vertices, connectivity)
    )


def test_found_triangle_agrees_with_exhaustive_search_on_an_irregular_mesh():
    from scipy.spatial import Delaunay

    rng = np.random.default_rng(3)
    sites = rng.normal(size=(200, 2)) * [4000, 30]
    mesh = Delaunay(sites).simplices
    points = rng.normal(size=(500, 2)) * [4500, 35]
    np.testing.assert_array_equal(find_triangle(points, sites, mesh), brute_force(points, sites, mesh))


def test_outside_of_a_mesh_there_is_no_triangle():
    vertices, connectivity = grid_mesh(3)
    assert find_triangle((-0.5, 1.0), vertices, connectivity) == -1
    assert find_triangle((1e9, 1.0), vertices, connectivity) == -1
    assert find_triangle((np.nan, 1.0), vertices, connectivity) == -1
    assert isinstance(find_triangle((0.6, 0.5), vertices, connectivity), int)
