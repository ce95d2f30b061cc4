"""Crops: determinism, arithmetic of positions, hold-out, what is too small, and clear errors."""

import os
import pathlib
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from gllmm_tf import errors
from gllmm_tf.files import images
from gllmm_tf.training import data

QUALITIES = 8


def coordinates(height, width, number=0):
    """A picture whose pixel (i, j) is (i, j, number): every crop says where it is from."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, number)], -1).astype(np.uint8)


class Drawn(list):
    """Pictures in memory."""

    @property
    def shapes(self):
        return [picture.shape[:2] for picture in self]


@pytest.fixture
def drawn():
    shapes = [(40, 50), (16, 90), (15, 200), (90, 16), (200, 15)]
    return Drawn(coordinates(*shape, number) for number, shape in enumerate(shapes))


@pytest.fixture
def folder(tmp_path):
    """Four PNGs of different sizes, in two folders."""
    (tmp_path / "more").mkdir()
    for number, name in enumerate(("b.png", "a.png", "more/c.png", "more/d.png")):
        Image.fromarray(coordinates(20 + number, 30, number)).save(tmp_path / name)
    return tmp_path


def test_find_pictures(folder):
    found = data.find_pictures([f"{folder}/*.png", f"{folder}/**/*.png"])
    assert [os.path.relpath(path, folder) for path in found] == [
        "a.png",
        "b.png",
        "more/c.png",
        "more/d.png",
    ]
    with pytest.raises(errors.ImageError, match="no picture matches; check train_glob"):
        data.find_pictures(f"{folder}/*.jpg")


@pytest.fixture
def paths(tmp_path):
    """Of twenty files with different contents."""
    paths = [tmp_path / f"{i:02d}.png" for i in range(20)]
    for i, path in enumerate(paths):
        path.write_bytes(bytes([i]) * 9)
    return [str(path) for path in paths]


@pytest.mark.parametrize("rule", ["content", "number"])
@pytest.mark.parametrize("held_out", [0, 1, 7])
def test_split_is_disjoint_and_complete(paths, held_out, rule):
    training, validation = data.split(paths, held_out, rule)
    assert len(validation) == held_out
    assert not set(training) & set(validation)
    assert sorted(training + validation) == paths
    assert (training, validation) == data.split(paths, held_out, rule)


@pytest.mark.parametrize("change", ["one more", "one less", "another folder", "other names"])
def test_held_out_pictures_stay_held_out(paths, tmp_path, change):
    """Whatever happens to the set: else a later part of a training is judged on what it has seen."""

    def contents(some):
        return {pathlib.Path(path).read_bytes() for path in some}

    held_out = contents(data.split(paths, 5)[1])
    moves = {"another folder": "elsewhere/{}", "other names": "x{}"}
    if change == "one more":
        (tmp_path / "new.png").write_bytes(b"new")
        others = [*paths, str(tmp_path / "new.png")]
    elif change == "one less":
        others = [path for path in paths if pathlib.Path(path).read_bytes() not in held_out][1:]
        others += [path for path in paths if pathlib.Path(path).read_bytes() in held_out]
    else:
        (tmp_path / "elsewhere").mkdir()
        others = [str(tmp_path / moves[change].format(os.path.basename(p))) for p in paths]
        for old, new in zip(paths, others):
            shutil.copy(old, new)
    now = contents(data.split(sorted(others), 5)[1])
    assert len(now & held_out) >= 4 if change == "one more" else now == held_out


def test_split_takes_from_all_pictures_and_leaves_something(paths):
    assert data.split(paths, 7)[1] not in (paths[:7], paths[-7:])
    with pytest.raises(errors.ImageError, match="none is left to train on"):
        data.split(paths, 20)


def test_crops_are_a_function_of_seed_step_and_index(drawn):
    first, second = (data.Crops(drawn, 16, 3, QUALITIES) for _ in range(2))
    large, qualities = first.batch(7, 6)
    small, few = second.batch(7, 2)  # another batch size, nothing drawn before
    np.testing.assert_array_equal(small, large[:2])
    np.testing.assert_array_equal(few, qualities[:2])
    for part, expected in zip(second.batch(7, 3, first=2), (large, qualities)):
        np.testing.assert_array_equal(part, expected[2:5])
    other_seed = data.Crops(drawn, 16, 4, QUALITIES).batch(7, 6)[0]
    assert not np.array_equal(large, other_seed)
    assert not np.array_equal(large, first.batch(8, 6)[0])


def test_crops_are_parts_of_the_pictures_everywhere_and_flipped_half_of_the_time(drawn):
    crops = data.Crops(drawn, 16, 0)
    seen = SimpleNamespace(tops=set(), lefts=set(), numbers=[], flips=[])
    for step in range(400):
        crop = crops.crop(step, 0).astype(int)
        flip = crop[0, 0, 1] > crop[0, 1, 1]
        upright = crop[:, ::-1] if flip else crop
        top, left, number = upright[0, 0]
        expected = drawn[number][top : top + 16, left : left + 16]
        np.testing.assert_array_equal(upright, expected)
        seen.numbers.append(number)
        seen.flips.append(flip)
        if number == 0:
            seen.tops.add(top)
            seen.lefts.add(left)
    assert 150 < sum(seen.flips) < 250
    # Pictures 2 and 4 have a side of 15; the others are equally likely.
    counts = np.bincount(seen.numbers, minlength=5)
    assert counts[2] == counts[4] == 0
    assert counts[[0, 1, 3]].min() > 90
    assert min(seen.tops) == 0 and max(seen.tops) == 40 - 16
    assert min(seen.lefts) <= 1 and max(seen.lefts) >= 50 - 16 - 1


def test_small_pictures_are_counted_and_an_empty_rest_is_refused(drawn):
    crops = data.Crops(drawn, 16, 0)
    assert (len(crops), crops.num_small) == (3, 2)
    with pytest.raises(errors.ImageError, match="all 5 training pictures are smaller .* 64 x 64"):
        data.Crops(drawn, 64, 0)


def test_qualities_cover_the_range(drawn):
    crops = data.Crops(drawn, 16, 0, QUALITIES)
    batches = np.stack([crops.batch(step, 8)[1] for step in range(60)])
    assert batches.dtype == np.float32
    assert batches.min() == 1.0 and batches.max() == QUALITIES
    whole = np.mean(batches == np.round(batches))
    assert 0.4 < whole < 0.6
    assert np.all(np.bincount(np.floor(batches).astype(int).ravel(), minlength=9)[1:8] > 35)
    # Each batch sees low and high rates.
    assert np.all(batches.min(1) < 3.5) and np.all(batches.max(1) > 5.5)


def test_fixed_rate_has_no_quality(drawn):
    np.testing.assert_array_equal(data.Crops(drawn, 16, 0).batch(0, 3)[1], np.zeros(3, np.float32))


def test_dataset_starts_anywhere(drawn):
    crops = data.Crops(drawn, 16, 0, QUALITIES)
    batches = list(crops.dataset(5, 8, 2, first=4).as_numpy_iterator())
    assert len(batches) == 3
    for step, (pixels, qualities) in zip((5, 6, 7), batches):
        expected = crops.batch(step, 2, first=4)
        np.testing.assert_array_equal(pixels, expected[0])
        np.testing.assert_array_equal(qualities, expected[1])


def test_fingerprint_follows_names_sizes_and_order(folder, tmp_path):
    paths = data.find_pictures(f"{folder}/**/*.png")
    first = data.fingerprint(paths)
    assert data.fingerprint(paths[:-1]) != first != data.fingerprint(paths[::-1])
    moved = shutil.copytree(folder, tmp_path / "moved")
    paths = [path.replace(str(folder), str(moved)) for path in paths]
    assert data.fingerprint(paths) == first
    with open(paths[0], "ab") as f:
        f.write(b"x")
    assert data.fingerprint(paths) != first


def test_centre_crops(drawn):
    crops = data.centre_crops(drawn, 16)
    assert crops.shape == (3, 16, 16, 3)
    np.testing.assert_array_equal(crops[:, 0, 0], [[12, 17, 0], [0, 37, 1], [37, 0, 3]])
    assert data.centre_crops(drawn, 64).shape == (0, 64, 64, 3)


def test_pictures_are_decoded_once_and_again_after_a_change(folder, tmp_path, monkeypatch):
    paths = data.find_pictures(f"{folder}/**/*.png")
    cache = str(tmp_path / "cache")
    pictures = data.Pictures.open(paths, cache)
    assert len(pictures) == 4
    for i, path in enumerate(paths):
        np.testing.assert_array_equal(pictures[i], np.asarray(Image.open(path)))

    calls = []
    decode = data.decode
    monkeypatch.setattr(data, "decode", lambda path: calls.append(path) or decode(path))
    np.testing.assert_array_equal(data.Pictures.open(paths, cache)[3], pictures[3])
    assert not calls
    changed = coordinates(33, 30, 9)
    Image.fromarray(changed).save(paths[3])
    np.testing.assert_array_equal(data.Pictures.open(paths, cache)[3], changed)
    assert len(calls) == 4
    assert not [name for name in os.listdir(cache) if name.endswith("tmp")]


def test_pictures_of_other_kinds_become_rgb(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(data.decode(tmp_path / "grey.png"), grey[..., None].repeat(3, -1))


@pytest.mark.parametrize(
    "kind", ["16 bits", "float", "signed", "palette", "turned", "alpha", "grey"]
)
def test_pictures_are_read_as_for_compressing(tmp_path, kind):
    ramp = np.tile(np.linspace(0, 1, 64), (16, 1))
    path = tmp_path / f"a.{'tif' if kind in ('float', 'signed') else 'png'}"
    options = {}
    if kind == "16 bits":
        image = Image.fromarray((ramp * 65535).astype(np.uint16))
    elif kind == "float":
        image = Image.fromarray(ramp.astype(np.float32))
    elif kind == "signed":
        options = {"tiffinfo": {339: 2}}
        image = Image.fromarray(np.round(ramp * 255).astype(np.uint8) ^ 0x80)
    elif kind == "palette":
        image = Image.fromarray(np.round(ramp * 255).astype(np.uint8)).convert("P")
    else:
        image = Image.fromarray(np.round(ramp * 255).astype(np.uint8)).convert("RGB")
    if kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {"exif": exif}
    if kind == "alpha":
        image.putalpha(Image.effect_noise(image.size, 60))
    image.save(path, **options)
    decoded = data.decode(path)
    np.testing.assert_array_equal(decoded, images.read_image(path).pixels)
    expected = np.rot90(ramp, -1) if kind == "turned" else ramp
    if kind != "alpha":
        assert np.abs(decoded - 255 * expected[..., None]).max() <= 1


@pytest.mark.parametrize("values", [np.ones((9, 9), np.int32), np.full((9, 9), 2, np.float32)])
def test_what_compressing_refuses_is_refused(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "a.tif")
    for read in (data.decode, images.read_image):
        with pytest.raises(errors.ImageError, match="a.tif: "):
            read(tmp_path / "a.tif")


def test_unreadable_picture_is_named(folder, tmp_path):
    (folder / "a.png").write_bytes(b"no picture")
    paths = data.find_pictures(f"{folder}/*.png")
    with pytest.raises(
        errors.ImageError, match=r"a.png: not a readable picture \(a text file\); .*; remove it"
    ):
        data.Pictures.open(paths, str(tmp_path / "cache"))
    assert os.listdir(tmp_path / "cache") == []


def test_unreadable_pictures_are_left_out_and_tried_again(folder, tmp_path, monkeypatch):
    paths, cache = data.find_pictures(f"{folder}/**/*.png"), str(tmp_path / "cache")
    whole = pathlib.Path(paths[1]).read_bytes()
    expected = [data.decode(path) for path in paths]
    pathlib.Path(paths[1]).write_bytes(whole[:50].ljust(len(whole), b"x"))
    stat = os.stat(paths[1])
    for _ in range(2):  # decoded, then from the cache
        pictures = data.Pictures.open(paths, cache, skip_unreadable=True)
        assert pictures.paths == [paths[0], *paths[2:]]
        assert len(pictures.unreadable) == 1 and paths[1] in pictures.unreadable[0]
        np.testing.assert_array_equal(pictures[2], expected[3])
        np.testing.assert_array_equal(pictures.only([paths[3], paths[0]])[0], expected[3])
    assert data.readable(paths) == pictures.paths
    with pytest.raises(errors.ImageError, match=os.path.basename(paths[1])):
        data.Pictures.open(paths, cache)
    pathlib.Path(paths[1]).write_bytes(whole)  # the disk is there again: nothing else has changed
    os.utime(paths[1], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    np.testing.assert_array_equal(data.Pictures.open(paths, cache, True)[1], expected[1])


def test_pictures_none_of_which_can_be_read(folder, tmp_path):
    paths = data.find_pictures(f"{folder}/*.png")
    for path in paths:
        pathlib.Path(path).write_bytes(b"x")
    with pytest.raises(errors.ImageError, match="none of the 2 pictures can be read; the first: "):
        data.Pictures.open(paths, str(tmp_path / "cache"), skip_unreadable=True)


def test_each_glob_has_to_match(folder):
    with pytest.raises(errors.ImageError, match=r"nothing/\*: no picture matches; .* written \\,"):
        data.find_pictures([f"{folder}/*.png", f"{folder}/nothing/*"])


@pytest.mark.parametrize("name", ["a, b.png", "a[1].png", "a*.png", " a.png "])
def test_names_of_pictures_are_taken_as_they_are(folder, name):
    shutil.copy(folder / "a.png", folder / name)
    shutil.copy(folder / "a.png", folder / "a1.png")
    assert data.find_pictures([str(folder / name)]) == [str(folder / name)]


def test_cache_that_cannot_be_written(folder, tmp_path, monkeypatch):
    paths = data.find_pictures(f"{folder}/*.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.GllmmError, match="cannot be written .*; name another folder"):
        data.Pictures.open(paths, str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2000))
    with pytest.raises(errors.GllmmError, match="GB free are too few for the decoded pictures"):
        data.Pictures.open(paths, str(tmp_path / "cache"))
    assert os.listdir(tmp_path / "cache") == []
