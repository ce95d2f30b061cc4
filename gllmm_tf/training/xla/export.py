"""TensorFlow's side of a training step that runs elsewhere: there and back.

The step that train.py takes (`training.Learner.train_step`: gradient, clipping, update, average,
and the skip of what is not finite) is compiled by XLA as it is. XLA turns every variable that the
step reads into a parameter of the program and every one that it assigns into a result, so nothing
has to be rewritten without variables. A program has static shapes: one batch and one patch size.

    export_step     settings -> folder: manifest.json, step-*.hlo.gz, initial/, runner.py, crops.py
    import_state    checkpoint of runner.py -> run folder that train.py continues, with model.npz
"""

import dataclasses
import gzip
import hashlib
import json
import os
import shutil

import numpy as np
import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from gllmm_tf import errors
from gllmm_tf.coding import empty_channels
from gllmm_tf.training import crops, data
from gllmm_tf.training import run as training
from gllmm_tf.training.xla import runner
from gllmm_tf.zoo import model_file

ARGUMENTS = ("crops", "quality", "seed", "learning_rate")
"""What the step is given, in this order (`training.Learner.train_step`)."""

FREE_SETTINGS = (*training.Settings.FREE, "run_dir", "train_glob", "precision", "jit")
"""A checkpoint of runner.py may be continued with a step of other values of these."""


class Program:
    """The step as XLA sees it.

    Attributes:
        hlo: serialized HloModuleProto, not yet optimised, so for any kind of device.
        module: the same, parsed.
        parameters: names of the arguments and variables that the program takes, in order.
        results: "metrics" and names of the variables whose new values it returns, in order.
    """

    def __init__(self, hlo, parameters, results):
        self.hlo = hlo
        self.module = hlo_pb2.HloModuleProto.FromString(hlo)
        self.parameters = parameters
        self.results = results

    def opcodes(self):
        """Returns {opcode: count} over all computations."""
        counts = {}
        for computation in self.module.computations:
            for instruction in computation.instructions:
                counts[instruction.opcode] = counts.get(instruction.opcode, 0) + 1
        return counts

    def is_used(self, name):
        """Returns whether a result depends on the parameter `name`."""
        entry = next(
            c for c in self.module.computations if c.id == self.module.entry_computation_id
        )
        instructions = {instruction.id: instruction for instruction in entry.instructions}
        seen, queue = {entry.root_id}, [entry.root_id]
        for number in queue:
            new = set(instructions[number].operand_ids) - seen
            seen |= new
            queue.extend(new)
        wanted = self.parameters.index(name)
        return any(
            instructions[number].opcode == "parameter"
            and instructions[number].parameter_number == wanted
            for number in seen
        )


def variables_of(learner):
    """Returns {name: variable} of all that a checkpoint holds; names are paths in it."""
    view = tf.train.TrackableView(learner.checkpoint)
    found, seen, queue = {}, set(), [((), learner.checkpoint)]
    for path, node in queue:  # breadth first: the shortest path names a variable
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, tf.Variable):
            found["/".join(path)] = node
        else:
            queue.extend((path + (name,), child) for name, child in view.children(node).items())
    return found


def compile_step(learner):
    """Returns the `Program` of a learner's step.

    Raises:
        RuntimeError: the step has something that cannot leave TensorFlow.
    """
    signature = learner.train_step.input_signature
    function = tf.function(
        learner.train_step.python_function, signature, autograph=False, jit_compile=True
    )
    concrete = function.get_concrete_function()
    # Given tensors rather than specs, XLA may take an argument's value for a constant.
    compiler = function.experimental_get_compiler_ir(*signature)
    hlo = compiler(stage="hlo_serialized", device_name="/device:CPU:0")
    name_of = {id(variable.handle): name for name, variable in variables_of(learner).items()}
    parameters = list(ARGUMENTS)
    for captured in concrete.captured_inputs:
        if id(captured) not in name_of:
            raise RuntimeError(f"the step captures {captured}, which no checkpoint holds")
        parameters.append(name_of[id(captured)])

    program = Program(hlo, parameters, None)
    shape = program.module.host_program_shape
    results = [None] * len(shape.result.tuple_shapes)
    for entry in program.module.input_output_alias.entries:
        results[entry.output_shape_index[0]] = parameters[entry.parameter_number]
    if results.count(None) != 1:
        raise RuntimeError(f"{results.count(None)} results of the step are no variables, not 1")
    results[results.index(None)] = "metrics"
    program.results = results
    _check(program, learner)
    return program


def _check(program, learner):
    """Every argument is a parameter and needed, and nothing calls back into TensorFlow."""
    shapes = [list(p.dimensions) for p in program.module.host_program_shape.parameters]
    variables = variables_of(learner)
    given = dict(zip(ARGUMENTS, learner.train_step.input_signature))
    wanted = [(given.get(n) or variables[n]).shape.as_list() for n in program.parameters]
    if shapes != wanted:
        raise RuntimeError(
            f"XLA made {len(shapes)} parameters of {len(wanted)} arguments and variables, "
            "or of other shapes"
        )
    for name in ARGUMENTS:
        if name == "quality" and not learner.config.lambdas:
            continue  # a fixed rate has none
        if not program.is_used(name):
            raise RuntimeError(f"the program does not depend on its argument {name!r}")
    foreign = {"custom-call", "infeed", "outfeed", "send", "recv", "rng"} & set(program.opcodes())
    if foreign:
        raise RuntimeError(f"the program has instructions {sorted(foreign)}, which do not travel")


def export_step(settings, folder, programs=("float32", "bfloat16")):
    """Writes what runner.py needs for a training run, but for the pictures.

    The run starts from the latest checkpoint in settings.run_dir, or, if there is none, from the
    initial weights of its seed.

    Args:
        settings: training.Settings.
        folder: to write; must be empty or new.
        programs: precisions of which the step is exported; all have the same variables.

    Raises:
        errors.GllmmError: the folder cannot be used.
    """
    if os.path.isdir(folder) and os.listdir(folder):
        raise errors.GllmmError(f"{folder}: is not empty; name another folder")
    os.makedirs(folder, exist_ok=True)
    learner = training.Learner(settings)
    latest = tf.train.latest_checkpoint(os.path.join(settings.run_dir, "checkpoints"))
    if latest:
        learner.checkpoint.restore(latest).assert_existing_objects_matched()

    manifest = {
        "format": runner.FORMAT,
        "settings": dataclasses.asdict(settings),
        "free_settings": list(FREE_SETTINGS),
        "num_qualities": learner.config.num_qualities,
        "metrics": list(training.METRICS),
        "skips_until_stop": training.SKIPS_UNTIL_STOP,
        "revision": training.revision(),
        "versions": training.versions(),
        "arguments": {
            name: {"shape": spec.shape.as_list(), "dtype": spec.dtype.name}
            for name, spec in zip(ARGUMENTS, learner.train_step.input_signature)
        },
        "programs": {},
    }
    for precision in programs:
        one = learner
        if precision != settings.precision:
            one = training.Learner(dataclasses.replace(settings, precision=precision))
        program = compile_step(one)
        manifest["programs"][precision] = _write_program(folder, precision, program)
        taken = program.parameters[len(ARGUMENTS) :]
        if "variables" not in manifest:
            state = _ordered({name: variables_of(learner)[name].numpy() for name in taken})
            manifest["variables"] = {
                name: {"shape": list(value.shape), "dtype": value.dtype.name}
                for name, value in state.items()
            }
        elif set(taken) != set(state):
            raise RuntimeError(f"the {precision} step has other variables than {programs[0]}'s")

    rates = np.array([settings.learning_rate_at(s) for s in range(settings.steps)], np.float32)
    path = os.path.join(folder, "schedule.npy")
    np.save(path, rates)
    manifest["schedule"] = {"file": "schedule.npy", "sha256": _digest(path)}
    facts = {
        "step": int(learner.step),
        "skipped": int(learner.skipped),
        "seconds": float(learner.seconds),
        "settings": manifest["settings"],
    }
    runner.write_checkpoint(os.path.join(folder, "initial"), state, facts)
    for module in (runner, crops):
        shutil.copy(module.__file__, folder)
    training.write_json(os.path.join(folder, runner.MANIFEST), manifest)  # last: now it is whole


def _ordered(state):
    """Puts what a model file needs into the first pieces: averages, then weights, then the rest."""
    rank = {"average": 0, "model": 1}
    return dict(sorted(state.items(), key=lambda item: rank.get(item[0].split("/")[0], 2)))


def _write_program(folder, precision, program):
    file = f"step-{precision}.hlo.gz"
    path = os.path.join(folder, file)
    with open(path, "wb") as f:
        f.write(gzip.compress(program.hlo, 6, mtime=0))
    return {
        "file": file,
        "sha256": _digest(path),
        "parameters": program.parameters,
        "results": program.results,
    }


def _digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def write_pictures(settings, path, encoded=False):
    """Writes the training pictures of a run, without those held out, into one file for runner.py.

    Args:
        settings: training.Settings.
        path: of the .npz to write.
        encoded: write the picture files as they are: smaller, but runner.py then needs Pillow.

    Returns:
        number of pictures.
    """
    paths = data.find_pictures(settings.train_glob)
    paths, _ = data.split(paths, settings.validation_images)
    if encoded:
        parts = [np.fromfile(p, np.uint8) for p in paths]
        arrays = {"sizes": np.array([len(p) for p in parts]), "files": np.concatenate(parts)}
    else:
        parts = [data.decode(p) for p in paths]
        shapes = np.array([p.shape[:2] for p in parts])
        arrays = {"shapes": shapes, "pixels": np.concatenate([p.reshape(-1) for p in parts])}
    try:
        with open(f"{path}.tmp", "wb") as f:
            np.savez(f, **arrays)
        os.replace(f"{path}.tmp", path)
    except OSError as error:
        raise errors.GllmmError(
            f"{path}: cannot be written ({error.strerror}); make room or name another file"
        ) from error
    return len(paths)


def import_state(folder, run_dir):
    """Takes the latest checkpoint of runner.py into a run's folder.

    Afterwards `train.py --run_dir=RUN_DIR` with the settings of the export continues (or validates)
    the run, and `compress.py --model=RUN_DIR` uses its averaged weights.

    Args:
        folder: that runner.py wrote (--out), or one checkpoint in it.
        run_dir: new, or of the same run at an earlier step.

    Returns:
        (training.Learner with the state, number of steps done).

    Raises:
        errors.GllmmError: what is there cannot be used.
    """
    source = _latest(folder)
    facts, state = _read(source)
    settings = _settings(source, facts, run_dir)
    _check_run(settings, source, facts["step"])
    learner = training.Learner(settings)
    _assign(learner, state, source)
    learner.seconds.assign(facts["seconds"])

    training.write_json(
        os.path.join(run_dir, "config.json"),
        {
            "settings": dataclasses.asdict(settings),
            "revision": training.revision(),
            "versions": training.versions(),
            "trained_with": {name: facts.get(name) for name in ("device", "precision")},
        },
    )
    _append_metrics(folder, run_dir)
    _export_model(learner, os.path.join(run_dir, model_file.FILE_NAME), facts)
    manager = tf.train.CheckpointManager(
        learner.checkpoint, os.path.join(run_dir, "checkpoints"), max_to_keep=3
    )
    manager.save(checkpoint_number=facts["step"])
    return learner, facts["step"]


def import_model(folder, path, train_glob=""):
    """Makes a model file of the latest checkpoint of runner.py: of the averages, if there are any.

    Needs no more of the checkpoint than checkpoint.json and the first files, which hold those
    weights.

    Args:
        folder: that runner.py wrote (--out), or one checkpoint in it.
        path: of the .npz to write.
        train_glob: the pictures of the run as they are named here: those held out tell the loss, some
            of the others how often a channel is empty. Without, the model has neither.

    Returns:
        number of steps done.

    Raises:
        errors.GllmmError: what is there cannot be used.
    """
    source = _latest(folder)
    facts, _ = _read(source, wanted=lambda name: False)
    settings = _settings(source, facts, facts["settings"]["run_dir"])
    part = "average" if settings.ema else "model"
    _, state = _read(source, wanted=lambda name: name.split("/")[0] == part)
    # In float32: what is judged here need not be fast, and not every processor has bfloat16.
    learner = training.Learner(dataclasses.replace(settings, precision="float32"))
    _assign(learner, state, source)
    _export_model(learner, path, facts, data.find_pictures(train_glob) if train_glob else [])
    return facts["step"]


def _export_model(learner, path, facts, pictures=()):
    """Writes the averaged model, with what the pictures at these paths tell about it."""
    settings, empty_rows, result = learner.settings, None, None
    info = _info(learner, facts)
    with learner.averaged():
        if pictures:
            seen, held_out = data.split(pictures, settings.validation_images)
            empty_rows = empty_channels.fit(
                learner.model, (data.decode(p) for p in training.spread(seen))
            )
            some = data.centres(held_out, settings.validation_size)
            result = learner.judge.evaluate(some) if len(some) else None
        model_file.export_model(learner.model, path, {**info, "validation": result}, empty_rows)


def _latest(folder):
    found = runner.checkpoints(folder)
    return found[-1] if found else folder


def _read(source, wanted=None):
    try:
        return runner.read_checkpoint(source, wanted)
    except runner.RunError as error:
        raise errors.GllmmError(str(error)) from error


def _settings(source, facts, run_dir):
    try:
        return training.Settings(**{**facts["settings"], "run_dir": run_dir})
    except TypeError as error:
        raise errors.GllmmError(
            f"{source}: has other settings than this version ({error}); import it with the "
            "version that exported it"
        ) from error


def _assign(learner, state, source):
    variables = variables_of(learner)
    for name, value in state.items():
        if name not in variables or tuple(variables[name].shape) != value.shape:
            raise errors.GllmmError(
                f"{source}: its {name} does not fit the model that its settings describe; import "
                "it with the version that exported it"
            )
        variables[name].assign(value)


def _check_run(settings, source, step):
    """An existing run must be the same and not further."""
    path = os.path.join(settings.run_dir, "config.json")
    os.makedirs(settings.run_dir, exist_ok=True)
    if not os.path.exists(path):
        return
    with open(path) as f:
        theirs = json.load(f)["settings"]
    for name, value in dataclasses.asdict(settings).items():
        if name not in FREE_SETTINGS and theirs.get(name, value) != value:
            raise errors.GllmmError(
                f"{settings.run_dir}: its run has --{name}={theirs[name]!r}, {source} has "
                f"{value!r}; give another --run_dir"
            )
    latest = tf.train.latest_checkpoint(os.path.join(settings.run_dir, "checkpoints"))
    if latest and int(latest.rsplit("-", 1)[1]) > step:
        raise errors.GllmmError(
            f"{settings.run_dir}: is at step {latest.rsplit('-', 1)[1]}, {source} only at step "
            f"{step}; give another --run_dir"
        )


def _append_metrics(folder, run_dir):
    """Adds the lines of runner.py to those of the run, which stop before them."""
    theirs, ours = (_rows(os.path.join(f, "metrics.jsonl")) for f in (folder, run_dir))
    last = max((row["step"] for row in ours), default=0)
    with open(os.path.join(run_dir, "metrics.jsonl"), "a") as f:
        f.writelines(json.dumps(row) + "\n" for row in theirs if row["step"] > last)


def _rows(path):
    if not os.path.exists(path):
        return []
    with open(path) as f:
        return [json.loads(line) for line in f if line.endswith("\n")]


def _info(learner, facts):
    """Returns the facts of training that travel with the model, as training.py names them."""
    settings = learner.settings
    return {
        "steps": facts["step"],
        "pixels_seen": facts["step"] * settings.batch * settings.patch**2,
        "seconds": round(facts["seconds"]),
        "skipped_steps": facts["skipped"],
        "started_from": learner.started_from,
        "training_pictures": facts.get("pictures"),
        "lambdas": list(settings.lambda_list),
        "metric": settings.metric,
        "batch": settings.batch,
        "patch": settings.patch,
        "optimizer": settings.optimizer,
        "learning_rate": settings.learning_rate,
        "precision": facts.get("precision", settings.precision),
        "ema": settings.ema,
        "seed": settings.seed,
        "hardware": settings.hardware or facts.get("device", ""),
        "revision": training.revision(),
    }
