"""Which devices share a step: one, all of this machine, or all of several machines.

Data parallelism with equal parts. Every replica holds all variables, takes its part of the global
batch in the order of replicas, and draws its part of the global batch's noise; gradients and
metrics are averaged over the replicas, after which all of them compute the same update. So a step
does not depend on the number of replicas but for rounding.

    one             one device
    mirrored        all local GPUs; without any, all logical CPU devices
    multi_worker    one process per machine, each started with its own TF_CONFIG, each with its
                    local GPUs, or its CPU without any
"""

import contextlib
import json
import os

import tensorflow as tf

from gllmm_tf import errors

STRATEGIES = ("one", "mirrored", "multi_worker")


class Devices:
    """A tf.distribute strategy and the part of it that belongs to this process.

    Attributes:
        strategy: tf.distribute.Strategy.
        count: Replicas in all processes together.
        local_count: Replicas of this process.
        first: Index of its first replica among all.
        is_chief: Whether this process is the one that writes.
    """

    def __init__(self, name="one"):
        """Sets up the devices.

        Args:
            name: One of `STRATEGIES`. multi_worker waits for the other workers, and comes before
                anything else that TensorFlow does.

        Raises:
            errors.GllmmError: An unknown name, or TF_CONFIG that cannot be used.
        """
        if name not in STRATEGIES:
            raise errors.GllmmError(
                f"strategy={name!r} is unknown; choose one of {', '.join(STRATEGIES)}"
            )
        self._plain = name == "one"
        self._several_workers = name == "multi_worker"
        self.strategy = {
            "one": tf.distribute.get_strategy,
            "mirrored": _mirrored,
            "multi_worker": _multi_worker,
        }[name]()
        self.count = self.strategy.num_replicas_in_sync
        self.local_count, self.first, self.is_chief = self.count, 0, True
        if self._several_workers:
            resolver = self.strategy.cluster_resolver
            self.local_count = self.count // len(_cluster_workers(resolver))
            self.first = _worker_index(resolver) * self.local_count
            self.is_chief = _worker_index(resolver) == 0

    def share(self, batch):
        """Returns the examples per replica of a global batch; GllmmError if they do not divide."""
        if batch % self.count:
            raise errors.GllmmError(
                f"batch={batch} cannot be shared by {self.count} devices; give a multiple of "
                f"{self.count}"
            )
        return batch // self.count

    def split(self, local):
        """Deals this process' part of a batch out to its replicas, in order."""
        if self.count == 1:
            return local
        share = len(local) // self.local_count

        def part(context):
            start = (context.replica_id_in_sync_group - self.first) * share
            return local[start : start + share]

        return self.strategy.experimental_distribute_values_from_function(part)

    def compile(self, step, signature, jit=False):
        """Returns a step as a tf.function that takes it on every replica.

        Args:
            step: A function of tensors, or of what `split` returns, that every replica calls.
            signature: tf.TensorSpec of its arguments on one replica.
            jit: Compile with XLA; with strategy one only.

        Returns:
            A tf.function of the same arguments. It returns what the first local replica returns.
        """
        if self._plain:
            return tf.function(step, signature, autograph=False, jit_compile=jit or None)

        def run(*arguments):
            results = self.strategy.run(step, arguments)
            return self.strategy.experimental_local_results(results)[0]

        return tf.function(run, autograph=False)

    def mean(self, tensors):
        """Inside a step: averages a list of tensors over all replicas."""
        if self.count == 1:
            return tensors
        return tf.distribute.get_replica_context().all_reduce("MEAN", tensors)

    def replica(self):
        """Inside a step: the (index, number) of the replica that runs."""
        return tf.distribute.get_replica_context().replica_id_in_sync_group, self.count

    def any(self, flag):
        """Returns whether the flag is set in any of the processes; all of them must ask."""
        if not self._several_workers:
            return flag
        return bool(self._over_workers("SUM", float(flag)))

    def check_same(self, number, message):
        """Raises GllmmError(message) in every process if the number is not the same in all."""
        if self._several_workers:
            mean, square = (self._over_workers("MEAN", number**k) for k in (1.0, 2.0))
            if square > mean * mean:
                raise errors.GllmmError(message)

    def _over_workers(self, operation, number):
        value = tf.constant(number, tf.float64)
        values = self.strategy.experimental_distribute_values_from_function(lambda _: value)
        return float(self.strategy.reduce(operation, values, axis=None))

    @contextlib.contextmanager
    def together(self):
        """Turns the loss of another worker into one line."""
        try:
            yield
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as e:
            if not self._several_workers:
                raise
            raise errors.GllmmError(
                "another worker is gone; start all workers again with the same command, the run "
                "continues from its last checkpoint"
            ) from e


def _mirrored():
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _multi_worker():
    try:
        config = json.loads(os.environ.get("TF_CONFIG", ""))
        task, workers = config["task"], config["cluster"]["worker"]
        good = task["type"] == "worker" and 0 <= int(task["index"]) < len(workers)
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise errors.GllmmError(
            "strategy=multi_worker: TF_CONFIG does not name this worker; set it to "
            '{"cluster": {"worker": ["host0:port", "host1:port"]}, '
            '"task": {"type": "worker", "index": 0}} with the index of this one'
        )
    return tf.distribute.MultiWorkerMirroredStrategy()


def _cluster_workers(resolver):
    return resolver.cluster_spec().as_dict()["worker"]


def _worker_index(resolver):
    return resolver.task_id
