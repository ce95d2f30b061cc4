"""Training crops: a pure function of (seed, step, index), cut from decoded pictures.

    globs -> paths -> one file of decoded pixels (built once) -> random crops, flipped -> batches

Decoding a JPEG takes longer than everything else that is done to a crop, so the pictures are
decoded once into one flat uint8 file, which is mapped into memory: the page cache of the system
keeps what fits. Crop i of step s depends on (seed, s, i) alone, neither on the batch size nor on
what was drawn before; an interrupted run therefore resumes with exactly the crops it would have
seen.
"""

import concurrent.futures
import contextlib
import glob
import hashlib
import json
import os
import shutil
import sys

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from gllmm_tf import errors
from gllmm_tf.files import images
from gllmm_tf.files.atomic import replacing, write_bytes_atomic
from gllmm_tf.training import crops

CACHE_VERSION = 2


def find_pictures(globs):
    """Returns the sorted paths of the files that match the globs; `**` is recursive.

    Args:
        globs: a list of them, or one.

    Raises:
        errors.ImageError: a glob that matches nothing.
    """
    patterns = [globs] if isinstance(globs, str) else list(globs)
    found: set[str] = set()
    for pattern in patterns:
        matching = [pattern] if os.path.exists(pattern) else glob.glob(pattern, recursive=True)
        matching = [path for path in matching if os.path.isfile(path)]
        if not matching:
            hint = "" if len(patterns) == 1 else " (a comma that belongs to a path is written \\,)"
            raise errors.ImageError(
                f"{pattern}: no picture matches; check train_glob{hint}", "train_glob"
            )
        found.update(matching)
    if not found:
        raise errors.ImageError("no picture matches; check train_glob", "train_glob")
    return sorted(found)


def readable(paths):
    """Returns those of the paths whose pictures can be read."""
    return [path for path, found in _outcomes(paths) if isinstance(found, np.ndarray)]


def split(paths, num_validation, rule="content"):
    """Splits paths into (training, validation), both sorted as they were.

    Held out are the pictures whose files have the smallest SHA-256: the same ones in each part of a
    training, wherever they lie and whatever their names, and for runs that are compared. A picture
    more, or less, changes at most one of them.

    Args:
        paths: Of the pictures.
        num_validation: How many are held out.
        rule: "content"; or "number", by which runs of earlier versions chose: a permutation that
            depends on the number of pictures.

    Raises:
        errors.ImageError: nothing would be left to train on.
    """
    if num_validation >= len(paths):
        raise errors.ImageError(
            f"{len(paths)} pictures, {num_validation} of them held out: none is left to train on; "
            "hold out fewer or give more pictures",
            "validation_images",
        )
    if rule == "number":
        order = np.random.default_rng((0, len(paths))).permutation(len(paths)).tolist()
    else:
        order = sorted(range(len(paths)), key=lambda i: content_hash(paths[i]))
    held_out = set(order[:num_validation])
    training = [p for i, p in enumerate(paths) if i not in held_out]
    return training, [p for i, p in enumerate(paths) if i in held_out]


class Pictures:
    """Decoded pictures in one memory-mapped file.

    Attributes:
        paths: of the pictures, as given, without those that cannot be read.
        shapes: [(height, width)] of each.
        unreadable: a line for each picture that was left out.
    """

    def __init__(self, paths, shapes, pixels, offsets=None, unreadable=()):
        self.paths = list(paths)
        self.shapes = [tuple(shape) for shape in shapes]
        self.unreadable = list(unreadable)
        self._pixels = pixels
        if offsets is None:
            sizes = [height * width * 3 for height, width in self.shapes]
            offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._offsets = offsets

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        """Returns picture `index`, uint8 [height, width, 3], without copying it."""
        height, width = self.shapes[index]
        start = self._offsets[index]
        return self._pixels[start : start + height * width * 3].reshape(height, width, 3)

    def only(self, paths):
        """Returns some of the pictures, by their paths."""
        place = {path: i for i, path in enumerate(self.paths)}
        chosen = [place[path] for path in paths]
        shapes = [self.shapes[i] for i in chosen]
        return Pictures(paths, shapes, self._pixels, [self._offsets[i] for i in chosen])

    @classmethod
    def open(cls, paths, cache_dir, skip_unreadable=False):
        """Maps the decoded pictures of `paths`; decodes them into `cache_dir` if need be.

        The cache is named by paths, sizes and times of change of the files, so that it follows
        their changes.

        Args:
            paths: of picture files.
            cache_dir: folder of the cache.
            skip_unreadable: leave out pictures that cannot be read.

        Raises:
            errors.ImageError: a picture that cannot be read; with skip_unreadable, if none can.
            errors.GllmmError: a cache that cannot be written, or too little room for it.
        """
        facts = [CACHE_VERSION]
        for path in paths:
            stat = os.stat(path)
            facts.append([os.path.abspath(path), stat.st_size, stat.st_mtime_ns])
        name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        pixels_path = os.path.join(cache_dir, f"pictures-{name}.u8")
        shapes_path = os.path.join(cache_dir, f"pictures-{name}.json")
        shapes = _cached_shapes(paths, shapes_path, skip_unreadable)
        if shapes is None:
            try:
                shapes = _decode_all(paths, pixels_path, shapes_path, skip_unreadable)
            except OSError as error:
                raise errors.GllmmError(
                    f"{cache_dir}: the decoded pictures cannot be written ({error.strerror}); "
                    "name another folder",
                    "cache_dir",
                ) from error
        unreadable = [line for line in shapes if isinstance(line, str)]
        if len(unreadable) == len(paths):
            raise errors.ImageError(
                f"none of the {len(paths)} pictures can be read; the first: {unreadable[0]}",
                "train_glob",
            )
        there = [(path, shape) for path, shape in zip(paths, shapes) if not isinstance(shape, str)]
        pixels = np.memmap(pixels_path, np.uint8, "r")
        return cls(*zip(*there), pixels, unreadable=unreadable)


def decode(path):
    """Returns the picture at `path` as uint8 RGB [height, width, 3], as `gllmm compress` reads it.

    Raises:
        errors.ImageError: not a readable picture. errors.OutOfMemoryError: too little memory.
    """
    try:
        return images.read_image(path).pixels
    except errors.ImageError as error:
        raise errors.ImageError(f"{error}; remove it or narrow train_glob", "train_glob") from error


def _cached_shapes(paths, shapes_path, skip_unreadable):
    """Returns what `_decode_all` returned of these pictures; None if they have to be decoded."""
    if not os.path.exists(shapes_path):  # written last: the pixels are complete if it exists
        return None
    with open(shapes_path) as f:
        shapes = json.load(f)
    unreadable = [path for path, shape in zip(paths, shapes) if isinstance(shape, str)]
    if unreadable and (not skip_unreadable or readable(unreadable)):
        return None  # to name the first of them, or because a disk, say, is there again
    return shapes


def _outcomes(paths):
    """Yields (path, its picture or the ImageError that says why there is none)."""

    def outcome(path):
        try:
            return path, decode(path)
        except errors.ImageError as error:
            return path, error

    with concurrent.futures.ThreadPoolExecutor() as pool:
        # In slices, so that few decoded pictures are in memory however fast the threads are.
        for start in range(0, len(paths), 64):
            yield from pool.map(outcome, paths[start : start + 64])


def _decode_all(paths, pixels_path, shapes_path, skip_unreadable):
    """Writes pixels and shapes; returns, for each path, [height, width] or why there is none."""
    folder = os.path.dirname(pixels_path)
    os.makedirs(folder, exist_ok=True)
    free = shutil.disk_usage(folder).free
    shapes, written = [], 0
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(replacing(pixels_path))
        f = stack.enter_context(open(temporary, "xb"))
        bar = stack.enter_context(
            tqdm(total=len(paths), desc="decoding", unit="picture", disable=not sys.stderr.isatty())
        )
        for _, found in _outcomes(paths):
            bar.update()
            if isinstance(found, errors.ImageError):
                if not skip_unreadable:
                    raise found
                shapes.append(str(found))
                continue
            written += found.nbytes
            if written > 0.95 * free:
                raise errors.GllmmError(
                    f"{folder}: {free / 1e9:.1f} GB free are too few for the decoded pictures; "
                    "name a folder with more room",
                    "cache_dir",
                )
            shapes.append(list(found.shape[:2]))
            f.write(found.tobytes())
    write_bytes_atomic(shapes_path, json.dumps(shapes).encode())
    return shapes


class Crops(crops.Crops):
    """`crops.Crops` as a tf.data.Dataset.

    Raises:
        errors.ImageError: no picture is large enough.
    """

    def __init__(self, pictures, patch, seed, num_qualities=None):
        super().__init__(pictures, patch, seed, num_qualities)
        if not len(self):
            raise errors.ImageError(
                f"all {self.num_small} training pictures are smaller than the patch of "
                f"{patch} x {patch} pixels; give larger ones or a smaller patch",
                "patch",
            )

    def dataset(self, first_step, num_steps, size, first=0):
        """Returns a tf.data.Dataset of the batches of steps first_step .. num_steps - 1.

        Each holds crops first .. first + size - 1 of its step.
        """

        def load(step):
            batch, qualities = tf.numpy_function(
                lambda s: self.batch(int(s), size, first), [step], (tf.uint8, tf.float32)
            )
            batch.set_shape((size, self._patch, self._patch, 3))
            qualities.set_shape((size,))
            return batch, qualities

        return tf.data.Dataset.range(first_step, num_steps).map(load).prefetch(4)


def content_hash(path):
    """SHA-256 of a file, in hexadecimal."""
    state = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            state.update(block)
    return state.hexdigest()


def fingerprint(paths):
    """Returns a short text that changes with the names, sizes or order of picture files."""
    facts = [[os.path.basename(path), os.path.getsize(path)] for path in paths]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def facts_of(paths):
    """What a run's record says of its pictures: {"count", "sha256"}, those held out included."""
    return {"count": len(paths), "sha256": fingerprint(paths)}


def centres(paths, size):
    """Like `centre_crops`, of the pictures at these paths."""
    decoded = [decode(path) for path in paths]
    pixels = np.concatenate([np.zeros(0, np.uint8), *(p.reshape(-1) for p in decoded)])
    return centre_crops(crops.Pictures([p.shape[:2] for p in decoded], pixels), size)


def centre_crops(pictures, size):
    """Returns the centres of those pictures that are large enough, uint8 [count, size, size, 3]."""
    centres = []
    for i, (height, width) in enumerate(pictures.shapes):
        if min(height, width) >= size:
            top, left = (height - size) // 2, (width - size) // 2
            centres.append(pictures[i][top : top + size, left : left + size])
    return np.stack(centres) if centres else np.zeros((0, size, size, 3), np.uint8)
