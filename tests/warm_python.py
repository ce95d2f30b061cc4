"""Runs `python ...` and `gllmm ...` from a shell without importing TensorFlow each time.

    python tests/warm_python.py FOLDER

imports what most commands need, puts the programs `python` and `gllmm` into FOLDER/bin, prints "ready"
and serves them until its standard input ends. A shell that has FOLDER/bin first in its PATH runs
commands as they are written:

    python ...            in a child of this process, forked before TensorFlow has run anything
    gllmm train, export   the same, as `python -m gllmm_tf.cli`
    gllmm ...             in one process for all, which keeps its codecs
    KEEP=1 python ...     the same

With EAGER=1 in its environment, a `python` runs the functions of TensorFlow without tracing them, which
saves most of the time of a training of two steps.

The programs send their arguments, working folder, environment and standard streams over a socket, and
end with the exit status that comes back. A program that is killed takes its child with it.
"""

import array
import contextlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import time
import traceback

STATUS_BYTES = 8


# What the programs do: nothing heavy is imported for it -----------------------------------------


def client(folder, program):
    """Sends this command line to the server and returns its exit status."""
    arguments = sys.argv[1:]
    keep = "KEEP" in os.environ
    if program == "gllmm":
        keep = arguments[:1] not in (["train"], ["export"])
        arguments = ["-m", "gllmm_tf.cli", *arguments]
    request = {"arguments": arguments, "cwd": os.getcwd(), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.path.join(folder, "keep" if keep else "fork"))
        streams = array.array("i", [0, 1, 2]).tobytes()
        connection.sendmsg([b"s"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
        connection.sendall(json.dumps(request).encode())
        connection.shutdown(socket.SHUT_WR)
        return int(connection.recv(STATUS_BYTES) or b"1")


PROGRAM = """#!{python} -SE
import sys
sys.path.insert(0, {tests!r})
import warm_python
sys.exit(warm_python.client({folder!r}, {program!r}))
"""


def write_programs(folder):
    """Writes FOLDER/bin/python and FOLDER/bin/gllmm."""
    os.makedirs(os.path.join(folder, "bin"))
    tests = os.path.dirname(os.path.abspath(__file__))
    for program in ("python", "gllmm"):
        path = os.path.join(folder, "bin", program)
        names = {"python": sys.executable, "tests": tests, "folder": folder, "program": program}
        with open(path, "w") as file:
            file.write(PROGRAM.format(**names))
        os.chmod(path, 0o755)


# The server -------------------------------------------------------------------------------------


def receive(connection):
    """Returns (request, standard streams) of a client."""
    _, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(3 * 4))
    streams = array.array("i", ancillary[0][2]).tolist()
    data = b""
    while part := connection.recv(1 << 16):
        data += part
    return json.loads(data), streams


def take_over(request, streams):
    """Makes the request's folder, environment and streams those of this process."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])


def status_of(work):
    """Runs `work` as the interpreter would and returns the exit status."""
    try:
        work()
        status = 0
    except SystemExit as end:
        status = end.code
        if status is not None and not isinstance(status, int):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status or 0


def run_python(arguments):
    """What `python ARGUMENTS` does, for -c, -m and a file."""
    if "EAGER" in os.environ:
        run_eagerly()
    if arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        sys.path.insert(0, "")
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
    elif arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path.insert(0, os.path.dirname(os.path.abspath(arguments[0])))
        runpy.run_path(arguments[0], run_name="__main__")


def run_eagerly():
    """Traces no function but the one that makes the tables of z, which is a long loop."""
    import tensorflow as tf

    from gllmm_tf.model.prior import FactorizedBottleneck

    tables = FactorizedBottleneck.tables

    def traced(self):
        tf.config.run_functions_eagerly(False)
        try:
            return tables(self)
        finally:
            tf.config.run_functions_eagerly(True)

    FactorizedBottleneck.tables = traced
    tf.config.run_functions_eagerly(True)


def serve_in_children(connection):
    """Answers one client: forks a process that watches, which forks the one that works."""
    if os.fork():
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, streams = receive(connection)
    worker = os.fork()
    if not worker:
        connection.close()
        take_over(request, streams)
        sys.exit(status_of(lambda: run_python(request["arguments"])))
    for stream in streams:
        os.close(stream)
    ended, status = 0, 0
    while not ended:
        if is_gone(connection):
            os.kill(worker, signal.SIGTERM)
            os.waitpid(worker, 0)
            sys.exit(0)
        time.sleep(0.02)
        ended, status = os.waitpid(worker, os.WNOHANG)
    connection.sendall(str(os.waitstatus_to_exitcode(status) & 0xFF).encode())
    sys.exit(0)


def is_gone(connection):
    """Whether a client, which has sent all it has to say, has ended."""
    poll = select.poll()
    poll.register(connection, 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))


def serve_here(connection):
    """Answers one client in this process."""
    request, streams = receive(connection)
    kept, path = [os.dup(number) for number in range(3)], list(sys.path)
    take_over(request, streams)
    status = status_of(lambda: run_python(request["arguments"]))
    sys.path[:] = path
    for number, stream in enumerate(kept):
        os.dup2(stream, number)
        os.close(stream)
    connection.sendall(str(status).encode())


def keep_codecs():
    """Lets each model have one codec for as long as the process lives."""
    from gllmm_tf.cli import jobs
    from gllmm_tf.codec.base import Codec
    from gllmm_tf.zoo.registry import read_model

    kept = {}

    def load(model=None, **settings):
        stored = read_model(model)
        key = stored.identity, tuple(sorted(settings.items()))
        if key not in kept:
            kept[key] = Codec.of(stored, **settings)
        return kept[key]

    jobs.load_codec = Codec.load = load


def listen(folder, name):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.join(folder, name))
    listener.listen(8)
    return listener


def main(folder):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import gllmm_tf.cli.main

    with contextlib.suppress(ModuleNotFoundError):  # TensorFlow need not be there
        import gllmm_tf.codec.tensorflow_codec
        import gllmm_tf.training.run  # noqa: F401

    write_programs(folder)
    fork, keep = listen(folder, "fork"), listen(folder, "keep")
    helper = os.fork()
    if not helper:
        keep_codecs()
        while True:
            with keep.accept()[0] as connection:
                serve_here(connection)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies of finished commands
    print("ready", flush=True)
    while True:
        ready = select.select([fork, sys.stdin], [], [])[0]
        if sys.stdin in ready:
            os.kill(helper, signal.SIGTERM)
            return
        with fork.accept()[0] as connection:
            serve_in_children(connection)


if __name__ == "__main__":
    main(sys.argv[1])
