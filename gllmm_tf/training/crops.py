"""Which crop of which picture, and which quality, a step sees: a pure function of (seed, step, index).

Crop i of step s depends on (seed, s, i) alone, neither on the batch size nor on what was drawn
before; an interrupted run therefore resumes with exactly the crops it would have seen.

This file needs NumPy and nothing else: it also serves a training step that runs outside TensorFlow
(`gllmm_tf.training.xla`), to whose folder it is copied.
"""

import numpy as np

GOLDEN_RATIO = 0.6180339887498949


class Pictures:
    """Decoded pictures, one behind the other in one flat array.

    Attributes:
        shapes: [(height, width)] of each.

    Args:
        shapes: the same.
        pixels: uint8 [sum of height x width x 3], in memory or mapped.
    """

    def __init__(self, shapes, pixels):
        self.shapes = [(int(height), int(width)) for height, width in shapes]
        self._pixels = pixels
        sizes = [height * width * 3 for height, width in self.shapes]
        self._offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def __len__(self):
        return len(self.shapes)

    def __getitem__(self, index):
        """Returns picture `index`, uint8 [height, width, 3], without copying it."""
        flat = self._pixels[self._offsets[index] : self._offsets[index + 1]]
        return flat.reshape(*self.shapes[index], 3)


class Crops:
    """Random square crops, flipped left-right half of the time.

    Every picture that is large enough is equally likely, then every position in it.

    Args:
        pictures: Pictures, or any sequence of uint8 [height, width, 3] with an attribute `shapes`.
        patch: side of a crop in pixels.
        seed: int >= 0.
        num_qualities: of a variable-rate model, or None.

    Attributes:
        pictures: as given.
        num_small: number of pictures left out because a side is shorter than the patch.
    """

    def __init__(self, pictures, patch, seed, num_qualities=None):
        self.pictures = pictures
        self._patch = patch
        self._seed = seed
        self._num_qualities = num_qualities
        self._usable = [i for i, shape in enumerate(pictures.shapes) if min(shape) >= patch]
        self.num_small = len(pictures.shapes) - len(self._usable)

    def __len__(self):
        """Returns the number of pictures that are used; with none of them there is no crop."""
        return len(self._usable)

    def crop(self, step, index):
        """Returns crop `index` of step `step`, uint8 [patch, patch, 3]."""
        random = np.random.default_rng((self._seed, step, index))
        picture = self._usable[random.integers(len(self._usable))]
        height, width = self.pictures.shapes[picture]
        top = random.integers(height - self._patch + 1)
        left = random.integers(width - self._patch + 1)
        crop = self.pictures[picture][top : top + self._patch, left : left + self._patch]
        return crop[:, ::-1] if random.integers(2) else crop

    def quality(self, step, index):
        """Returns the quality of crop `index` of step `step`, in [1, Q], half the time an integer.

        The qualities of one step are spread evenly (multiples of the golden ratio from a random
        start): every batch sees low and high rates, which makes its gradient less noisy than
        independent draws would.
        """
        start = np.random.default_rng((self._seed, step)).random()
        u = (start + index * GOLDEN_RATIO) % 1.0
        if np.random.default_rng((self._seed, step, index, 1)).integers(2):
            return float(1 + int(u * self._num_qualities))
        return 1.0 + u * (self._num_qualities - 1)

    def batch(self, step, size, first=0):
        """Returns crops first .. first + size - 1 of step `step`.

        Returns:
            (crops uint8 [size, patch, patch, 3], qualities float32 [size], 0 for a fixed rate).
        """
        indices = range(first, first + size)
        crops = np.stack([self.crop(step, i) for i in indices])
        qualities = np.zeros(size, np.float32)
        if self._num_qualities:
            qualities[:] = [self.quality(step, i) for i in indices]
        return crops, qualities
