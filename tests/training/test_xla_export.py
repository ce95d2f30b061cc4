"""The step outside TensorFlow: what is exported, what JAX makes of it, and the way back.

JAX cannot be installed beside TensorFlow 2.14. The tests that need it run it in its own environment,
named by GLLMM_JAX_PYTHON (docs/accelerators.md), and are skipped without.
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from gllmm_tf import Codec, errors
from gllmm_tf.coding import empty_channels
from gllmm_tf.training import crops, data
from gllmm_tf.training import run as training
from gllmm_tf.training.xla import export, runner
from gllmm_tf.zoo.model_file import ModelFile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
JAX_PYTHON = os.environ.get("GLLMM_JAX_PYTHON", "")
needs_jax = pytest.mark.skipif(
    not JAX_PYTHON,
    reason="GLLMM_JAX_PYTHON names no Python with jax (docs/accelerators.md says how to make one)",
)
FIRST, LAST = 4, 24
OUTSIDE = {"seconds", "save_counter"}  # what a checkpoint holds beside the step's variables
TINY = dict(
    num_filters=8,
    families="gaussian,laplacian,logistic",
    components=1,
    stages=1,
    entropy_widths="16,16",
    lambdas="0.002,0.01,0.05",
    patch=64,
    batch=2,
    steps=LAST,
    warmup=5,
    learning_rate=2e-3,
    validation_images=1,
    validation_size=64,
    precision="float32",
)
MS_SSIM = dict(
    TINY,
    families="laplacian",
    lambdas="5.0",
    metric="ms-ssim",
    patch=192,
    batch=1,
    optimizer="adam",
    learning_rate=1e-4,
    ema=0.0,
    rounding="noise",
    validation_images=0,
    validation_size=192,
)


def flags(settings):
    return [f"--{name}={value}" for name, value in settings.items()]


def call(*command, **environment):
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with five smooth pictures, one of them smaller than a patch of 64."""
    folder = tmp_path_factory.mktemp("xla")
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for i, (height, width) in enumerate([(80, 96), (70, 64), (200, 210), (100, 66), (40, 300)]):
        rows, columns = np.mgrid[:height, :width]
        waves = np.outer(rows.ravel(), rng.uniform(-0.2, 0.2, 3))
        waves += np.outer(columns.ravel(), rng.uniform(-0.2, 0.2, 3))
        values = (128 + 100 * np.sin(waves)).reshape(height, width, 3)
        Image.fromarray(values.astype(np.uint8)).save(folder / f"pictures/{i}.png")
    return folder


def exported_run(folder, name, values):
    """Exports a run that has done FIRST steps; returns its settings, and a learner in its state."""
    values = dict(values, train_glob=f"{folder}/pictures/*.png", run_dir=f"{folder}/{name}")
    settings = training.Settings(**values)
    learner = training.Learner(settings)
    for variable in learner.variables:
        variable.assign_add(tf.random.stateless_normal(variable.shape, (1, 2), stddev=1e-3))
    learner.step.assign(FIRST)
    learner.seconds.assign(12.5)
    tf.train.CheckpointManager(learner.checkpoint, f"{folder}/{name}/checkpoints", 1).save(FIRST)
    done = call(
        sys.executable,
        f"{ROOT}/experiments/tools/export_step.py",
        f"--export_dir={folder}/{name}_step",
        f"--pictures={folder}/{name}.npz",
        *flags(values),
    )
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(
        settings=settings,
        learner=learner,
        run_dir=f"{folder}/{name}",
        step=f"{folder}/{name}_step",
        pictures=f"{folder}/{name}.npz",
    )


@pytest.fixture(scope="module")
def exported(folder):
    """Variable rate, Muon, average, MSE."""
    return exported_run(folder, "tiny", TINY)


@pytest.fixture(scope="module")
def exported_ms_ssim(folder):
    """Fixed rate, Adam, no average, MS-SSIM."""
    return exported_run(folder, "ms_ssim", MS_SSIM)


def manifest_of(exported):
    with open(f"{exported.step}/manifest.json") as f:
        return json.load(f)


def program_of(exported, precision):
    entry = manifest_of(exported)["programs"][precision]
    with open(f"{exported.step}/{entry['file']}", "rb") as f:
        return export.Program(gzip.decompress(f.read()), entry["parameters"], entry["results"])


# TensorFlow's side.


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_program_takes_the_arguments_and_every_variable_of_the_step(exported, precision):
    program = program_of(exported, precision)
    variables = export.variables_of(exported.learner)
    assert set(variables) >= OUTSIDE
    assert program.parameters[:4] == list(export.ARGUMENTS)
    assert sorted(program.parameters[4:]) == sorted(set(variables) - OUTSIDE)
    assert all(program.is_used(name) for name in export.ARGUMENTS)
    assert program.results[0] == "metrics"
    assert sorted(program.results[1:]) == sorted(program.parameters[4:])  # all are assigned
    shape = program.module.host_program_shape
    for name, parameter in zip(program.parameters[4:], shape.parameters[4:]):
        assert list(parameter.dimensions) == variables[name].shape.as_list(), name
    assert list(shape.parameters[0].dimensions) == [2, 64, 64, 3]
    assert list(shape.result.tuple_shapes[0].dimensions) == [len(training.METRICS)]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_program_needs_no_tensorflow(exported, precision):
    codes = program_of(exported, precision).opcodes()
    assert codes["convolution"] > 100
    assert codes["rng-bit-generator"] == 2 * 2  # y and z, each in a computation and its caller
    assert codes["conditional"] == 1  # the skip of a step that is not finite
    assert not {"custom-call", "rng", "infeed", "outfeed", "fft"} & set(codes)


def test_parameter_count(exported):
    shapes = manifest_of(exported)["variables"]
    count = {"model": 0, "average": 0}
    for name, entry in shapes.items():
        part = name.split("/")[0]
        if part in count:
            count[part] += int(np.prod(entry["shape"]))
    expected = sum(int(np.prod(v.shape)) for v in exported.learner.model.trainable_variables)
    assert count == {"model": expected, "average": expected}


def test_initial_state_is_that_of_the_latest_checkpoint(exported):
    facts, state = runner.read_checkpoint(f"{exported.step}/initial")
    assert (facts["step"], facts["seconds"], facts["skipped"]) == (FIRST, 12.5, 0)
    variables = export.variables_of(exported.learner)
    assert sorted(state) == sorted(set(variables) - OUTSIDE)
    for name, value in state.items():
        np.testing.assert_array_equal(value, variables[name].numpy(), name)


def test_schedule_is_that_of_training(exported):
    rates = np.load(f"{exported.step}/schedule.npy")
    expected = [exported.settings.learning_rate_at(step) for step in range(LAST)]
    np.testing.assert_array_equal(rates, np.array(expected, np.float32))
    assert rates.dtype == np.float32


def test_export_needs_an_empty_folder(exported):
    with pytest.raises(errors.GllmmError, match="is not empty; name another folder"):
        export.export_step(exported.settings, exported.step)


class Steps(tf.train.Checkpoint):
    """What `compile_step` needs of a learner, around one function."""

    def __init__(self, function, **tracked):
        super().__init__(**tracked)
        self.checkpoint = self
        self.config = SimpleNamespace(lambdas=(1, 2))
        signature = [
            tf.TensorSpec((2,), tf.uint8),
            tf.TensorSpec((2,), tf.float32),
            tf.TensorSpec((2,), tf.int32),
            tf.TensorSpec((), tf.float32),
        ]
        self.train_step = tf.function(function, signature, autograph=False)


def test_compile_step_refuses_what_cannot_leave():
    kept, lost = tf.Variable(1.0), tf.Variable(2.0)

    def good(crops, quality, seed, rate):
        kept.assign_add(rate * tf.reduce_sum(tf.cast(crops, tf.float32) * quality))
        return tf.cast(tf.reduce_sum(seed), tf.float32)[None]

    program = export.compile_step(Steps(good, kept=kept))
    assert program.parameters == [*export.ARGUMENTS, "kept"]
    assert program.results == ["metrics", "kept"]

    def without_seed(crops, quality, seed, rate):
        return good(crops, quality, tf.zeros_like(seed), rate)

    with pytest.raises(RuntimeError, match="does not depend on its argument 'seed'"):
        export.compile_step(Steps(without_seed, kept=kept))

    def with_another_variable(crops, quality, seed, rate):
        return good(crops, quality, seed, rate) + lost

    with pytest.raises(RuntimeError, match="which no checkpoint holds"):
        export.compile_step(Steps(with_another_variable, kept=kept))

    def two_results(crops, quality, seed, rate):
        return good(crops, quality, seed, rate), rate

    with pytest.raises(RuntimeError, match="2 results of the step are no variables"):
        export.compile_step(Steps(two_results, kept=kept))

    def stateful_noise(crops, quality, seed, rate):
        return good(crops, quality, seed, rate) + tf.random.uniform((1,))

    with pytest.raises(RuntimeError, match="which do not travel"):
        export.compile_step(Steps(stateful_noise, kept=kept))


# What both sides share.


def test_neither_crops_nor_runner_needs_tensorflow():
    code = (
        "import sys; sys.modules['tensorflow'] = sys.modules['jax'] = None\n"
        "import gllmm_tf.crops, gllmm_tf.training.xla.runner"
    )
    done = call(sys.executable, "-c", code, PYTHONPATH=ROOT)
    assert done.returncode == 0, done.stderr


def test_crops_are_those_of_data(exported):
    paths, _ = data.split(data.find_pictures(exported.settings.train_glob), 1)
    decoded = [data.decode(path) for path in paths]
    flat = np.concatenate([picture.reshape(-1) for picture in decoded])
    pictures = crops.Pictures([picture.shape[:2] for picture in decoded], flat)
    packed = runner.open_pictures(exported.pictures)
    assert packed.shapes == pictures.shapes
    for step in range(20):
        expected = data.Crops(pictures, 64, 5, 3).batch(step, 3)
        actual = crops.Crops(packed, 64, 5, 3).batch(step, 3)
        for a, b in zip(actual, expected):
            np.testing.assert_array_equal(a, b)


def test_crops_are_pinned():
    """The rule must never change: runs that were interrupted would go on with other crops."""
    pixels = np.random.default_rng(1).integers(0, 256, 40 * 50 * 3 + 30 * 20 * 3, np.uint8)
    rule = crops.Crops(crops.Pictures([(40, 50), (30, 20)], pixels), 24, 7, 4)
    assert (len(rule), rule.num_small) == (1, 1)
    digest = hashlib.sha256()
    for step in (0, 1, 1000):
        for array in rule.batch(step, 3):
            digest.update(array.tobytes())
    assert digest.hexdigest()[:16] == "5fd0b4e73ca3ad00"


def test_pictures_in_every_form(folder, exported, tmp_path):
    wanted = runner.open_pictures(exported.pictures)
    encoded = str(tmp_path / "encoded.npz")
    assert export.write_pictures(exported.settings, encoded, encoded=True) == len(wanted)
    for i, picture in enumerate(runner.open_pictures(encoded)):
        np.testing.assert_array_equal(picture, wanted[i])
    same = np.arange(2 * 5 * 7 * 3, dtype=np.uint8).reshape(2, 5, 7, 3)
    np.save(tmp_path / "same.npy", same)
    mapped = runner.open_pictures(str(tmp_path / "same.npy"))
    assert mapped.shapes == [(5, 7)] * 2
    np.testing.assert_array_equal(mapped[1], same[1])
    np.save(tmp_path / "grey.npy", same[..., 0])
    np.savez(tmp_path / "other.npz", a=same)
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("grey.npy", "other.npz", "text.npz", "none.npz"):
        with pytest.raises(runner.RunError, match=f"{name}: is no file of pictures .*; write one"):
            runner.open_pictures(str(tmp_path / name))


ARRAYS = {
    "average/0": np.arange(700, dtype=np.float32).reshape(7, 100),
    "model/a": np.arange(5, dtype=np.float64),
    "model/large": np.arange(3000, dtype=np.float32).reshape(3, 1000),
    "step": np.array(2**40, np.int64),
    "empty": np.zeros((0, 3), np.float32),
    "last": np.arange(1500, dtype=np.int32),
}


@pytest.fixture
def checkpoint(tmp_path):
    path = str(tmp_path / "checkpoint-00000007")
    runner.write_checkpoint(path, ARRAYS, {"step": 7}, piece_bytes=6000)
    return path


def test_checkpoint_comes_back_from_its_pieces(checkpoint):
    facts, arrays = runner.read_checkpoint(checkpoint)
    assert facts == {"step": 7}
    assert list(arrays) == list(ARRAYS)
    for name, value in ARRAYS.items():
        assert (arrays[name].dtype, arrays[name].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(arrays[name], value)
    pieces = [name for name in os.listdir(checkpoint) if name.endswith(".npz")]
    assert len(pieces) > 4
    assert max(os.path.getsize(os.path.join(checkpoint, name)) for name in pieces) <= 6000
    with np.load(os.path.join(checkpoint, "state-00.npz")) as first:  # readable without this code
        np.testing.assert_array_equal(first["average/0"], ARRAYS["average/0"])
    assert not os.path.exists(f"{checkpoint}.tmp")


def test_part_of_a_checkpoint_needs_part_of_its_files(checkpoint):
    os.remove(os.path.join(checkpoint, "state-04.npz"))
    _, arrays = runner.read_checkpoint(checkpoint, lambda name: name.startswith("average/"))
    np.testing.assert_array_equal(arrays["average/0"], ARRAYS["average/0"])
    with pytest.raises(runner.RunError, match="state-04.npz: cannot be read .*; copy"):
        runner.read_checkpoint(checkpoint)


def test_damaged_checkpoints_are_named(checkpoint):
    path = os.path.join(checkpoint, "state-01.npz")
    with open(path, "r+b") as f:
        f.seek(300)
        byte = f.read(1)
        f.seek(300)
        f.write(bytes([byte[0] ^ 1]))
    with pytest.raises(runner.RunError, match="state-01.npz: is damaged, its checksum is wrong"):
        runner.read_checkpoint(checkpoint)
    with open(os.path.join(checkpoint, "checkpoint.json"), "w") as f:
        f.write('{"format": 99}')
    with pytest.raises(runner.RunError, match="has format 99, not 1"):
        runner.read_checkpoint(checkpoint)
    os.remove(os.path.join(checkpoint, "checkpoint.json"))
    with pytest.raises(runner.RunError, match="checkpoint.json: is missing"):
        runner.read_checkpoint(checkpoint)


def test_unfinished_checkpoints_do_not_count(checkpoint):
    folder = os.path.dirname(checkpoint)
    os.makedirs(os.path.join(folder, "checkpoint-00000009.tmp"))
    runner.write_checkpoint(os.path.join(folder, "checkpoint-100000000"), {}, {})
    names = [os.path.basename(path) for path in runner.checkpoints(folder)]
    assert names == ["checkpoint-00000007", "checkpoint-100000000"]
    assert runner.checkpoints(os.path.join(folder, "none")) == []


def options(exported, out, *more):
    return runner.parse([exported.step, f"--data={exported.pictures}", f"--out={out}", *more])


def test_runner_starts_from_the_exported_state_and_drops_later_metrics(exported, tmp_path):
    lines = ['{"step": 4}', '{"step": 8}', '{"step": 1']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    run = runner.Run(options(exported, tmp_path))
    assert (run.step, run.steps, run.skipped, run.seconds) == (FIRST, LAST, 0, 12.5)
    assert (tmp_path / "metrics.jsonl").read_text() == lines[0] + "\n"
    with run._signals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert run._stop == "SIGTERM"
    inputs, stop = run._inputs(SimpleNamespace(put=lambda arrays: arrays), FIRST)
    assert stop == FIRST + 1
    settings, arguments = exported.settings, manifest_of(exported)["arguments"]
    wanted = crops.Crops(runner.open_pictures(exported.pictures), 64, 0, 3).batch(FIRST, 2)
    np.testing.assert_array_equal(inputs["crops"][0], wanted[0])
    np.testing.assert_array_equal(inputs["quality"][0], wanted[1])
    np.testing.assert_array_equal(inputs["seed"], [[0, FIRST]])
    assert inputs["learning_rate"][0] == np.float32(settings.learning_rate_at(FIRST))
    for name, entry in arguments.items():
        assert inputs[name].dtype.name == entry["dtype"]
        assert list(inputs[name].shape[1:]) == entry["shape"]


def test_runner_refuses_in_one_line(exported, tmp_path):
    def refuses(text, *more, **changed):
        where = SimpleNamespace(**{**vars(exported), **changed})
        with pytest.raises(runner.RunError, match=text):
            runner.Run(options(where, tmp_path / "out", *more))

    refuses("--steps=25: the exported schedule has 24 steps", "--steps=25")
    refuses(
        "measures 5 calls .* of --steps_per_call=4 only 5 are",
        "--steps_per_call=4",
        "--fit_seconds=9",
    )
    runner.Run(options(exported, tmp_path / "out", "--steps_per_call=3", "--fit_seconds=9"))
    refuses("manifest.json: is missing; name the folder", step=str(tmp_path))
    np.save(tmp_path / "small.npy", np.zeros((3, 40, 90, 3), np.uint8))
    refuses(
        "all 3 pictures are smaller than the patch of 64 pixels",
        pictures=str(tmp_path / "small.npy"),
    )
    facts, state = runner.read_checkpoint(f"{exported.step}/initial")
    path = str(tmp_path / "out" / "checkpoint-00000005")
    facts["settings"] = {**facts["settings"], "steps": 99, "seed": 9}
    runner.write_checkpoint(path, state, facts)
    refuses("its run has --seed=9, the exported step 0; name another --out")
    del state["average/0"]
    runner.write_checkpoint(path, state, facts)
    refuses("belongs to another model or optimizer; name another --out")
    shutil.copytree(exported.step, tmp_path / "copy")
    with open(tmp_path / "copy" / "schedule.npy", "ab") as f:
        f.write(b"!")
    refuses("schedule.npy: is damaged", step=str(tmp_path / "copy"))


def test_stretched_schedule_keeps_its_shape():
    settings = training.Settings(**TINY, train_glob="-", run_dir="-")
    short = np.array([settings.learning_rate_at(s) for s in range(LAST)], np.float32)
    long = runner.stretched(short, 10 * LAST)
    assert (len(long), long.dtype) == (10 * LAST, np.float32)
    assert (long[0], long[-1]) == (short[0], short[-1])
    assert 0.95 * short.max() < long.max() <= short.max()
    peak = np.argmax(long)
    assert np.all(np.diff(long[: peak + 1]) >= 0) and np.all(np.diff(long[peak:]) <= 0)
    np.testing.assert_array_equal(runner.stretched(short, LAST), short)


def test_length_is_fitted_to_the_time_and_kept(exported, tmp_path):
    arguments = [exported.step, f"--data={exported.pictures}", f"--out={tmp_path}"]
    run = runner.Run(runner.parse([*arguments, "--steps_per_call=4"]))
    assert (run.step, run.steps, run.fitted) == (FIRST, LAST, False)
    run._fit(seconds_per_step=0.5, seconds=53.0)
    assert (run.steps, len(run.schedule), run.fitted) == (108, 108, True)  # 4 + 106, whole calls
    run._save(SimpleNamespace(get=lambda state: state, device="abacus"), run.state)
    again = runner.Run(runner.parse(arguments))
    assert (again.step, again.steps, again.fitted) == (FIRST, 108, True)
    np.testing.assert_array_equal(again.schedule, run.schedule)
    learner, step = export.import_state(str(tmp_path), f"{tmp_path}/imported")
    assert (step, learner.settings.steps) == (FIRST, 108)
    run._fit(seconds_per_step=10.0, seconds=1.0)
    assert run.steps == FIRST + 4  # one more call, which is ready


def test_crossed():
    assert [runner.crossed(6, now, 4) for now in (7, 8, 9)] == [False, True, True]
    assert not runner.crossed(8, 11, 4)


# The way back.


@pytest.fixture(scope="module")
def trained(exported, tmp_path_factory):
    """What the runner might have written: the exported state, changed, as of step 20."""
    out = tmp_path_factory.mktemp("out")
    facts, state = runner.read_checkpoint(f"{exported.step}/initial")
    change = {"i": 1, "f": 1e-3}
    state = {n: v + np.array(change[v.dtype.kind], v.dtype) for n, v in state.items()}
    state["step"] = np.array(20, np.int64)
    facts.update(step=20, skipped=1, seconds=99.0, device="abacus", precision="default", pictures=3)
    runner.write_checkpoint(str(out / "checkpoint-00000020"), state, facts, piece_bytes=100_000)
    (out / "metrics.jsonl").write_text('{"step": 10, "loss": 2.0}\n{"step": 20, "loss": 1.0}\n')
    return SimpleNamespace(out=str(out), state=state)


def test_imported_state_continues_in_tensorflow(exported, trained, folder, sample_pixels):
    run_dir = f"{folder}/imported"
    learner, step = export.import_state(trained.out, run_dir)
    assert step == 20
    settings = training.Settings(**{**TINY, "train_glob": "-", "run_dir": run_dir})
    again = training.Learner(settings)
    again.checkpoint.restore(tf.train.latest_checkpoint(f"{run_dir}/checkpoints"))
    for one in (learner, again):
        variables = export.variables_of(one)
        assert float(one.seconds) == 99.0
        for name, value in trained.state.items():
            np.testing.assert_array_equal(variables[name].numpy(), value, name)
    with open(f"{run_dir}/metrics.jsonl") as f:
        assert [json.loads(line)["step"] for line in f] == [10, 20]

    codec = Codec.load(run_dir)
    image = codec.decompress(codec.compress(sample_pixels, 2))
    assert image.shape == sample_pixels.shape
    with np.load(f"{run_dir}/model.npz") as model:
        averages = [trained.state[f"average/{i}"] for i in range(len(learner.variables))]
        kernel = next(
            a for v, a in zip(learner.variables, averages) if v is learner.model.g_a.weights[0]
        )
        np.testing.assert_array_equal(model["g_a/000"], kernel.astype(np.float16))
        info = json.loads(str(model["info"]))
    assert (info["steps"], info["hardware"], info["seconds"]) == (20, "abacus", 99)

    with pytest.raises(errors.GllmmError, match="is at step 20, .* only at step 4; give another"):
        export.import_state(f"{exported.step}/initial", run_dir)


def test_import_refuses_another_run(trained, folder):
    run_dir = folder / "other"
    run_dir.mkdir()
    settings = {**TINY, "seed": 9}
    (run_dir / "config.json").write_text(json.dumps({"settings": settings}))
    with pytest.raises(errors.GllmmError, match="its run has --seed=9, .* has 0; give another"):
        export.import_state(trained.out, str(run_dir))


def test_model_alone_needs_the_first_pieces_alone(trained, folder, tmp_path, monkeypatch):
    part = tmp_path / "part"
    shutil.copytree(f"{trained.out}/checkpoint-00000020", part)
    with open(part / "checkpoint.json") as f:
        arrays = json.load(f)["arrays"]
    wanted = {p[0] for n, a in arrays.items() if n.startswith("average/") for p in a["parts"]}
    names = {name for name in os.listdir(part) if name.endswith(".npz")}
    assert len(wanted) < len(names) / 2
    for name in names - wanted:
        os.remove(part / name)
    done = call(
        sys.executable,
        f"{ROOT}/experiments/tools/import_state.py",
        f"--state={part}",
        f"--model={tmp_path}/model.npz",
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "model.npz") as model, np.load(f"{folder}/imported/model.npz") as same:
        for name in same.files:
            np.testing.assert_array_equal(model[name], same[name], name)
    monkeypatch.setattr(empty_channels, "_ENOUGH", 1)  # five small pictures
    export.import_model(str(part), str(tmp_path / "judged.npz"), f"{folder}/pictures/*.png")
    judged, bare = (ModelFile.read(str(tmp_path / f"{n}.npz")) for n in ("judged", "model"))
    assert bare.info["validation"] is None and bare.info["started_from"] is None
    assert [row["quality"] for row in judged.info["validation"]["qualities"]] == [1, 2, 3]
    assert judged.info["validation"]["loss"] > 0
    assert empty_channels.NAME in judged.exact and empty_channels.NAME not in bare.exact
    (part / "checkpoint.json").unlink()
    with pytest.raises(errors.GllmmError, match="checkpoint.json: is missing"):
        export.import_model(str(part), str(tmp_path / "none.npz"))


# JAX's side.


def run_jax(exported, out, *options, step=None):
    """Runs runner.py from the exported folder, which is all that another machine would have."""
    step = step or exported.step
    data_options = [f"--data={exported.pictures}", f"--out={out}"]
    return call(JAX_PYTHON, f"{step}/runner.py", step, *data_options, *options, PYTHONPATH="")


def rows_of(out):
    with open(f"{out}/metrics.jsonl") as f:
        return [json.loads(line) for line in f]


def final_state(out):
    return runner.read_checkpoint(runner.checkpoints(out)[-1])


def reference(exported):
    """The same steps in TensorFlow without XLA: (rows of metrics, {name: value})."""
    settings = exported.settings
    paths, _ = data.split(data.find_pictures(settings.train_glob), settings.validation_images)
    decoded = [data.decode(path) for path in paths]
    flat = np.concatenate([picture.reshape(-1) for picture in decoded])
    pictures = crops.Pictures([picture.shape[:2] for picture in decoded], flat)
    qualities = len(settings.lambda_list) if len(settings.lambda_list) > 1 else None
    rule = data.Crops(pictures, settings.patch, settings.seed, qualities)
    learner = training.Learner(settings)
    learner.checkpoint.restore(tf.train.latest_checkpoint(f"{exported.run_dir}/checkpoints"))
    rows = [
        learner.take_step(*rule.batch(step, settings.batch), step) for step in range(FIRST, LAST)
    ]
    return rows, {name: v.numpy() for name, v in export.variables_of(learner).items()}


def differences(rows, expected_rows, state, expected_state):
    """(relative differences of the losses, relative L2 distance of all weights, worst of one)."""
    losses = [abs(a["loss"] / b["loss"] - 1) for a, b in zip(rows, expected_rows)]
    names = [name for name in state if name.startswith("model/")]
    gaps = [np.linalg.norm(state[name] - expected_state[name]) for name in names]
    norms = [np.linalg.norm(expected_state[name]) for name in names]
    worst = max(g / n for g, n in zip(gaps, norms) if n > 1e-3)
    return losses, np.linalg.norm(gaps) / np.linalg.norm(norms), worst


# MS-SSIM of a reconstruction that is still flat is a ratio of small differences: its gradient has
# few good digits, and TensorFlow with XLA moves as far away from TensorFlow without.
@needs_jax
@pytest.mark.parametrize(
    "name, steps, bound", [("exported", LAST - FIRST, 1e-4), ("exported_ms_ssim", 2, 0.1)]
)
def test_jax_agrees_with_tensorflow(request, tmp_path, name, steps, bound):
    exported = request.getfixturevalue(name)
    done = run_jax(exported, tmp_path, "--log_every=1")
    assert done.returncode == 0, done.stderr
    facts, state = final_state(tmp_path)
    rows, (expected_rows, expected_state) = rows_of(tmp_path), reference(exported)
    assert [row["step"] for row in rows] == list(range(FIRST + 1, LAST + 1))
    losses, weights, worst = differences(rows, expected_rows, state, expected_state)
    name = f"{exported.settings.system}, {exported.settings.metric}, {exported.settings.optimizer}"
    print(
        f"\n{name}, float32, JAX against TensorFlow: losses within {max(losses[:2]):.1e} after 2 "
        f"steps, {max(losses):.1e} after {len(losses)}; then all weights within {weights:.1e} "
        f"(relative L2), the worst variable {worst:.1e}"
    )
    assert max(losses[:steps]) < 1e-4
    assert max(losses) < bound and weights < bound
    for key in ("step", "skipped", "pixels", "optimizer/_iterations"):
        np.testing.assert_array_equal(state[key], expected_state[key])
    assert facts["step"] == LAST


@needs_jax
def test_interrupted_run_equals_the_uninterrupted_one(exported, tmp_path):
    common = ["--steps_per_call=4", "--steps=16", "--checkpoint_every=4", "--log_every=4"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    done = run_jax(exported, whole, *common)
    assert done.returncode == 0, done.stderr
    names = [os.path.basename(path) for path in runner.checkpoints(whole)]
    assert names == ["checkpoint-00000012", "checkpoint-00000016"]  # the two latest are kept

    done = run_jax(exported, parts, *common, "--max_seconds=0.01")
    assert done.returncode == 0, done.stderr
    assert "stopped at step 8: time limit of 0 s; the same command continues" in done.stderr
    # What a killed process may leave: a later line and half a line, half a checkpoint.
    with open(parts / "metrics.jsonl", "a") as f:
        f.write('{"step": 12, "loss": 0.0}\n{"step": 16, "lo')
    (parts / "checkpoint-00000012.tmp").mkdir()
    done = run_jax(exported, parts, *common)
    assert done.returncode == 0, done.stderr

    (facts, state), (expected_facts, expected) = final_state(parts), final_state(whole)
    assert facts["step"] == expected_facts["step"] == 16
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name], value, name)
    rows, expected_rows = (
        [{k: v for k, v in row.items() if "seconds" not in k} for row in rows_of(out)]
        for out in (parts, whole)
    )
    assert rows == expected_rows
    assert [row["step"] for row in rows] == [8, 12, 16]


@needs_jax
def test_several_steps_per_call_and_bfloat16_are_close_to_single_steps(exported, tmp_path):
    single, several, half = (tmp_path / name for name in ("single", "several", "half"))
    assert run_jax(exported, single, "--log_every=4").returncode == 0
    assert run_jax(exported, several, "--log_every=4", "--steps_per_call=4").returncode == 0
    done = run_jax(exported, half, "--log_every=4", "--steps_per_call=4", "--precision=bfloat16")
    assert done.returncode == 0, done.stderr
    wanted = [row["loss"] for row in rows_of(single)]
    np.testing.assert_allclose([row["loss"] for row in rows_of(several)], wanted, rtol=1e-4)
    losses = [row["loss"] for row in rows_of(half)]
    gap = np.max(np.abs(np.array(losses) / wanted - 1))
    print(f"\nbfloat16 against float32, {LAST - FIRST} steps: losses within {gap:.1e}")
    assert 0 < gap < 0.1


@needs_jax
def test_run_that_is_not_finite_stops_at_its_last_good_checkpoint(exported, tmp_path):
    step = tmp_path / "step"
    shutil.copytree(exported.step, step)
    buffer = io.BytesIO()
    rates = np.full(60, 1e-4, np.float32)
    rates[6] = np.inf  # the seventh update ruins the weights; no loss after it is finite
    np.save(buffer, rates)
    manifest = manifest_of(exported)
    manifest["schedule"]["sha256"] = runner.write_bytes(step / "schedule.npy", buffer.getvalue())
    (step / "manifest.json").write_text(json.dumps(manifest))
    done = run_jax(exported, tmp_path / "out", "--checkpoint_every=2", "--log_every=3", step=step)
    assert done.returncode == 1
    limit = training.SKIPS_UNTIL_STOP
    assert f"{limit} steps in a row, to step {7 + limit}, had a non-finite loss" in done.stderr
    assert "the checkpoint of step 6 is left" in done.stderr
    assert "Traceback" not in done.stderr
    facts, state = final_state(tmp_path / "out")
    assert facts["step"] == 6
    assert all(np.all(np.isfinite(value)) for value in state.values())
    rows = rows_of(tmp_path / "out")
    assert rows[0]["skipped"] == 0 and rows[-1]["skipped"] > 10 and rows[-1]["loss"] is None


PRECISIONS_OF_CONVOLUTIONS = """
import collections, gzip, json, sys
sys.path.insert(0, sys.argv[1])
import runner
from jax.interpreters.mlir import make_ir_context
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

hlo = gzip.open(f"{sys.argv[1]}/step-float32.hlo.gz").read()
for level in ("HIGHEST", "DEFAULT"):
    found = collections.Counter()
    with make_ir_context() as context:
        module = stablehlo.deserialize_portable_artifact(
            context, runner.to_stablehlo(hlo, level)
        )

        def visit(op):
            kind = op.name.split(".")[1].split("_")[0]
            if kind in ("convolution", "dot"):
                groups = [v.value for k, v in op.attributes.items() if k.endswith("_group_count")]
                if kind == "convolution" and max(groups) > 1:
                    kind = "grouped"
                precise = "HIGHEST" in str(op.attributes.get("precision_config"))
                found[kind + (" highest" if precise else " default")] += 1
            return ir.WalkResult.ADVANCE

        module.operation.walk(visit)
    print(json.dumps(found))
"""


@needs_jax
def test_default_precision_is_for_plain_convolutions_alone(exported_ms_ssim):
    done = call(JAX_PYTHON, "-c", PRECISIONS_OF_CONVOLUTIONS, exported_ms_ssim.step)
    assert done.returncode == 0, done.stderr
    highest, default = (json.loads(line) for line in done.stdout.splitlines())
    assert set(highest) == {"convolution highest", "grouped highest", "dot highest"}
    assert set(default) == {"convolution default", "grouped highest", "dot highest"}
    assert default["convolution default"] == highest["convolution highest"] > 100
    assert default["grouped highest"] == highest["grouped highest"] >= 10
    assert default["dot highest"] == highest["dot highest"]
