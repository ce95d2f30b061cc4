"""Does the service stay right and small under clients of every kind?

    pip install -e '.[serve]'
    python -m experiments.systems.serve_load

starts `python -m gllmm_tf.serve`, lets 8 clients send 500 mixed good and bad requests, and compares
every answer with the one that this process has worked out beforehand with a codec of its own: bytes of
files, pixels of pictures, status and text of refusals. Prints counts by kind and status, latencies and
memory; the figures go to experiments/results/serve_load.json. Exit status 1 if

    an answer is wrong, or a client gets none within a minute;
    the service's own counts differ from what the clients saw;
    a temporary file or a request in flight is left over, or SIGTERM does not end it with status 0;
    memory grows: the peak of RSS in the last quarter of the requests is more than --margin above
    the peak in the first quarter.

A client that is told to come later (503) comes later, as often as it is told to; this is counted and
no fault. It takes a few minutes.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import http.client
import io
import json
import os
import random
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from absl import app, flags
from PIL import Image

from gllmm_tf.codec.codec import Codec
from gllmm_tf.files.images import write_bytes_atomic

MODEL = flags.DEFINE_string("model", None, "Name or path of the model; the default one if empty.")
REQUESTS = flags.DEFINE_integer("requests", 500, "Requests in all.", 8)
CLIENTS = flags.DEFINE_integer("clients", 8, "Clients at a time.", 1)
SEED = flags.DEFINE_integer("seed", 1, "Of pictures and order.")
MARGIN = flags.DEFINE_float("margin", 64.0, "MB that memory may grow.", 0.0)
OUTPUT = flags.DEFINE_string(
    "output",
    os.path.join(os.path.dirname(os.path.abspath(__file__)), "results", "serve_load.json"),
    "File for the figures.",
)

MAX_BYTES, MAX_PIXELS = 1 << 20, 256 * 256
SIZES = ((64, 64), (1, 1), (96, 160), (201, 130), (128, 256), (37, 255))  # height, width
QUALITIES = (None, 1.0, 2.5, 4.0, 8.0)
SECONDS = 60.0  # patience with one answer
SAMPLING = 0.1  # seconds between two looks at the memory
HANG_UP = "hung up"  # what a client sees that does not wait for the answer


@dataclasses.dataclass(frozen=True)
class Request:
    """One request and what must come back.

    Attributes:
        kind: for the table.
        method: of HTTP.
        path: with query.
        body: bytes to send.
        status: that must come back; None: the client hangs up.
        check: bytes of the answer -> whether they are right.
        chunked: sent without a length.
        part: share of the body that is sent before hanging up.
    """

    kind: str
    method: str
    path: str
    body: bytes
    status: int | None
    check: Callable[[bytes], bool]
    chunked: bool = False
    part: float = 1.0


# Requests and right answers -------------------------------------------------------------------


def draw(rng, height: int, width: int) -> np.ndarray:
    """A picture of smooth shapes, an edge and a little noise."""
    rows, columns = np.mgrid[0:height, 0:width]
    periods, phases = rng.uniform(5, 30, 4), rng.uniform(0, 6, 3)
    base = 128 + 60 * np.sin(rows / periods[0] + phases[0]) + 50 * np.cos(columns / periods[1])
    base += 40 * (columns > width * rng.uniform(0.2, 0.8))
    colours = [base, 255 - base, 128 + 90 * np.sin((rows + columns) / periods[2] + phases[1])]
    pixels = np.stack(colours, -1) + rng.normal(size=(height, width, 3)) * 3
    return np.clip(pixels, 0, 255).astype(np.uint8)


def as_file(pixels: np.ndarray, file_format: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format, **options)
    return file.getvalue()


def as_pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def one_line(*words: str) -> Callable[[bytes], bool]:
    """A check: one line of text that holds all `words`."""

    def check(data: bytes) -> bool:
        text = data.decode()
        return text.endswith("\n") and text.count("\n") == 1 and all(w in text for w in words)

    return check


def good_requests(codec, rng) -> list[Request]:
    """Pictures of every size and quality in several formats, and their files back to pixels."""
    found = []
    qualities = QUALITIES if codec.num_qualities else (None,)
    for height, width in SIZES:
        pixels = draw(rng, height, width)
        pictures = {
            "PNG": as_file(pixels, "PNG"),
            "JPEG": as_file(pixels, "JPEG", quality=90),
            "WebP": as_file(pixels, "WEBP", lossless=True),
        }
        for i, quality in enumerate(qualities):
            name = list(pictures)[i % len(pictures)]
            data = codec.compress(as_pixels(pictures[name]), quality)
            path = "/compress" if quality is None else f"/compress?quality={quality:g}"
            found.append(
                Request(f"compress {name}", "POST", path, pictures[name], 200, data.__eq__)
            )
            x_hat = codec.decompress(data)
            same = lambda png, x_hat=x_hat: np.array_equal(as_pixels(png), x_hat)  # noqa: E731
            found.append(Request("decompress", "POST", "/decompress", data, 200, same))
    return found


def bad_requests(codec, rng) -> list[Request]:
    """Everything that has to be refused."""
    pixels = draw(rng, 96, 128)
    png, packed = as_file(pixels, "PNG"), codec.compress(pixels)
    tampered = bytearray(packed)
    tampered[len(packed) // 2] ^= 16
    foreign = bytearray(packed[:-4])
    foreign[9] ^= 1  # the model's identity, under a right checksum
    foreign += zlib.crc32(bytes(foreign)).to_bytes(4, "little")
    large = np.zeros([257, 256, 3], np.uint8)
    big = bytes(MAX_BYTES + MAX_BYTES // 2)

    def post(kind, path, body, status, *words, **more):
        return Request(kind, "POST", path, bytes(body), status, one_line(*words), **more)

    return [
        post("truncated picture", "/compress", png[: len(png) // 3], 400, "damaged or cut short"),
        post("random bytes", "/compress", rng.bytes(3000), 400, "not a readable 8-bit picture"),
        post("random bytes", "/decompress", rng.bytes(3000), 400, "not a .gllmm file"),
        post("tampered file", "/decompress", tampered, 400, "checksum"),
        post("cut file", "/decompress", packed[:-7], 400, "checksum"),
        post("foreign file", "/decompress", foreign, 400, "written by model"),
        post("foreign file", "/decompress", png, 400, "did you mean compress?"),
        post("foreign file", "/compress", packed, 400, "did you mean decompress?"),
        post("empty body", "/compress", b"", 400, "empty"),
        post("bad quality", "/compress?quality=99", png, 400, "quality"),
        post("bad quality", "/compress?quality=fine", png, 400, "quality is not a number"),
        post("16-bit picture", "/compress", as_file(np.zeros([9, 9], "u2"), "PNG"), 400, "16-bit"),
        post("too many pixels", "/compress", as_file(large, "PNG"), 413, "65536"),
        post("too many pixels", "/decompress", codec.compress(large), 413, "65536"),
        post("too large body", "/compress", big, 413, str(MAX_BYTES)),
        post("too large body", "/decompress", big, 413, str(MAX_BYTES), chunked=True),
        post("wrong method", "/health", b"x", 405, "Method Not Allowed"),
        Request("wrong method", "GET", "/compress", b"", 405, one_line("Method Not Allowed")),
        Request("wrong method", "PUT", "/decompress", packed, 405, one_line("Method Not Allowed")),
        post("no such path", "/compress/it", png, 404, "Not Found"),
        post("hang up: in body", "/compress", png, None, part=0.5),
        post("hang up: in body", "/decompress", packed, None, chunked=True, part=0.5),
        post("hang up: at work", "/compress", png, None),
        post("hang up: at work", "/decompress", packed, None),
    ]


def looking_requests(codec) -> list[Request]:
    """Page, health and metrics, in the middle of everything."""

    def healthy(data: bytes) -> bool:
        return json.loads(data)["identity"] == codec.identity.hex()

    return [
        Request("page", "GET", "/", b"", 200, lambda data: b"</html>" in data),
        Request("health", "GET", "/health", b"", 200, healthy),
        Request("metrics", "GET", "/metrics", b"", 200, lambda d: b"gllmm_in_flight" in d),
    ]


def mix(codec, count: int, seed: int) -> list[Request]:
    """`count` requests in random order, about half of them good."""
    rng = np.random.default_rng(seed)
    good, bad = good_requests(codec, rng), bad_requests(codec, rng)
    looking = looking_requests(codec)
    chooser = random.Random(seed)
    rest = [
        chooser.choice(chooser.choices((good, bad, looking), (50, 45, 5))[0]) for _ in range(count)
    ]
    requests = (good + bad + looking + rest)[:count]  # each kind once at least, where there is room
    chooser.shuffle(requests)
    return requests


# Clients --------------------------------------------------------------------------------------


@dataclasses.dataclass
class Seen:
    """What the clients saw, all together."""

    statuses: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    seconds: dict = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
    wrong: list = dataclasses.field(default_factory=list)
    done: int = 0
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)


def send(port: int, request: Request) -> tuple[int | str, bytes, dict]:
    """Returns status, body and headers of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    with contextlib.closing(connection):
        connection.putrequest(request.method, request.path)
        if request.chunked:
            connection.putheader("Transfer-Encoding", "chunked")
        elif request.body or request.method != "GET":
            connection.putheader("Content-Length", str(len(request.body)))
        connection.endheaders()
        body = request.body[: int(request.part * len(request.body))]
        for start in range(0, len(body), 1 << 16):
            piece = body[start : start + (1 << 16)]
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if request.chunked else piece)
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
        start = time.perf_counter()
        try:
            while True:
                status, data, headers = send(port, request)
                with seen.lock:
                    seen.statuses[request.kind, status] += 1
                if status != 503 or "retry-after" not in headers:
                    break
                time.sleep(float(headers["retry-after"]))
            right = is_right(request, status, data)
            line = data[:120]
        except Exception as error:
            status, right, line = "no answer", False, repr(error)
        with seen.lock:
            seen.done += 1
            seen.seconds[request.kind].append(time.perf_counter() - start)
            if not right:
                seen.wrong.append(f"{request.kind}, {request.path}: {status} {line}")


# Service --------------------------------------------------------------------------------------


class Service:
    """The service in a process of its own; its memory is looked at until `stop`."""

    def __init__(self, model: str | None, folder: str):
        arguments = ["--port=0", f"--max_bytes={MAX_BYTES}", f"--max_pixels={MAX_PIXELS}"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gllmm_tf.serve", *arguments]
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
            sys.exit(f"the service did not start: {''.join(self.lines)}")
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
        if kind != "metrics":
            clients[499 if status == HANG_UP else status] += count
    service = counted(metrics)
    wrong = [
        f"status {status}: the service counts {service[status]}, the clients {clients[status]}"
        for status in sorted(set(service) | set(clients), key=str)
        # A quick service may have answered a client, or refused it, before it hung up.
        if status not in (200, 499, 503) and service[status] != clients[status]
    ]
    quick = (200, 499, 503)
    if sum(service[s] for s in quick) != sum(clients[s] for s in quick):
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


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError("every setting is a flag")
    print("working out the right answers")
    codec = Codec.load(MODEL.value)
    requests = mix(codec, REQUESTS.value, SEED.value)
    seen = Seen()
    with tempfile.TemporaryDirectory() as folder:
        service = Service(MODEL.value, folder)
        try:
            service.progress = lambda: seen.done
            queue = collections.deque(requests)
            start = time.perf_counter()
            threads = [
                threading.Thread(target=be_client, args=(service.port, queue, seen))
                for _ in range(CLIENTS.value)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            elapsed = time.perf_counter() - start
            metrics = wait_for_rest(service)
            faults = seen.wrong + compare_counts(metrics, seen)
            status = service.stop()
        finally:
            service.kill()
        if status:
            faults.append(f"SIGTERM ended it with status {status}")
        if left := os.listdir(folder):
            faults.append(f"temporary files are left: {left}")
    if "Traceback" in "".join(service.lines):
        faults.append("the service wrote a traceback: " + "".join(service.lines)[-2000:])
    peaks = quarters(service.samples, len(requests))
    if peaks[3] > peaks[0] + MARGIN.value:
        faults.append(f"memory grew from {peaks[0]:.0f} to {peaks[3]:.0f} MB")

    print_table(seen)
    totals = collections.Counter()
    for (_, status), count in seen.statuses.items():
        totals[str(status)] += count
    print(f"{len(requests)} requests of {CLIENTS.value} clients in {elapsed:.1f} s: {dict(totals)}")
    print("peak RSS by quarter: " + ", ".join(f"{peak:.0f}" for peak in peaks) + " MB")
    results = {
        "requests": len(requests),
        "clients": CLIENTS.value,
        "model": codec.info.get("name"),
        "statuses": dict(sorted(totals.items())),
        "wrong": len(seen.wrong),
        "seconds": round(elapsed, 1),
        "peak_rss_mb_by_quarter": [round(peak) for peak in peaks],
        "latency_seconds": {
            kind: {name: round(value, 3) for name, value in percentiles(times).items()}
            for kind, times in sorted(seen.seconds.items())
        },
    }
    write_bytes_atomic(OUTPUT.value, (json.dumps(results, indent=2) + "\n").encode())
    for fault in faults:
        print(f"WRONG: {fault}")
    print(f"{len(faults)} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    app.run(main)
