"""Motions against what mechanics says of them, in closed form."""

import math
from itertools import pairwise

import numpy as np
import pytest

from tubelet.worlds.depth.laws import (
    ZERO,
    Bob,
    Swing,
    Topple,
    ahead,
    flies,
    halts,
    impulse,
    rests,
    rolling,
    rolls,
    slides,
    slips,
)
from tubelet.worlds.depth.scene import GRAVITY as G

FINE = np.arange(4001) / 1000  # 4 s


def thrown(h=1.7, e=0.8, r=0.5, velocity=ZERO):
    start = rests((0.1, -0.2, h + r), (0.3, 0.1, -0.2))
    return flies(start, 0.0, velocity, rolling(velocity, r), r, e)


def struck(offset=0.4, e=0.9, r=0.45, v=1.3, friction=0.2, wait=0.5):
    """Two equal balls: the paths of both, and the line of centres."""
    normal = (math.sqrt(1 - offset**2), offset, 0.0)
    velocity = (v, 0.0, 0.0)
    meets = ahead((0.0, 0.0, r), normal, -2 * r)
    after = impulse(velocity, ZERO, normal, e)
    one = rolls(ahead(meets, velocity, -wait), velocity, r, (0.5, 0.2, 0.1))
    return (
        slips(one, wait, after[0], rolling(velocity, r), r, friction, "hits"),
        slips(rests((0.0, 0.0, r)), wait, after[1], ZERO, r, friction, "is hit"),
        after,
    )


LAWS = {
    "thrown": thrown(velocity=(1.0, 0.2, 1.5)),
    "struck off-centre": struck()[0],
    "struck": struck()[1],
    "halts": halts(rolls((0.0, 1.0, 0.6), (0.1, -0.9, 0.0), 0.6, (1.0, 0.3, 0.2)), 2.0, 1.0),
    "slides": slides((0.0, 0.0, 0.5), (1.6, 0.1, 0.0), 0.3, (0.0, 0.0, 0.4)),
    "turns": rests((0.0, 0.0, 0.5), (0.0, 0.0, 0.4), (0.0, 0.0, 1.7)),
    "swings": Swing((0.0, 0.0, 2.2), 1.2, 0.7, (0.96, 0.28), 1.1),
    "topples": Topple((0.1, 0.0, 0.0), (0.26, 0.85), (0.8, 0.6), 0.9),
    "bobs": Bob((0.0, 0.0, 0.2), 0.15, 3.0, 0.4, 0.2, (0.1, 0.2, 0.3)),
}


@pytest.mark.parametrize("name", LAWS)
def test_rates_are_the_derivatives_of_places_and_turns(name):
    law, h = LAWS[name], 1e-5
    t = np.linspace(0.013, 3.7, 97)
    edges = np.array([piece.start for piece in getattr(law, "pieces", ())] or [0.0])
    t = t[np.abs(t[:, None] - edges).min(1) > 2 * h]
    if name == "topples":
        t = t[np.linalg.norm(law(t).spin, axis=1) > 0]
    before, now, after = law(t - h), law(t), law(t + h)
    np.testing.assert_allclose((after.position - before.position) / (2 * h), now.velocity, atol=1e-8)
    turn = (after.rotation - before.rotation) / (2 * h) @ now.rotation.transpose(0, 2, 1)
    rates = np.stack([turn[:, 2, 1], turn[:, 0, 2], turn[:, 1, 0]], -1)
    np.testing.assert_allclose(rates, now.spin, atol=1e-4 if name == "struck off-centre" else 1e-8)
    np.testing.assert_allclose(
        now.rotation @ now.rotation.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (len(t), 3, 3)), atol=1e-12
    )


@pytest.mark.parametrize("name", LAWS)
def test_any_rate_and_length_sees_the_same_motion(name):
    law = LAWS[name]
    slow, fast, short = law(np.arange(33) / 8), law(np.arange(65) / 16), law(np.arange(9) / 8)
    for a, b, c in zip(slow, fast, short, strict=True):
        assert np.array_equal(a, b[::2]) and np.array_equal(a[:9], c)


def test_apexes_fall_by_the_square_of_the_restitution():
    h, e, r = 1.7, 0.8, 0.5
    path = thrown(h, e, r)
    landings = [time for time, mark in path.marks if mark == "bounces"]
    assert landings[0] == pytest.approx(math.sqrt(2 * h / G), abs=1e-12)
    for k, (start, end) in enumerate(pairwise(landings[:6]), 1):
        apex = path(np.array([(start + end) / 2])).position[0, 2] - r
        assert apex == pytest.approx(h * e ** (2 * k), abs=1e-12)
    assert path(FINE).position[:, 2].min() >= r - 1e-12


def test_a_thrown_ball_that_spins_as_it_rolls_keeps_its_speed_and_rolls_at_the_end():
    path = thrown(velocity=(1.0, 0.2, 1.5), e=0.7)
    motion = path(np.array([60.0]))
    assert motion.velocity[0] == pytest.approx([1.0, 0.2, 0.0])
    assert contact_speed(motion, 0.5) == pytest.approx([0.0], abs=1e-12)


def contact_speed(motion, r):
    """Of the point that touches the ground."""
    return np.linalg.norm(motion.velocity + np.cross(motion.spin, [0.0, 0.0, -r]), axis=1)


def test_the_contact_point_of_a_rolling_ball_does_not_move():
    for path, r in ((rolls((0, 0, 0.6), (0.7, -0.9, 0.0), 0.6), 0.6), (LAWS["halts"], 0.6)):
        assert contact_speed(path(FINE), r).max() < 1e-12
    motion = rolls((0.0, 0.0, 0.6), (0.9, 0.0, 0.0), 0.6)(np.array([1.0]))
    assert motion.rotation[0] @ [0, 0, 1] == pytest.approx([math.sin(1.5), 0, math.cos(1.5)])  # way / r


@pytest.mark.parametrize("offset", [0.0, 0.3, -0.5])
def test_a_hit_keeps_momentum_and_the_energy_that_restitution_leaves(offset):
    e, v = 0.9, 1.3
    _, _, (one, two) = struck(offset, e)
    assert np.add(one, two) == pytest.approx([v, 0.0, 0.0], abs=1e-12)
    along = math.sqrt(1 - offset**2)  # share of the speed along the line of centres
    kept = (np.dot(one, one) + np.dot(two, two)) / v**2
    assert kept == pytest.approx(1 - along**2 * (1 - e**2) / 2, abs=1e-12)  # head-on: (1 + e^2) / 2


@pytest.mark.parametrize("ball", [0, 1])
def test_a_slipping_ball_rolls_after_two_sevenths_of_u_over_mu_g(ball):
    r, friction, wait, v = 0.45, 0.2, 0.5, 1.3
    paths = struck(r=r, friction=friction, wait=wait, v=v)
    path, start = paths[ball], np.array(paths[2][ball])
    spin = np.array(rolling((v, 0.0, 0.0), r)) if ball == 0 else np.zeros(3)
    u = np.linalg.norm(start + np.cross(spin, [0, 0, -r]))
    rolls_at = wait + 2 * u / (7 * friction * G)
    assert path.pieces[-1].start == pytest.approx(rolls_at, abs=1e-12)
    late, early = path(np.array([rolls_at + 0.1])), path(np.array([rolls_at - 0.01]))
    assert contact_speed(late, r) == pytest.approx([0.0], abs=1e-12)
    assert contact_speed(early, r) == pytest.approx([3.5 * friction * G * 0.01], abs=1e-9)
    # Friction has no moment about a point of the ground: 5/7 of the speed and 2/7 of that of the spin remain.
    assert late.velocity[0] == pytest.approx((5 * start + 2 * np.cross(spin, [0, 0, r])) / 7, abs=1e-12)


def test_a_slide_ends_at_v_squared_over_two_mu_g():
    path = slides((0.2, 0.0, 0.5), (1.6, 0.0, 0.0), 0.3)
    end = path(np.array([3.0]))
    assert end.position[0, 0] - 0.2 == pytest.approx(1.6**2 / (2 * 0.3 * G), abs=1e-12)
    assert (end.velocity == 0).all() and path.marks == ((pytest.approx(1.6 / (0.3 * G)), "stops"),)


def quarter_period(length: float, angle: float) -> float:
    """By the complete elliptic integral, from the arithmetic-geometric mean."""
    a, b = 1.0, math.cos(angle / 2)
    for _ in range(8):
        a, b = (a + b) / 2, math.sqrt(a * b)
    return math.sqrt(length / G) * math.pi / (2 * a)


def test_a_pendulum_keeps_its_energy_and_has_the_period_of_the_elliptic_integral():
    pivot, length, angle = (0.0, 0.0, 2.2), 1.2, 0.7
    law = Swing(pivot, length, angle, (1.0, 0.0), length)
    motion = law(FINE)
    energy = 0.5 * (motion.velocity**2).sum(1) + G * motion.position[:, 2]
    assert np.abs(energy - energy[0]).max() < 1e-8
    quarter = quarter_period(length, angle)
    bottom = law(np.array([quarter, 3 * quarter]))
    assert bottom.position[:, 0] == pytest.approx([0.0, 0.0], abs=1e-8)
    assert law(np.array([4 * quarter])).position[0] == pytest.approx(motion.position[0], abs=1e-8)
    rope = Swing(pivot, length, angle, (1.0, 0.0), 0.5)(FINE)
    way = (motion.position - np.array(pivot)) / length
    np.testing.assert_allclose(rope.rotation @ [0, 0, -1], way, atol=1e-12)


def test_a_toppling_block_keeps_its_energy_and_lies_on_its_side():
    half, edge = (0.26, 0.85), (0.1, 0.0, 0.0)
    law = Topple(edge, half, (1.0, 0.0), 0.9)
    motion = law(FINE)
    reach2 = half[0] ** 2 + half[1] ** 2
    energy = 0.5 * (4 / 3) * reach2 * motion.spin[:, 1] ** 2 + G * motion.position[:, 2]
    moving = motion.spin[:, 1] > 0
    assert 300 < moving.sum() < 2500 and np.abs(energy[moving] - energy[0]).max() < 1e-8
    assert motion.position[0] == pytest.approx([edge[0] - half[0], 0.0, half[1]], abs=1e-12)
    assert motion.rotation[0] == pytest.approx(np.eye(3), abs=1e-12)
    assert motion.position[-1] == pytest.approx([edge[0] + half[1], 0.0, half[0]], abs=1e-12)
    assert motion.rotation[-1] @ [0, 0, 1] == pytest.approx([1.0, 0.0, 0.0], abs=1e-12)


def test_a_bobbing_body_is_harmonic():
    law = LAWS["bobs"]
    z = law(FINE).position[:, 2] - 0.2
    assert z == pytest.approx(0.15 * np.sin(3.0 * FINE + 0.4), abs=1e-12)
