"""Everything that decides a training run, and its schedule. Needs no TensorFlow.

    Settings
      model      what is trained: `ModelSettings`
      data       on which pictures: `DataSettings`
      optimizer  how a step is taken: `OptimizerSettings`
      schedule   how long, and how fast when: `ScheduleSettings`
      run        where, on what, and what is recorded: `RunSettings`

The names of the fields are unique over all groups, so that each is a flag of train.py
(`gllmm_tf/training/flags.py`), and `Settings.of(num_filters=48, steps=100)` is short for the groups.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

from gllmm_tf.config import ModelConfig
from gllmm_tf.errors import GllmmError
from gllmm_tf.metrics import DISTORTIONS, check_patch

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
STRATEGIES = ("one", "mirrored", "multi_worker")
OPTIMIZERS = ("muon", "adam")
ROUNDINGS = ("ste", "noise")

PUBLISHED = {
    "gllmm": {
        "families": ("gaussian", "laplacian", "logistic"),
        "stages": 2,
        "entropy_widths": (640, 1280),
    },
    "cheng2020": {"families": ("gaussian",), "stages": 1, "entropy_widths": (640, 640)},
}
"""What a system was published with; settings that are left empty take these values."""

FREE = frozenset(
    {
        *("run_dir", "cache_dir", "skip_unreadable", "validation_files", "strategy", "steps"),
        "learning_rate",
        *("adam_learning_rate", "clip_norm", "log_every", "checkpoint_every", "evaluate_every"),
        *("max_seconds", "hardware"),
    }
)
"""A run may be continued with other values of these."""


def setting(default, text: str):
    """A dataclass field with its help text."""
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """What is trained, for which loss."""

    system: str = setting("gllmm", "Network: gllmm or cheng2020.")
    num_filters: int = setting(128, "N, the number of channels.")
    trunk_widths: tuple[int, ...] = setting(
        (), "Channels of g_a and g_s at 1/2, 1/4 and 1/8 of the resolution; empty: N, as published."
    )
    hyper_filters: int = setting(0, "Channels of z, h_a and h_s; 0: N, as published.")
    deep_filters: int = setting(
        0, "Channels of y that go through the blocks at 1/16 of the resolution; 0: N, as published."
    )
    families: tuple[str, ...] = setting(
        (), "Families of the mixture; empty: the published ones of the system."
    )
    components: int = setting(3, "Components per family.")
    stages: int = setting(
        0, "Residual pairs per residual module: 1, 2 or 3; 0: as many as were published."
    )
    entropy_widths: tuple[int, ...] = setting(
        (), "Widths of the two hidden entropy-parameter layers; empty: the published ones."
    )
    lambdas: tuple[float, ...] = setting(
        (0.0075,), "One lambda: fixed rate. Several, ascending: variable rate, one per quality."
    )
    metric: str = setting(
        "mse", "Distortion: mse (lambda 255^2 MSE + bpp) or ms-ssim (lambda (1 - MS-SSIM) + bpp)."
    )
    first_quality: int = setting(
        1,
        "The lowest quality's number; more than 1 for a model that goes on where another one ends.",
    )
    init_from: str = setting(
        "", "Model (name, file or run) whose weights are the start; it may be a smaller one."
    )
    rounding: str = setting(
        "ste", "What synthesis and context see in training: ste (rounded) or noise."
    )

    def __post_init__(self):
        """Fills in what the system decides; raises GllmmError for a value that cannot work."""
        _one_of("system", self.system, PUBLISHED)
        _one_of("metric", self.metric, DISTORTIONS)
        _one_of("rounding", self.rounding, ROUNDINGS)
        if not self.lambdas or min(self.lambdas) <= 0:
            raise _unusable("lambdas", self.lambdas, "give positive numbers")
        for name, value in PUBLISHED[self.system].items():
            if not getattr(self, name):
                object.__setattr__(self, name, value)
        self.config()

    def config(self) -> ModelConfig:
        """The `ModelConfig` of the networks."""
        return ModelConfig(
            system=self.system,
            num_filters=self.num_filters,
            trunk_widths=self.trunk_widths,
            hyper_filters=self.hyper_filters,
            deep_filters=self.deep_filters,
            families=self.families,
            components=self.components,
            stages=self.stages,
            entropy_widths=self.entropy_widths,
            lambdas=self.lambdas if len(self.lambdas) > 1 else (),
            metric=self.metric,
            first_quality=self.first_quality,
        )

    @property
    def num_qualities(self) -> int | None:
        """Integer qualities of a variable-rate model; None for a fixed rate."""
        return len(self.lambdas) if len(self.lambdas) > 1 else None


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Which pictures are seen, and how much of them at once."""

    train_glob: tuple[str, ...] = setting(
        (), "Globs of training pictures (quote them; a comma in a path is written \\,)."
    )
    skip_unreadable: bool = setting(
        False, "Leave out, and count, pictures that cannot be read; without it they end the run."
    )
    cache_dir: str = setting(
        "", "Folder for the decoded pictures, 3 bytes per pixel; empty: RUN_DIR/cache."
    )
    patch: int = setting(128, "Side of a training crop in pixels, a multiple of 64.")
    batch: int = setting(8, "Crops per step, on all devices together.")
    validation_images: int = setting(16, "Number of pictures held out of training for validation.")
    validation_size: int = setting(
        256, "Side in pixels of the centre crops for validation, a multiple of 64."
    )
    validation_files: int = setting(
        4, "Number of those crops that every validation also compresses to files and decodes."
    )

    def __post_init__(self):
        _multiple_of_64("patch", self.patch)
        _at_least("batch", self.batch, 1)
        _at_least("validation_images", self.validation_images, 0)
        _multiple_of_64("validation_size", self.validation_size)
        _at_least("validation_files", self.validation_files, 0)


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
    """How a step is taken."""

    optimizer: str = setting("muon", "muon (Adam for what is no large kernel) or adam.")
    learning_rate: float = setting(1.2e-3, "Peak learning rate (of Muon's kernels, with muon).")
    adam_learning_rate: float = setting(
        4e-4, "Peak learning rate of the variables that muon leaves to Adam."
    )
    muon_largest: int = setting(
        1024, "Kernels with min(rows, columns) above this are left to Adam; 0: none."
    )
    clip_norm: float = setting(1.0, "Bound of the gradient's global norm; 0: none.")
    ema: float = setting(
        0.999, "Decay per step of the weight average that is validated and exported; 0: none."
    )

    def __post_init__(self):
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _positive("learning_rate", self.learning_rate)
        _positive("adam_learning_rate", self.adam_learning_rate)
        _at_least("muon_largest", self.muon_largest, 0)
        _at_least("clip_norm", self.clip_norm, 0)
        if not 0 <= self.ema < 1:
            raise _unusable("ema", self.ema, "give a decay from 0 to below 1")


@dataclasses.dataclass(frozen=True)
class ScheduleSettings:
    """How long a run is, and how its learning rate goes."""

    steps: int = setting(1000, "Length of the run, and of its learning-rate schedule, in steps.")
    warmup: int = setting(100, "Steps of linear warm-up.")
    flat: float = setting(
        0.2, "Fraction of the steps after which the learning rate starts its cosine to zero."
    )
    rate_ramp: int = setting(
        0,
        "Steps until the rate's gradient reaches g_a in full (it grows with their fourth power): "
        "time for new channels of y to become worth their bits. Only that of the new channels, if "
        "init_from is a file of experiments/tools/revive.py.",
    )

    def __post_init__(self):
        _at_least("steps", self.steps, 1)
        _at_least("warmup", self.warmup, 0)
        if not 0 <= self.flat <= 1:
            raise _unusable("flat", self.flat, "give a fraction from 0 to 1")
        _at_least("rate_ramp", self.rate_ramp, 0)

    def factor(self, step: int) -> float:
        """Learning rate of step 0, 1, .. over its peak: linear warm-up, flat, cosine to zero."""
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        start = self.flat * self.steps
        if step < start:
            return warm
        progress = min(1.0, (step - start) / max(1.0, self.steps - start))
        return warm * 0.5 * (1.0 + math.cos(math.pi * progress))


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """Where a run lives, on which devices, and what is recorded how often."""

    run_dir: str = setting(
        "", "Folder for checkpoints, metrics and model; an existing run continues."
    )
    precision: str = setting(
        "bfloat16", "Convolutions in float32 or bfloat16 (weights stay float32)."
    )
    jit: bool = setting(False, "Compile the step with XLA.")
    strategy: str = setting(
        "one",
        "Devices: one, mirrored (all local GPUs) or multi_worker (one process per machine, TF_CONFIG).",
    )
    seed: int = setting(
        0,
        "Seed of the initial weights, crops, qualities and noise. A run with the seed of its "
        "init_from sees the crops of that once more; what is held out does not depend on it.",
    )
    log_every: int = setting(50, "Steps per line of metrics.")
    checkpoint_every: int = setting(500, "Steps between checkpoints; the last 3 are kept.")
    evaluate_every: int = setting(
        2000, "Steps between validations, each of which exports the model; 0: at the end."
    )
    max_seconds: float = setting(
        0.0, "Stop cleanly after this many seconds of this call; 0: no limit."
    )
    hardware: str = setting("", "Description of the machine, recorded with the model.")

    def __post_init__(self):
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("strategy", self.strategy, STRATEGIES)
        if self.jit and self.strategy != "one":
            raise _unusable("jit", self.jit, "leave it out with several devices")
        if not 0 <= self.seed < 2**31:
            raise _unusable("seed", self.seed, "give a number from 0 to 2^31 - 1")
        _at_least("log_every", self.log_every, 1)
        _at_least("checkpoint_every", self.checkpoint_every, 1)
        _at_least("evaluate_every", self.evaluate_every, 0)
        _at_least("max_seconds", self.max_seconds, 0)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides a run. Raises GllmmError for values that cannot work together."""

    model: ModelSettings = dataclasses.field(default_factory=ModelSettings)
    data: DataSettings = dataclasses.field(default_factory=DataSettings)
    optimizer: OptimizerSettings = dataclasses.field(default_factory=OptimizerSettings)
    schedule: ScheduleSettings = dataclasses.field(default_factory=ScheduleSettings)
    run: RunSettings = dataclasses.field(default_factory=RunSettings)

    def __post_init__(self):
        check_patch(self.model.metric, self.data.patch)
        if self.data.validation_images:
            check_patch(self.model.metric, self.data.validation_size, "validation_size")

    @classmethod
    def of(cls, **values: Any) -> Settings:
        """From the fields of all groups, by their names; lists become tuples.

        Raises:
            GllmmError: a field that does not exist, of the wrong type, or that cannot work.
        """
        groups: dict[str, dict[str, Any]] = {name: {} for name in GROUPS}
        for name, value in cls.typed(values).items():
            groups[FIELDS[name][0]][name] = value
        return cls(**{name: GROUPS[name](**fields) for name, fields in groups.items()})

    @staticmethod
    def typed(values: dict[str, Any]) -> dict[str, Any]:
        """The values as their fields have them; see `of`."""
        for name in values:
            if name not in FIELDS:
                raise GllmmError(f"{name!r} is no setting; train.py --help lists them")
        return {name: typed(FIELDS[name][1], value) for name, value in values.items()}

    def flat(self) -> dict[str, Any]:
        """{field: value} over all groups; the inverse of `of`."""
        return {name: getattr(getattr(self, group), name) for name, (group, _) in FIELDS.items()}

    def replace(self, **values: Any) -> Settings:
        """These settings with other values of some fields."""
        return Settings.of(**{**self.flat(), **values})

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of step 0, 1, .. (of Muon's kernels, with muon)."""
        return self.optimizer.learning_rate * self.schedule.factor(step)


GROUPS = {
    "model": ModelSettings,
    "data": DataSettings,
    "optimizer": OptimizerSettings,
    "schedule": ScheduleSettings,
    "run": RunSettings,
}
FIELDS = {
    field.name: (group, field)
    for group, kind in GROUPS.items()
    for field in dataclasses.fields(kind)
}
"""{name: (group, dataclass field)} of every setting."""

_ITEMS = {
    "tuple[int, ...]": int,
    "tuple[float, ...]": float,
    "tuple[str, ...]": str,
}
_COMMA = re.compile(r"(?<!\\),")
_KINDS = {"int": int, "float": float, "str": str, "bool": bool}


def item_kind(field: dataclasses.Field) -> type | None:
    """The type of the items of a list field; None for a field of one value."""
    return _ITEMS.get(str(field.type))


def kind_of(field: dataclasses.Field) -> type:
    """The type of a field of one value."""
    return _KINDS[str(field.type)]


def typed(field: dataclasses.Field, value: Any) -> Any:
    r"""The value as its field has it: a list as a tuple, an integer as a float where one is due.

    Text where a list is due is read as that list with commas, as flags have it and as lists were
    recorded once; a comma that belongs to an item is written \,.

    Raises:
        GllmmError: the value has another type.
    """
    item = item_kind(field)
    if item is None:
        return _of_kind(field.name, value, kind_of(field))
    if isinstance(value, str):
        parts = [part.strip().replace("\\,", ",") for part in _COMMA.split(value) if part.strip()]
        try:
            return tuple(item(part) for part in parts)
        except ValueError:
            raise _unusable(field.name, value, "give numbers with commas in between") from None
    if not isinstance(value, (list, tuple)):
        raise _unusable(field.name, value, f"give a list of {item.__name__}")
    return tuple(_of_kind(field.name, part, item) for part in value)


def _of_kind(name, value, kind):
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise _unusable(name, value, f"it must be of type {kind.__name__}")
    return value


def _unusable(name, value, remedy) -> GllmmError:
    return GllmmError(f"{name}={value!r} cannot be used; {remedy}", name)


def _one_of(name, value, choices):
    if value not in choices:
        raise _unusable(name, value, f"choose one of {', '.join(choices)}")


def _at_least(name, value, least):
    if not value >= least:
        raise _unusable(name, value, f"give {least} or more")


def _positive(name, value):
    if not value > 0:
        raise _unusable(name, value, "give a positive number")


def _multiple_of_64(name, value):
    if value <= 0 or value % 64:
        raise _unusable(name, value, "give a positive multiple of 64")
