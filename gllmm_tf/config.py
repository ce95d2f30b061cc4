"""The configuration of a model: everything that decides which networks and which bitstream it has.

Two published systems are described by it:

* `gllmm`: Fu et al., "Learned Image Compression with Gaussian-Laplacian-Logistic Mixture Model and
  Concatenated Residual Modules", 2021, arXiv 2107.06463;
* `cheng2020`: Cheng et al., "Learned Image Compression with Discretized Gaussian Mixture Likelihoods
  and Attention Modules", CVPR 2020, arXiv 2001.01568.

`families`, `components` and `stages` are the ablations of the first paper.
"""

import dataclasses
import json
import re

from gllmm_tf.errors import ModelError

FAMILIES = ("gaussian", "laplacian", "logistic")
SYSTEMS = ("gllmm", "cheng2020")

# Spatial subsampling: x -> y by 16, y -> z by 4. Pictures are padded to a multiple of the product.
LATENT_STRIDE = 16
HYPER_STRIDE = 4
LAYER_STRIDE = LATENT_STRIDE // HYPER_STRIDE  # x -> the latent of an enhancement layer
LAYER_BLOCKS = 2  # residual blocks of its synthesis
IMAGE_MULTIPLE = LATENT_STRIDE * HYPER_STRIDE

QUALITY_STEPS = 16  # qualities are coded in sixteenths

DEFAULT_QUALITY = 4.0
"""Quality of a variable-rate model where none is given."""


LATER_FIELDS = {
    "trunk_widths": (),
    "hyper_filters": 0,
    "deep_filters": 0,
    "first_quality": 1,
    "base": "",
    "base_index": 0,
}
"""{field that models of earlier versions do not have: its value for them}."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Hyperparameters of one model.

    Attributes:
        system: "gllmm" or "cheng2020".
        num_filters: N, the channels of the transforms and of y, and of z if `hyper_filters` is 0.
        trunk_widths: Channels of g_a and g_s at 1/2, 1/4 and 1/8 of the resolution. Empty for N
            everywhere, as published. Most multiply-adds happen at 1/2, most of what a high rate needs
            is N; so a narrow start and a wide N give more for the same time.
        hyper_filters: Channels of z, h_a and h_s. 0 for N, as published. What a high rate needs is
            channels of y.
        deep_filters: Channels of y, the first ones, that go through the attention of g_a and the attention
            and the residual module of g_s at 1/16 of the resolution; the others pass these by. 0 for
            all, as published. The weights of those blocks grow with the square of their channels.
        families: Mixture families in stream order, a non-empty subset of `FAMILIES`.
        components: Components per family.
        stages: Residual pairs of each residual module: 1 is the plain residual block of Cheng et al.,
            2 the concatenated residual module of the released GLLMM code, 3 the longer one of the paper.
        entropy_widths: Output channels of the two hidden layers of the entropy parameter network.
        lambdas: Empty for a fixed-rate model. Otherwise the Lagrange multipliers of the integer
            qualities of a variable-rate model, ascending.
        first_quality: The number of its lowest quality. More than 1 for a model that goes on where
            another one ends.
        metric: Distortion the model is trained for, "mse" or "ms-ssim".
        base: Empty for a model of pictures. Otherwise this is an enhancement layer, which codes what
            another model leaves of a picture (`gllmm_tf/model/enhancement.py`): that model's identity, 16
            hexadecimal digits. N are the layer's channels then, and `hyper_filters` those of the other
            model's y, from which the layer's h_s starts.
        base_index: The quality index of the other model's picture.
    """

    system: str = "gllmm"
    num_filters: int = 128
    trunk_widths: tuple[int, ...] = ()
    hyper_filters: int = 0
    deep_filters: int = 0
    families: tuple[str, ...] = FAMILIES
    components: int = 3
    stages: int = 2
    entropy_widths: tuple[int, int] = (640, 1280)
    lambdas: tuple[float, ...] = ()
    metric: str = "mse"
    first_quality: int = 1
    base: str = ""
    base_index: int = 0

    def __post_init__(self):
        object.__setattr__(self, "trunk_widths", tuple(int(w) for w in self.trunk_widths))
        object.__setattr__(self, "families", tuple(self.families))
        object.__setattr__(self, "entropy_widths", tuple(int(w) for w in self.entropy_widths))
        object.__setattr__(self, "lambdas", tuple(float(v) for v in self.lambdas))
        for good, name, wanted in self._checks():
            if not good:
                raise ModelError(
                    f"model configuration: {name} is {getattr(self, name)!r}, it must be {wanted}"
                )

    def _checks(self):
        """(whether it is good, field, what it must be)."""
        return (
            (self.system in SYSTEMS, "system", f"one of {SYSTEMS}"),
            (
                _is_width(self.num_filters),
                "num_filters",
                "an even whole number from 2 to 1024",
            ),
            (
                len(self.trunk_widths) in (0, 3) and all(map(_is_width, self.trunk_widths)),
                "trunk_widths",
                "empty, or three even whole numbers from 2 to 1024",
            ),
            (
                self.hyper_filters == 0 or _is_width(self.hyper_filters),
                "hyper_filters",
                "0 for N, or an even whole number from 2 to 1024",
            ),
            (
                self.deep_filters == 0
                or _is_width(self.deep_filters)
                and self.deep_filters < self.num_filters,
                "deep_filters",
                "0 for all of N, or an even whole number from 2 to less than N",
            ),
            (
                len(self.families) > 0
                and self.families == tuple(f for f in FAMILIES if f in self.families),
                "families",
                f"a non-empty subset of {FAMILIES} in that order",
            ),
            (_is_int(self.components) and 1 <= self.components <= 16, "components", "1 to 16"),
            (_is_int(self.stages) and 1 <= self.stages <= 8, "stages", "1 to 8"),
            (
                len(self.entropy_widths) == 2 and all(1 <= w <= 8192 for w in self.entropy_widths),
                "entropy_widths",
                "two widths from 1 to 8192",
            ),
            (
                len(self.lambdas) != 1
                and len(self.lambdas) <= 16
                and all(v > 0 for v in self.lambdas)
                and list(self.lambdas) == sorted(set(self.lambdas)),
                "lambdas",
                "empty, or 2 to 16 positive ascending values",
            ),
            (
                _is_int(self.first_quality) and 1 <= self.first_quality <= 64,
                "first_quality",
                "a whole number from 1 to 64",
            ),
            (self.metric in ("mse", "ms-ssim"), "metric", "'mse' or 'ms-ssim'"),
            *self._layer_checks(),
        )

    def _layer_checks(self):
        """Those of an enhancement layer's fields."""
        return (
            (
                self.base == ""
                or isinstance(self.base, str)
                and re.fullmatch("[0-9a-f]{16}", self.base) is not None,
                "base",
                "empty, or 16 hexadecimal digits",
            ),
            (
                _is_int(self.base_index) and 0 <= self.base_index <= 255,
                "base_index",
                "a whole number from 0 to 255",
            ),
        )

    @property
    def num_qualities(self) -> "int | None":
        """Integer qualities of a variable-rate model, None for a fixed-rate one."""
        return len(self.lambdas) or None

    @property
    def qualities(self) -> range:
        """The integer qualities, empty for a fixed rate: 1..Q unless `first_quality` says otherwise."""
        return range(self.first_quality, self.first_quality + len(self.lambdas))

    @property
    def default_quality(self) -> "float | None":
        """`DEFAULT_QUALITY` as far as the model's qualities go; None for a fixed rate."""
        if not self.lambdas:
            return None
        return float(min(max(DEFAULT_QUALITY, self.qualities[0]), self.qualities[-1]))

    def quality_of(self, index: int) -> "float | None":
        """The quality of a quality index, which counts sixteenths from the lowest one on."""
        return self.first_quality + index / QUALITY_STEPS if self.lambdas else None

    def index_of(self, quality: float) -> int:
        """The quality index that is nearest to a quality of the model."""
        return int(round((quality - self.first_quality) * QUALITY_STEPS))

    @property
    def z_filters(self) -> int:
        """Channels of z: `hyper_filters`, or N."""
        return self.hyper_filters or self.num_filters

    @property
    def num_groups(self) -> int:
        """Entropy parameters per latent element (30 for the published GLLMM, 9 for Cheng et al.)."""
        families = len(self.families)
        return 3 * families * self.components + (families if families > 1 else 0)

    def to_json(self) -> str:
        """The text that a model file holds; `from_json` reads it."""
        fields = dataclasses.asdict(self)
        for name, plain in LATER_FIELDS.items():
            if fields[name] == plain:
                del fields[name]  # a model's identity is a hash of this text
        return json.dumps(fields, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "ModelConfig":
        """The configuration of a text that `to_json` wrote.

        Raises:
            ModelError: it is not such a text, or its values cannot be used.
        """
        try:
            fields = json.loads(text)
            return cls(**fields)
        except (TypeError, ValueError) as error:
            raise ModelError(f"model configuration cannot be read: {error}") from error


def cheng2020(num_filters: int = 128, **overrides) -> ModelConfig:
    """The published configuration of Cheng et al. with N = `num_filters`."""
    fields: dict = dict(
        system="cheng2020",
        num_filters=num_filters,
        families=("gaussian",),
        stages=1,
        entropy_widths=(640, 640),
    )
    return ModelConfig(**{**fields, **overrides})


def gllmm(num_filters: int = 128, **overrides) -> ModelConfig:
    """The published configuration of Fu et al. with N = `num_filters`."""
    return ModelConfig(**{**dict(system="gllmm", num_filters=num_filters), **overrides})


def _is_width(value):
    return _is_int(value) and 2 <= value <= 1024 and value % 2 == 0


def _is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)
