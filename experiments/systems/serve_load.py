"""Does the service stay right and small under clients of every kind?

    pip install -e '.[serve]'
    python -m experiments.systems.serve_load

starts `python -m gllmm_tf.serve`, lets 8 clients send 500 requests, good, bad and a third of them hostile
(`serve_hostile.py`: strips, bombs, slow bodies, headers without end, wrong kinds), and compares
every answer with the one that this process has worked out beforehand with a codec of its own: bytes of
files, pixels of pictures, status and text of refusals. Prints counts by kind and status, latencies and
memory; the figures go to experiments/results/serve_load.json. Exit status 1 if

    an answer is wrong, or a client gets none within the limit of time;
    the service's own counts differ from what the clients saw;
    a temporary file or a request in flight is left over, or SIGTERM does not end it with status 0;
    memory is above what the service states (`--memory`), or grows: the peak of RSS in the last quarter
    of the requests is more than --margin above the peak in the first quarter.

A client that is asked to come later (503) comes later, as often as it is asked to; this is counted
and no fault. It takes a few minutes.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import http.client
import os
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence

import numpy as np
from absl import flags

from experiments.common import places, program, records
from experiments.common.program import ExperimentError, LimitError
from experiments.systems.serve_hostile import hostile_requests
from experiments.systems.serve_requests import MAX_BYTES, MAX_PIXELS, Request, mix
from gllmm_tf.codec.base import Codec
from gllmm_tf.serve.limits import Limits

GRACE = 5.0  # seconds beyond the limit: the end of a body that comes slowly, and the way back
SECONDS = 60.0  # patience with one answer
SAMPLING = 0.1  # seconds between two looks at the memory
DROPS = 40  # of a body that comes slowly
UNCOUNTED = "huge header"  # which the server refuses before the service hears of it, or does not
HANG_UP = "hung up"  # what a client sees that does not wait for the answer


# Clients --------------------------------------------------------------------------------------


@dataclasses.dataclass
class Seen:
    """What the clients saw, all together."""

    statuses: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    seconds: dict = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
    wrong: list = dataclasses.field(default_factory=list)
    done: int = 0
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)


def send(port: int, request: Request, seconds: float = SECONDS) -> tuple[int | str, bytes, dict]:
    """Returns status, body and headers of the answer, if it comes within `seconds`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    with contextlib.closing(connection):
        connection.putrequest(request.method, request.path)
        if request.chunked:
            connection.putheader("Transfer-Encoding", "chunked")
        elif request.body or request.method != "GET":
            connection.putheader("Content-Length", str(len(request.body)))
        for name, value in request.headers:
            connection.putheader(name, value)
        connection.endheaders()
        body = request.body[: int(request.part * len(request.body))]
        step = max(1, len(body) // DROPS) if request.seconds else 1 << 16
        may_be_refused = request.seconds or request.status is None
        with contextlib.suppress(*([ConnectionError] if may_be_refused else [])):
            for start in range(0, len(body), step):
                piece = body[start : start + step]
                connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if request.chunked else piece)
                if request.seconds and select.select([connection.sock], [], [], 0)[0]:
                    break  # there is an answer already
                time.sleep(request.seconds / DROPS)
        if request.part < 1:
            return HANG_UP, b"", {}
        if request.chunked:
            connection.send(b"0\r\n\r\n")
        if request.status is None:
            select.select([connection.sock], [], [], 0.05)  # so that it may have begun
            return HANG_UP, b"", {}
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.headers)


def is_right(request: Request, status: int | str, data: bytes) -> bool:
    if request.status is None:
        return status == HANG_UP
    return status == request.status and request.check(data)


def be_client(port: int, queue: collections.deque, seen: Seen) -> None:
    """Sends requests until none is left."""
    while True:
        try:
            request = queue.popleft()
        except IndexError:
            return
        try:
            while True:
                start = time.perf_counter()
                status, data, headers = send(port, request)
                with seen.lock:
                    seen.statuses[request.kind, status] += 1
                if status != 503 or "retry-after" not in headers:
                    break
                time.sleep(float(headers["retry-after"]))
            right = is_right(request, status, data)
            line = data[:120]
        except Exception as error:  # whatever it is, this client has no answer
            status, right, line = "no answer", False, repr(error)
        with seen.lock:
            seen.done += 1
            seen.seconds[request.kind].append(time.perf_counter() - start)
            if not right:
                seen.wrong.append(f"{request.kind}, {request.path}: {status} {line}")


# Service --------------------------------------------------------------------------------------


class Service:
    """The service in a process of its own; its memory is looked at until `stop`.

    Args:
        model: name or path, None for the default.
        folder: for its temporary files.
        arguments: further flags.
    """

    def __init__(self, model: str | None, folder: str, arguments: Sequence[str] = ()):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gllmm_tf.serve", "--port=0", *arguments]
            + ([f"--model={model}"] if model else []),
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": folder},
        )
        self.lines, self.samples, self.progress = [], [], lambda: 0
        for line in self._process.stderr:
            self.lines.append(line)
            if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                break
        else:
            raise ExperimentError(f"the service did not start: {''.join(self.lines)}")
        for target in (self._listen, self._watch):
            threading.Thread(target=target, daemon=True).start()

    def _listen(self) -> None:
        self.lines.extend(self._process.stderr)

    def _watch(self) -> None:
        """Notes (requests done, RSS in MB) until the process ends."""
        with contextlib.suppress(OSError, TypeError):
            while self._process.poll() is None:
                with open(f"/proc/{self._process.pid}/status") as file:
                    kilobytes = re.search(r"VmRSS:\s+(\d+)", file.read())[1]
                self.samples.append((self.progress(), int(kilobytes) / 1e3))
                time.sleep(SAMPLING)

    def metrics(self) -> str:
        return send(self.port, Request("", "GET", "/metrics", b"", 200, bool))[1].decode()

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(SECONDS)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def counted(metrics: str) -> collections.Counter:
    """Requests by status as the service counts them, those for these very figures apart."""
    counts = collections.Counter()
    pattern = r'^gllmm_requests_total\{endpoint="(.*?)",status="(\d+)"\} (\S+)'
    for endpoint, status, value in re.findall(pattern, metrics, re.M):
        if endpoint != "/metrics":
            counts[int(status)] += int(float(value))
    return counts


def compare_counts(metrics: str, seen: Seen) -> list[str]:
    """What is wrong with the service's counts, a line each."""
    clients = collections.Counter()
    for (kind, status), count in seen.statuses.items():
        if kind not in ("metrics", UNCOUNTED):
            clients[499 if status == HANG_UP else status] += count
    service = counted(metrics)
    wrong = [
        f"status {status}: the service counts {service[status]}, the clients {clients[status]}"
        for status in sorted(set(service) | set(clients), key=str)
        # A quick service may have answered a client, or refused it, before it hung up.
        if status not in (200, 499, 503) and service[status] != clients[status]
    ]
    quick = (200, 499, 503)
    more = sum(service[s] for s in quick) - sum(clients[s] for s in quick)
    if not 0 <= more <= sum(n for (kind, _), n in seen.statuses.items() if kind == UNCOUNTED):
        wrong.append(f"of {quick} the service counts {service}, the clients {clients}")
    return wrong


def quarters(samples, count: int) -> list[float]:
    """Peak RSS in MB of each quarter of the requests."""
    peaks = [0.0] * 4
    for done, size in samples:
        if done < count:
            peaks[4 * done // count] = max(peaks[4 * done // count], size)
    return peaks


def wait_for_rest(service: Service) -> str:
    """Metrics when all requests that clients have left have ended."""
    end = time.monotonic() + SECONDS
    while True:
        metrics = service.metrics()
        flying = re.findall(r'^gllmm_in_flight\{endpoint="(/\w*press)"\} (\S+)', metrics, re.M)
        if all(float(value) == 0 for _, value in flying) or time.monotonic() > end:
            return metrics
        time.sleep(0.1)


# Report ---------------------------------------------------------------------------------------


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "median": statistics.median(ordered),
        "p95": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        "max": ordered[-1],
    }


def print_table(seen: Seen) -> None:
    print(f"{'kind':<20}{'answers':<34}{'median':>9}{'p95':>9}{'max':>9}")
    for kind in sorted(seen.seconds):
        answers = ", ".join(
            f"{count} x {status}" for (k, status), count in seen.statuses.items() if k == kind
        )
        times = percentiles(seen.seconds[kind])
        print(f"{kind:<20}{answers:<34}" + "".join(f"{s:>7.3f} s" for s in times.values()))


def send_all(service: Service, requests: Sequence[Request], clients: int, seen: Seen) -> float:
    """Has the clients send everything at once; returns seconds."""
    service.progress = lambda: seen.done
    queue = collections.deque(requests)
    start = time.perf_counter()
    threads = [
        threading.Thread(target=be_client, args=(service.port, queue, seen)) for _ in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def load(
    model: str | None,
    requests: Sequence[Request],
    clients: int,
    seen: Seen,
    seconds: float = Limits().seconds,
) -> tuple[Service, float, list[str]]:
    """Runs the service from its start to its end; returns it, the seconds and what went wrong."""
    with tempfile.TemporaryDirectory() as folder:
        limits = [f"--max_bytes={MAX_BYTES}", f"--max_pixels={MAX_PIXELS}"]
        limits.append(f"--max_seconds={seconds:g}")
        service = Service(model, folder, limits)
        try:
            elapsed = send_all(service, requests, clients, seen)
            metrics = wait_for_rest(service)
            faults = seen.wrong + compare_counts(metrics, seen)
            status = service.stop()
        finally:
            service.kill()
        if status:
            faults.append(f"SIGTERM ended it with status {status}")
        # Libraries keep files of their own there; onnxruntime has one.
        if left := [name for name in os.listdir(folder) if name.startswith("gllmm-")]:
            faults.append(f"temporary files are left: {left}")
    if "Traceback" in "".join(service.lines):
        faults.append("the service wrote a traceback: " + "".join(service.lines)[-2000:])
    return service, elapsed, faults


def totals_of(seen: Seen) -> dict[str, int]:
    """Returns status -> answers of all kinds."""
    totals = collections.Counter()
    for (_, status), count in seen.statuses.items():
        totals[str(status)] += count
    return dict(sorted(totals.items()))


def define_flags() -> None:
    program.define_model()
    flags.DEFINE_integer("requests", 500, "Requests in all.", 8)
    flags.DEFINE_integer("clients", 8, "Clients at a time.", 1)
    flags.DEFINE_integer("seed", 1, "Of pictures and order.")
    flags.DEFINE_float("max_seconds", 30.0, "Longest time for a request.", 1.0)
    flags.DEFINE_float("margin", 128.0, "MB that memory may grow.", 0.0)
    flags.DEFINE_string("output", f"{places.RESULTS}/serve_load.json", "File for the figures.")


def main(f: flags.FlagValues) -> None:
    print("working out the right answers")
    codec = Codec.load(f.model)
    hostile = hostile_requests(codec, np.random.default_rng(f.seed), f.max_seconds)
    requests, seen = mix(codec, f.requests, f.seed, hostile), Seen()
    service, elapsed, faults = load(f.model, requests, f.clients, seen, f.max_seconds)
    peaks = quarters(service.samples, len(requests))
    bound = Limits().memory * 2**20 / 1e6
    if max(peaks) > bound:
        faults.append(f"memory of {max(peaks):.0f} MB, above the bound of {bound:.0f}")
    slowest = max(max(times) for times in seen.seconds.values())
    if slowest > f.max_seconds + GRACE:
        faults.append(f"an answer took {slowest:.1f} s, more than the limit of {f.max_seconds:g} s")
    if peaks[3] > peaks[0] + f.margin:
        faults.append(f"memory grew from {peaks[0]:.0f} to {peaks[3]:.0f} MB")
    print_table(seen)
    totals = totals_of(seen)
    print(f"{len(requests)} requests of {f.clients} clients in {elapsed:.1f} s: {totals}")
    print("peak RSS by quarter: " + ", ".join(f"{peak:.0f}" for peak in peaks) + " MB")
    results = {
        "requests": len(requests),
        "clients": f.clients,
        "model": codec.info.get("name"),
        "statuses": totals,
        "hostile": sum(request in hostile for request in requests),
        "wrong": len(seen.wrong),
        "slowest_seconds": round(slowest, 2),
        "memory_bound_mb": round(bound),
        "seconds": round(elapsed, 1),
        "peak_rss_mb_by_quarter": [round(peak) for peak in peaks],
        "latency_seconds": {
            kind: {name: round(value, 3) for name, value in percentiles(times).items()}
            for kind, times in sorted(seen.seconds.items())
        },
    }
    records.write_json(f.output, results)
    for fault in faults:
        print(f"WRONG: {fault}")
    print(f"{len(faults)} faults")
    if faults:
        raise LimitError(f"{len(faults)} faults; they stand above")


if __name__ == "__main__":
    program.run(main, define_flags)
