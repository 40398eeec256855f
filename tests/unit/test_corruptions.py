"""Corruptions: each against its definition, computed another way."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from mobilemod.data.corruptions import CONDITIONS, CORRUPTIONS, STRENGTHS, Condition
from mobilemod.data.testcard import draw_card
from mobilemod.errors import UserError

SIZE = 224


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """uint8 (224, 224, 3): smooth colours with edges and a little texture."""
    rng = np.random.default_rng(0)
    texture = rng.integers(-12, 13, (SIZE, SIZE, 1))
    return np.clip(draw_card(SIZE).astype(int) + texture, 0, 255).astype(np.uint8)


def grey(value: int) -> np.ndarray:
    return np.full((SIZE, SIZE, 3), value, np.uint8)


def deviation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


def test_five_kinds_at_three_strengths():
    assert len(CONDITIONS) == len(set(CONDITIONS)) == 15
    assert STRENGTHS == (1, 3, 5) and len(CORRUPTIONS) == 5


@pytest.mark.parametrize("condition", CONDITIONS, ids=str)
def test_image_in_image_out_and_the_same_each_time(photo, condition):
    before = photo.copy()
    first = condition(photo, "n01440764/a.jpg")
    assert first.shape == photo.shape and first.dtype == np.uint8
    assert np.array_equal(photo, before), "the image given must stay"
    assert np.array_equal(first, condition(photo, "n01440764/a.jpg"))
    other = condition(photo, "n01440764/b.jpg")
    assert np.array_equal(first, other) == (condition.corruption != "gaussian noise")


@pytest.mark.parametrize("condition", CONDITIONS, ids=str)
def test_a_rectangle_is_corrupted_whichever_way_it_lies(photo, condition):
    wide = photo[:96]
    changed = condition(wide, "a")
    assert changed.shape == wide.shape
    if condition.corruption == "gaussian blur":
        turned = condition(np.ascontiguousarray(wide.swapaxes(0, 1)), "a").swapaxes(0, 1)
        assert np.abs(changed.astype(int) - turned).max() <= 1


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_stronger_changes_more(photo, corruption):
    change = [deviation(photo, Condition(corruption, s)(photo, "a")) for s in STRENGTHS]
    assert 0.5 < change[0] < change[1] < change[2]


@pytest.mark.parametrize("strength,sigma", list(zip(STRENGTHS, (1.0, 3.0, 6.0), strict=True)))
def test_blur_of_a_line_is_a_gaussian(strength, sigma):
    """A bright column in an image of 224 pixels becomes the Gaussian's density."""
    x = grey(0)
    x[:, 112] = 255
    row = Condition("gaussian blur", strength)(x, "a")[100, :, 0].astype(float)
    offset = np.arange(SIZE) - 112
    density = np.exp(-0.5 * (offset / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
    assert np.abs(row - 255 * density).max() <= 1.5
    assert np.array_equal(Condition("gaussian blur", strength)(grey(77), "a"), grey(77))


def test_blur_is_as_wide_in_relation_to_a_smaller_image():
    x = np.zeros((56, 56, 3), np.uint8)
    x[28] = 255
    column = Condition("gaussian blur", 3)(x, "a")[:, 30, 1].astype(float)
    spread = np.sqrt((column * (np.arange(56) - 28) ** 2).sum() / column.sum())
    assert spread == pytest.approx(3.0 / 4, rel=0.1)


@pytest.mark.parametrize("strength,part", list(zip(STRENGTHS[:2], (0.08, 0.18), strict=True)))
def test_noise_has_its_deviation_and_no_mean(strength, part):
    noise = Condition("gaussian noise", strength)(grey(128), "a").astype(float) - 128
    assert noise.std() == pytest.approx(255 * part, rel=0.02)
    assert abs(noise.mean()) < 0.5
    pairs = np.corrcoef(noise.reshape(-1, 3).T)
    assert np.abs(pairs - np.eye(3)).max() < 0.02, "colours must be independent"


@pytest.mark.parametrize("condition", CONDITIONS, ids=str)
@pytest.mark.parametrize("value", [0, 255])
def test_extremes_are_cut_off_and_don_t_wrap(condition, value):
    y = Condition(condition.corruption, condition.strength)(grey(value), "a").astype(int)
    if condition.corruption == "gaussian noise":
        assert np.abs(np.median(y) - value) <= 1
        assert np.abs(y - value).mean() == pytest.approx(255 * condition.level * 0.4, rel=0.1)
    elif condition.corruption == "brightness":
        assert (y == min(255, value + round(255 * condition.level))).all()
    else:
        assert np.abs(y - value).max() <= 2


@pytest.mark.parametrize("strength,added", list(zip(STRENGTHS, (0.1, 0.3, 0.5), strict=True)))
def test_brightness_adds_to_the_value_of_hsv(strength, added):
    x = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    y = Condition("brightness", strength)(x, "a")
    for i in range(0, SIZE, 16):
        for j in range(0, SIZE, 16):
            h, s, v = colorsys.rgb_to_hsv(*(x[i, j] / 255))
            expected = np.array(colorsys.hsv_to_rgb(h, s, min(v + added, 1.0))) * 255
            assert np.abs(y[i, j] - expected).max() <= 0.51


@pytest.mark.parametrize("strength,share", list(zip(STRENGTHS, (0.4, 0.2, 0.05), strict=True)))
def test_contrast_keeps_the_mean_and_a_share_of_the_rest(photo, strength, share):
    y = Condition("contrast", strength)(photo, "a").astype(float)
    assert np.allclose(y.mean((0, 1)), photo.mean((0, 1)), atol=0.2)
    assert np.allclose(y.std((0, 1)), share * photo.std((0, 1)), atol=0.3)


def test_jpeg_keeps_flat_colours_and_loses_texture(photo):
    red = np.zeros((SIZE, SIZE, 3), np.uint8)
    red[..., 0] = 200
    assert deviation(Condition("jpeg", 1)(red, "a"), red) <= 3
    y = Condition("jpeg", 5)(photo, "a")
    fine = [np.abs(np.diff(i.astype(int), axis=1)).mean() for i in (photo[..., 1], y[..., 1])]
    assert fine[1] < 0.7 * fine[0]


@pytest.mark.parametrize(
    "kind,strength,says",
    [("fog", 1, "unknown corruption 'fog'; known: gaussian blur"), ("jpeg", 2, "not one of")],
)
def test_unknown_condition(kind, strength, says):
    with pytest.raises(UserError, match=says):
        Condition(kind, strength)
