"""Runs an exported training step with JAX, on a machine that needs no TensorFlow.

    python runner.py STEP --data=pictures.npz --out=OUT --steps_per_call=20 --precision=bfloat16

STEP is the folder that experiments/tools/export_step.py wrote; it holds a copy of this program, so that
nothing else has to be installed there but jax and numpy. The same command continues a run that was
stopped, at any moment and in any way. OUT gets

    metrics.jsonl             one line of means per --log_every steps
    checkpoint-00001000/      the two latest: state-00.npz, .. of at most 16 MB, checkpoint.json

experiments/tools/import_state.py takes OUT back into TensorFlow.

    pictures, seed, step --> crops, qualities --.
    schedule, step --> learning rate -----------+--> step --> metrics
    seed, step --> noise seed ------------------'     |
                                     state  <---------'  (donated: updated in place)
"""

import argparse
import concurrent.futures
import contextlib
import hashlib
import io
import json
import math
import os
import shutil
import signal
import sys
import time
import zipfile

import numpy as np

if __package__:
    from gllmm_tf.training import crops as crops_lib
    from gllmm_tf.training.xla import state as state_lib
    from gllmm_tf.training.xla.device import PRECISIONS, Steps
else:  # a program in the folder of an exported step
    import crops as crops_lib
    import state as state_lib
    from device import PRECISIONS, Steps

MANIFEST = "manifest.json"
KEPT = 2
FIT_CALLS = 5
"""Calls after which the time per step is taken as known; the first ones are slower."""

RunError = state_lib.RunError


def open_pictures(path):
    """Opens the training pictures.

    Args:
        path: of one of
            NAME.npy  uint8 [count, height, width, 3], pictures or crops of one size, mapped;
            NAME.npz  `shapes` [count, 2] and `pixels` uint8, all pictures one behind the other;
            NAME.npz  `sizes` [count] and `files` uint8, picture files one behind the other, which
                      are decoded here and now (needs Pillow).

    Returns:
        (crops.Pictures, fingerprint: a text that other pictures do not have).
    """
    try:
        if path.endswith(".npy"):
            array = np.load(path, mmap_mode="r")
            if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] != 3:
                raise ValueError(f"it is {array.dtype} {list(array.shape)}")
            pictures = crops_lib.Pictures([array.shape[1:3]] * len(array), array.reshape(-1))
            return pictures, f"shape {list(array.shape)}"
        with np.load(path) as archive:
            shapes = archive["sizes" if "files" in archive else "shapes"].tolist()
            digest = hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:16]
            fingerprint = str(archive["fingerprint"]) if "fingerprint" in archive else digest
            if "files" not in archive:
                return crops_lib.Pictures(archive["shapes"], archive["pixels"]), fingerprint
            ends = np.cumsum(archive["sizes"])
            parts = np.split(archive["files"], ends[:-1])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(
            f"{path}: is no file of pictures ({error}); write one by export_step.py --pictures"
        ) from None
    try:
        from PIL import Image
    except ImportError:
        raise RunError(f"{path}: holds encoded pictures; install pillow to read them") from None

    def decode(part):
        with Image.open(io.BytesIO(part.tobytes())) as image:
            return np.asarray(image.convert("RGB"))

    with concurrent.futures.ThreadPoolExecutor() as pool:
        pictures = list(pool.map(decode, parts))
    pixels = np.concatenate([picture.reshape(-1) for picture in pictures])
    return crops_lib.Pictures([picture.shape[:2] for picture in pictures], pixels), fingerprint


class Run:
    """A folder with a run in it, and the loop.

    Args:
        options: what `parse` returns.
    """

    def __init__(self, options):
        self.options = options
        remedy = "name the folder that export_step.py wrote"
        self.manifest = state_lib.read_json(os.path.join(options.step_dir, MANIFEST), remedy)
        settings = self.manifest["settings"]
        schedule = self.manifest["schedule"]
        content = state_lib.read_bytes(
            options.step_dir, schedule["file"], schedule["sha256"], "copy the folder again"
        )
        self.exported_schedule = np.load(io.BytesIO(content))
        self.fitted = False
        pictures, self.fingerprint = open_pictures(options.data)
        self.crops = crops_lib.Crops(
            pictures, settings["patch"], settings["seed"], self.manifest["num_qualities"]
        )
        if not len(self.crops):
            raise RunError(
                f"{options.data}: all {len(pictures)} pictures are smaller than the patch of "
                f"{settings['patch']} pixels; give larger ones"
            )
        say(f"{len(pictures)} pictures, {self.crops.num_small} of them smaller than the patch")
        self._resume()
        self.steps = options.steps or len(self.schedule)
        if self.steps > len(self.schedule):
            raise RunError(
                f"--steps={self.steps}: the exported schedule has {len(self.schedule)} steps; "
                "export again with more"
            )
        calls = -(-self.steps // options.steps_per_call) - self.step // options.steps_per_call
        if options.fit_seconds and not self.fitted and 0 < calls <= FIT_CALLS:
            raise RunError(
                f"--fit_seconds measures {FIT_CALLS} calls before it chooses a length, and of "
                f"--steps_per_call={options.steps_per_call} only {calls} are left; lower that, or "
                "leave --fit_seconds out"
            )
        self.stop_reason = None

    def _stretch(self, steps):
        """Gives the schedule of the learning rate another length, and the run with it."""
        self.schedule = stretched(self.exported_schedule, steps)
        self.steps = steps

    def fit(self, seconds_per_step, seconds):
        """Chooses the length of the run: as many steps as the seconds that are left have room for."""
        count = self.options.steps_per_call
        steps = self.step + int(max(0.0, seconds) / seconds_per_step)
        self._stretch(max(self.step + count, steps - steps % count))
        self.fitted = True
        say(f"{seconds_per_step:.4f} s/step: {self.steps} steps fit into {seconds:.0f} s")

    def _resume(self):
        """Reads the latest checkpoint, or the exported state."""
        options = self.options
        try:
            os.makedirs(options.out, exist_ok=True)
            found = state_lib.checkpoints(options.out)
            source = found[-1] if found else os.path.join(options.step_dir, "initial")
            facts, self.state = state_lib.read_checkpoint(source)
            self._check(source, facts)
            self.step, self.skipped = facts["step"], facts["skipped"]
            self.seconds = facts["seconds"]
            self.fitted = facts.get("fitted", False)
            self._stretch(
                facts["settings"]["steps"] if self.fitted else len(self.exported_schedule)
            )
            say(f"starting from {source}, step {self.step} of {self.steps}")
            self._forget_metrics()
        except OSError as error:
            raise RunError(
                f"{options.out}: cannot be written ({error.strerror}); name another --out"
            ) from None

    def _check(self, source, facts):
        """The checkpoint must be of the exported step, or of one with other FREE settings."""
        wanted = {
            name: (tuple(entry["shape"]), entry["dtype"])
            for name, entry in self.manifest["variables"].items()
        }
        if wanted != {name: (a.shape, a.dtype.name) for name, a in self.state.items()}:
            raise RunError(f"{source}: belongs to another model or optimizer; name another --out")
        then = facts.get("fingerprint")
        if then and then != self.fingerprint:
            raise RunError(
                f"{self.options.data}: holds other pictures than those of {source}; bring them back, "
                "or name another --out"
            )
        for name, value in self.manifest["settings"].items():
            other = facts["settings"].get(name, value)
            if other != value and name not in self.manifest["free_settings"]:
                raise RunError(
                    f"{source}: its run has --{name}={other!r}, the exported step {value!r}; "
                    "name another --out"
                )

    def _forget_metrics(self):
        """Drops the lines, and perhaps half a line, of steps that come once more."""
        path = os.path.join(self.options.out, "metrics.jsonl")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                rows = [line for line in f if line.endswith("\n")]
            kept = [line for line in rows if json.loads(line)["step"] <= self.step]
            state_lib.write_bytes(f"{path}.tmp", "".join(kept).encode())
            os.replace(f"{path}.tmp", path)

    def train(self):
        """Trains to the end, a signal or the time limit; returns the number of steps done.

        Raises:
            RunError: too many steps in a row were not finite, or the disk is full.
        """
        options, began = self.options, time.monotonic()
        if self.step >= self.steps:
            say(f"{options.out}: its {self.step} steps are done")
            return self.step
        group = Steps(options.step_dir, self.manifest, options.precision)
        say(f"{group.device}, precision {options.precision}; compiling")
        bad, saved = 0, self.step
        saving = sum(a.nbytes for a in self.state.values()) / 100e6  # a first guess, in seconds
        state, self.state = group.put(self.state), None
        with self.signals(), concurrent.futures.ThreadPoolExecutor(1) as loader:
            ahead = loader.submit(self.inputs_from, group, self.step)
            group.prepare(state, ahead.result()[0])
            meter = Meter(self)
            while self.step < self.steps and not self.stop_reason:
                inputs, stop = ahead.result()
                if stop < self.steps:
                    ahead = loader.submit(self.inputs_from, group, stop)
                state, metrics = group.run(state, inputs)
                metrics = np.asarray(metrics)  # waits for the device
                bad = meter.add(metrics, bad)
                self.step, before = stop, self.step
                if options.fit_seconds and not self.fitted and meter.calls >= FIT_CALLS:
                    left = 0.98 * (options.fit_seconds - (time.monotonic() - began) - 2.0 * saving)
                    self.fit(meter.call_seconds / len(metrics), left)
                if bad >= self.manifest["skips_until_stop"]:
                    raise RunError(
                        f"{options.out}: {bad} steps in a row, to step {stop}, had a non-finite "
                        f"loss or gradient; the checkpoint of step {saved} is left, export again "
                        "with a lower --learning_rate"
                    )
                spent = time.monotonic() - began
                if options.max_seconds and (
                    spent + 1.2 * meter.call_seconds + 2.0 * saving > options.max_seconds
                ):
                    self.stop_reason = f"time limit of {options.max_seconds:.0f} s"
                last = self.stop_reason or stop == self.steps
                if last or crossed(before, stop, options.log_every):
                    say(meter.flush())
                due = last or crossed(before, stop, options.checkpoint_every)
                if due and not bad:  # else the state may be what makes the steps bad
                    start = time.monotonic()
                    self.save(group, state)
                    saved, saving = stop, time.monotonic() - start
        if self.stop_reason:
            say(f"stopped at step {self.step}: {self.stop_reason}; the same command continues")
        return self.step

    def inputs_from(self, group, first):
        """Returns what the steps from `first` on need, on the device, and the step after them."""
        count = self.options.steps_per_call
        stop = min(first + count - first % count, self.steps)
        steps = np.arange(first, stop)
        size = self.manifest["settings"]["batch"]
        batches = [self.crops.batch(int(step), size) for step in steps]
        seed = self.manifest["settings"]["seed"]
        inputs = {
            "crops": np.stack([crops for crops, _ in batches]),
            "quality": np.stack([quality for _, quality in batches]),
            "seed": np.stack([np.full_like(steps, seed), steps], -1).astype(np.int32),
            "learning_rate": self.schedule[first:stop],
        }
        return group.put(inputs), stop

    def save(self, group, state):
        path = os.path.join(self.options.out, f"checkpoint-{self.step:08d}")
        facts = {
            "step": self.step,
            "skipped": self.skipped,
            "seconds": self.seconds,
            "settings": {**self.manifest["settings"], "steps": len(self.schedule)},
            "fitted": self.fitted,
            "precision": self.options.precision,
            "device": group.device,
            "pictures": len(self.crops),
            "fingerprint": self.fingerprint,
            "all_pictures": self.manifest.get("pictures"),
            "start": self.manifest.get("start"),
        }
        arrays = group.get(state)
        ordered = {name: arrays[name] for name in self.manifest["variables"]}
        with writing(path):
            state_lib.write_checkpoint(path, ordered, facts)
            for old in state_lib.checkpoints(self.options.out)[:-KEPT]:
                shutil.rmtree(old)

    @contextlib.contextmanager
    def signals(self):
        """SIGINT and SIGTERM stop the run after the current call."""

        def handle(number, _):
            self.stop_reason = signal.Signals(number).name

        before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Meter:
    """Means of the metrics between two lines, and the clock of the run.

    Attributes:
        call_seconds: time of the last call.
        calls: number of them.
    """

    def __init__(self, run):
        self._run = run
        self._rows = []
        self._clock = self._since = time.monotonic()
        self.call_seconds = 0.0
        self.calls = 0

    def add(self, metrics, bad):
        """Takes in [steps, metrics]; returns the number of bad steps in a row, `bad` of before."""
        now = time.monotonic()
        self.call_seconds, self._clock = now - self._clock, now
        self.calls += 1
        self._run.seconds += self.call_seconds
        for values in metrics.tolist():
            row = dict(zip(self._run.manifest["metrics"], values))
            self._rows.append(row)
            bad = 0 if row["good"] else bad + 1
            self._run.skipped += not row["good"]
        return bad

    def flush(self):
        """Writes the means since the last call; returns them as a line of text."""
        run = self._run
        good = [row for row in self._rows if row["good"]]
        row = {"step": run.step}
        for name in run.manifest["metrics"]:
            if name != "good":
                row[name] = float(np.mean([r[name] for r in good])) if good else None
        row["psnr"] = 10.0 * math.log10(255.0**2 / max(row["mse"], 1e-9)) if good else None
        row["learning_rate"] = float(run.schedule[run.step - 1])
        row["skipped"] = run.skipped
        row["seconds"] = round(run.seconds, 2)
        row["seconds_per_step"] = (self._clock - self._since) / len(self._rows)
        settings = run.manifest["settings"]
        row["pixels"] = run.step * settings["batch"] * settings["patch"] ** 2
        path = os.path.join(run.options.out, "metrics.jsonl")
        with writing(path), open(path, "a", encoding="utf-8") as f:
            f.write(json.dumps(row) + "\n")
        self._rows, self._since = [], self._clock
        if not good:
            return f"step {run.step}: no finite step, {run.skipped} skipped"
        left = (run.steps - run.step) * row["seconds_per_step"] / 60
        text = (
            "step {step}: loss {loss:.4f}, bpp {bpp:.4f} (y {y_bpp:.4f}, z {z_bpp:.4f}), "
            "PSNR {psnr:.2f} dB, {seconds_per_step:.3f} s/step, {left:.0f} min left"
        ).format(left=left, **row)
        return text + (f", {run.skipped} skipped" if run.skipped else "")


@contextlib.contextmanager
def writing(path):
    """Turns what the system says about a full disk or a lost folder into one line."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written ({error.strerror}); make room, then the same command "
            "continues"
        ) from None


def stretched(schedule, steps):
    """Returns a schedule of the same shape with another number of steps."""
    places = np.linspace(0, len(schedule) - 1, steps)
    return np.interp(places, np.arange(len(schedule)), schedule).astype(np.float32)


def crossed(before, now, every):
    """Returns whether a multiple of `every` lies in (before, now]."""
    return now // every > before // every


def say(text):
    print(text, file=sys.stderr, flush=True)


def parse(arguments=None):
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description="Trains with an exported step, or continues doing so.", allow_abbrev=False
    )
    add = parser.add_argument
    add("step_dir", help="folder that export_step.py wrote")
    add("--data", required=True, help="pictures: .npz of export_step.py, or .npy [n, h, w, 3]")
    add("--out", required=True, help="folder for checkpoints and metrics")
    add("--steps", type=int, default=0, help="stop after step number so and so; 0: the schedule")
    add("--steps_per_call", type=int, default=1, help="steps per launch of the device")
    add("--checkpoint_every", type=int, default=500, help="steps between checkpoints")
    add("--log_every", type=int, default=50, help="steps per line of metrics")
    add(
        "--precision",
        choices=list(PRECISIONS),
        default="highest",
        help="float32 products exact (highest) or as fast as the device likes (default: TF32 on "
        "an NVIDIA GPU); bfloat16: the step of train.py --precision=bfloat16",
    )
    add("--max_seconds", type=float, default=0.0, help="stop in time for this limit; 0: none")
    add(
        "--fit_seconds",
        type=float,
        default=0.0,
        help="choose the length of the run, after its first calls, so that it and the decay of its "
        "learning rate end in time for this limit; 0: the exported length",
    )
    options = parser.parse_args(arguments)
    if options.steps and options.fit_seconds:
        parser.error("--steps and --fit_seconds both choose the length; give one of them")
    for name in ("steps_per_call", "checkpoint_every", "log_every"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    return options


def main():
    try:
        Run(parse()).train()
    except RunError as error:
        sys.exit(f"runner.py: {error}")


if __name__ == "__main__":
    main()
