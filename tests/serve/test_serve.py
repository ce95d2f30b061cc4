"""The HTTP service: every endpoint, every refusal, and what clients do to it on real sockets."""

import contextlib
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")
pytest.importorskip("httpx")
uvicorn = pytest.importorskip("uvicorn")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # From 1.0 on Starlette would rather have httpx2 than httpx.
    from starlette.testclient import TestClient

from experiments.common import browser  # noqa: E402
from experiments.systems import serve_page_check  # noqa: E402
from gllmm_tf.files import (
    container,  # noqa: E402
    images,  # noqa: E402
)
from gllmm_tf.serve import __main__ as main  # noqa: E402
from gllmm_tf.serve import app as serving  # noqa: E402
from gllmm_tf.serve import middleware  # noqa: E402

LIMITS = serving.Limits(bytes=1 << 17, pixels=200 * 200, seconds=60.0, threads=2, waiting=2)
PATIENCE = 30.0  # Seconds for a thing that should happen at once.


class HeldCodec:
    """A codec whose `encode` waits until it is released."""

    def __init__(self, codec):
        self._codec = codec
        self.started, self.release = threading.Semaphore(0), threading.Event()
        self.qualities = []

    def __getattr__(self, name):
        return getattr(self._codec, name)

    def encode(self, image, quality, metadata):
        self.started.release()
        assert self.release.wait(PATIENCE)
        self.qualities.append(quality)
        return self._codec.encode(image, quality, metadata)


def file_of(pixels, file_format="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format, **options)
    return file.getvalue()


def pixels_of(data):
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def metric(text, name, **labels):
    """Value of one sample in Prometheus text; 0 where there is none."""
    wanted = {f'{key}="{value}"' for key, value in labels.items()}
    for found, inside, value in re.findall(r"^(\w+)(?:\{(.*?)\})? (\S+)$", text, re.M):
        if found == name and wanted == set(filter(None, inside.split(","))):
            return float(value)
    return 0.0


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def png(sample_pixels):
    return file_of(sample_pixels[:60, :90])


@pytest.fixture(scope="module")
def client(tiny_codec):
    with TestClient(serving.create_app(tiny_codec, LIMITS)) as client:
        yield client


# Endpoints ------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [None, 1, 4.5, 8])
def test_compress_answers_the_codecs_bytes(client, tiny_codec, sample_pixels, png, quality):
    query = {} if quality is None else {"quality": quality}
    answer = client.post("/compress", content=png, params=query)
    assert answer.status_code == 200
    assert answer.content == tiny_codec.compress(sample_pixels[:60, :90], quality)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "entropy-coding;dur=" in answer.headers["server-timing"]
    assert "x-gllmm-note" not in answer.headers


def test_decompress_answers_the_codecs_pixels(client, tiny_codec, sample_pixels):
    data = tiny_codec.compress(sample_pixels, 2)
    answer = client.post("/decompress", content=data)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(pixels_of(answer.content), tiny_codec.decompress(data))


def test_alpha_travels_and_changes_are_noted(client, sample_pixels):
    alpha = np.tile(np.arange(90, dtype=np.uint8), (60, 1))[..., None]
    rgba = np.concatenate([sample_pixels[:60, :90], alpha], -1)
    data = client.post("/compress", content=file_of(rgba)).content
    np.testing.assert_array_equal(
        pixels_of(client.post("/decompress", content=data).content)[..., 3:], alpha
    )
    cmyk = io.BytesIO()
    Image.fromarray(sample_pixels[:40, :40]).convert("CMYK").save(cmyk, "JPEG")
    answer = client.post("/compress", content=cmyk.getvalue())
    assert answer.status_code == 200 and "CMYK" in answer.headers["x-gllmm-note"]


def test_health(client, tiny_codec):
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json()["identity"] == tiny_codec.identity.hex()
    assert answer.json()["qualities"] == 8 and answer.json()["default_quality"] == 4
    assert answer.json()["max_pixels"] == LIMITS.pixels


def test_page_loads_nothing(client):
    answer = client.get("/")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.search(r"https?:|@import|import\(|//[a-z]+\.", answer.text)
    assert all(a.startswith("data:") for a in re.findall(r'(?:href|src)="([^"]*)"', answer.text))


def test_metrics_count_what_happened(client, png):
    before = client.get("/metrics").text
    compressed = client.post("/compress", content=png).content
    client.post("/compress", content=b"nothing of the kind")
    client.get("/compress")
    client.get("/somewhere/else")
    answer = client.get("/metrics")
    after = answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")

    def difference(name, **labels):
        return metric(after, name, **labels) - metric(before, name, **labels)

    for status in ("200", "400", "405"):
        assert difference("gllmm_requests_total", endpoint="/compress", status=status) == 1
    assert difference("gllmm_requests_total", endpoint="other", status="404") == 1
    assert difference("gllmm_request_seconds_count", endpoint="/compress") == 3
    assert difference("gllmm_in_bytes_total", endpoint="/compress") == len(png) + 19
    assert difference("gllmm_out_bytes_total", endpoint="/compress") > len(compressed)
    assert metric(after, "gllmm_in_flight", endpoint="/metrics") == 1  # this request itself
    assert metric(after, "gllmm_in_flight", endpoint="/compress") == 0
    assert metric(after, "process_resident_memory_bytes") > 1e6


# Refusals -------------------------------------------------------------------------------------


def bad_requests(png, packed):
    flipped = bytearray(packed)
    flipped[-9] ^= 4
    foreign = bytearray(packed[:-4])
    foreign[7] ^= 1  # model identity, under a right checksum
    foreign += container.zlib.crc32(bytes(foreign)).to_bytes(4, "little")
    noise = np.random.default_rng(1).bytes(500)
    return {
        "cut picture": ("/compress", png[: len(png) // 2], "damaged or cut short"),
        "noise": ("/compress", noise, "not a readable 8-bit picture"),
        "packed already": ("/compress", packed, "did you mean decompress?"),
        "empty": ("/compress", b"", "the body is empty"),
        "no number": ("/compress?quality=high", png, "quality is not a number"),
        "no quality": ("/compress?quality=nan", png, "quality is not a number"),
        "beyond": ("/compress?quality=9", png, "from 1 to 8"),
        "16 bits": ("/compress", file_of(np.zeros([9, 9], np.uint16)), "16-bit"),
        "flipped bit": ("/decompress", bytes(flipped), "checksum"),
        "cut file": ("/decompress", packed[:-5], "checksum"),
        "other model": ("/decompress", bytes(foreign), "written by model"),
        "a picture": ("/decompress", png, "did you mean compress?"),
        "nothing": ("/decompress", b"", "the body is empty"),
    }


@pytest.mark.parametrize("name", bad_requests(b"", bytes(30)))
def test_bad_input_is_refused_with_one_line(client, tiny_codec, sample_pixels, png, name):
    path, body, text = bad_requests(png, tiny_codec.compress(sample_pixels[:40, :40]))[name]
    answer = client.post(path, content=body)
    assert answer.status_code == 400
    assert text in answer.text
    assert answer.text.count("\n") == 1 and answer.text.endswith("\n")
    assert "gllmm-" not in answer.text and "/" not in answer.text.replace("/compress", "")


def test_too_large_is_413(client, tiny_codec):
    body = client.post("/compress", content=bytes(LIMITS.bytes + 1))
    assert body.status_code == 413 and f"{LIMITS.bytes} bytes" in body.text
    large = np.zeros([201, 200, 3], np.uint8)
    for path, data in (
        ("/compress", file_of(large)),
        ("/decompress", tiny_codec.compress(large)),
    ):
        answer = client.post(path, content=data)
        assert answer.status_code == 413 and "201" in answer.text and "40000" in answer.text
    fits = client.post("/compress", content=file_of(np.zeros([200, 200, 3], np.uint8)))
    assert fits.status_code == 200


def test_wrong_methods_and_paths(client):
    assert client.get("/compress").status_code == 405
    assert client.get("/compress").headers["allow"] == "POST"
    assert client.post("/health", content=b"x").status_code == 405
    assert client.post("/page.html", content=b"x").status_code == 404


def test_full_queue_is_503_and_comes_free_again(tiny_codec, png):
    held = HeldCodec(tiny_codec)
    limits = serving.Limits(threads=1, waiting=1)
    with TestClient(serving.create_app(held, limits)) as client:
        statuses = []

        def post():
            statuses.append(client.post("/compress", content=png).status_code)

        threads = [threading.Thread(target=post) for _ in range(2)]
        for thread in threads:
            thread.start()
        in_flight = 'gllmm_in_flight{endpoint="/compress"} 2.0'
        wait_until(lambda: in_flight in client.get("/metrics").text)
        assert held.started.acquire(timeout=PATIENCE)
        answer = client.post("/compress", content=png)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == str(limits.retry_after)
        assert client.get("/health").status_code == 200
        held.release.set()
        for thread in threads:
            thread.join()
        assert statuses == [200, 200]
        assert client.post("/compress", content=png).status_code == 200


def test_timeout_is_504_and_keeps_its_place_until_the_work_ends(tiny_codec, png):
    held = HeldCodec(tiny_codec)
    limits = serving.Limits(seconds=0.4, threads=1, waiting=1)
    with TestClient(serving.create_app(held, limits)) as client:

        def post(quality):
            return client.post(f"/compress?quality={quality}", content=png)

        answer = post(1)
        assert answer.status_code == 504 and "0.4 s" in answer.text
        assert post(2).status_code == 504  # waits behind the one that still runs
        assert post(2).status_code == 504  # finds the place that the one before has given back
        held.release.set()
        wait_until(lambda: post(3).status_code == 200)
        assert held.qualities[0] == 1 and 2 not in held.qualities  # given up and never begun


def test_no_memory_is_503(tiny_codec, png):
    class Exhausted(HeldCodec):
        def encode(self, *arguments):
            raise MemoryError

    with TestClient(serving.create_app(Exhausted(tiny_codec))) as client:
        answer = client.post("/compress", content=png)
    assert answer.status_code == 503 and "memory" in answer.text and answer.headers["retry-after"]


# Real sockets ---------------------------------------------------------------------------------


@contextlib.contextmanager
def running(codec, limits=LIMITS):
    """A server in a thread of this process; yields its port."""
    config = uvicorn.Config(serving.create_app(codec, limits), port=0, log_level="error")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(PATIENCE)


@pytest.fixture(scope="module")
def port(tiny_codec):
    with running(tiny_codec) as port:
        yield port


def connect(port):
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def head(path, *lines):
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: here", *lines, "", ""]).encode()


def read_all(connection):
    data = b""
    while piece := connection.recv(1 << 16):
        data += piece
    return data


def metrics_at(port):
    with connect(port) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        return read_all(connection).decode().split("\r\n\r\n")[1]


def test_declared_size_is_refused_before_the_body(port):
    with connect(port) as connection:
        connection.sendall(head("/compress", f"Content-Length: {10 * LIMITS.bytes}"))
        answer = connection.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 413 ") and b"connection: close" in answer.lower()


def test_endless_body_is_refused_before_its_end(port):
    before = metric(metrics_at(port), "gllmm_in_bytes_total", endpoint="/compress")
    sent = 0
    with connect(port) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(head("/compress", "Transfer-Encoding: chunked"))
        while sent < 100 * middleware.LINGER_BYTES:
            connection.sendall(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
            sent += 1 << 16
    assert sent < 100 * middleware.LINGER_BYTES
    after = metric(metrics_at(port), "gllmm_in_bytes_total", endpoint="/compress")
    assert after - before < LIMITS.bytes + middleware.LINGER_BYTES + (1 << 20)


@pytest.mark.parametrize("path, status", [("/compress", 413), ("/health", 405), ("/nowhere", 404)])
def test_early_answer_reaches_a_client_that_sends_first_and_reads_then(port, path, status):
    body = bytes(LIMITS.bytes + middleware.LINGER_BYTES // 2)
    with connect(port) as connection:
        connection.sendall(head(path, f"Content-Length: {len(body)}"))
        connection.sendall(body)
        assert read_all(connection).startswith(b"HTTP/1.1 %d " % status)


def test_slow_body_is_408(tiny_codec):
    limits = serving.Limits(seconds=0.3, threads=1, waiting=0)
    with running(tiny_codec, limits) as port, connect(port) as connection:
        connection.sendall(head("/compress", "Content-Length: 100") + b"some")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 408 ")


def test_clients_that_hang_up_give_their_places_back(tiny_codec, png):
    held = HeldCodec(tiny_codec)
    with running(held, serving.Limits(threads=1, waiting=1)) as port:
        with connect(port) as first:  # being worked on
            first.sendall(head("/compress", f"Content-Length: {len(png)}") + png)
            assert held.started.acquire(timeout=PATIENCE)
            for part in (png, png[:100]):  # waiting, and in transfer
                with connect(port) as second:
                    second.sendall(head("/compress", f"Content-Length: {len(png)}") + part)
                    text = 'gllmm_in_flight{endpoint="/compress"} 2.0'
                    wait_until(lambda text=text: text in metrics_at(port))
                text = 'gllmm_in_flight{endpoint="/compress"} 1.0'
                wait_until(lambda text=text: text in metrics_at(port))
            held.release.set()
            assert first.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        found = metric(metrics_at(port), "gllmm_requests_total", endpoint="/compress", status=499)
        assert found == 2 and len(held.qualities) == 1


# The command ----------------------------------------------------------------------------------


def command(*arguments, **options):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "gllmm_tf.serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        **options,
    )


def test_command_serves_and_ends_on_sigterm(tiny_model_path, tiny_codec, sample_pixels, png):
    process = command("--port=0", f"--model={tiny_model_path}")
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
                break
        assert found, "".join(lines)
        with connect(int(found[1])) as connection:
            connection.sendall(head("/compress?quality=3", f"Content-Length: {len(png)}"))
            text = 'gllmm_in_flight{endpoint="/compress"} 1.0'
            wait_until(lambda: text in metrics_at(found[1]))
            process.terminate()
            connection.sendall(png)
            answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 200 ")
        data = answer.split(b"\r\n\r\n", 1)[1]
        assert data == tiny_codec.compress(sample_pixels[:60, :90], 3)
        rest = process.communicate(timeout=PATIENCE)[0]
        assert "Finished server process" in rest and "Traceback" not in rest
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def test_command_refuses_a_bad_model_with_one_line():
    process = command("--model=nowhere.npz")
    text = process.communicate(timeout=120)[0]
    assert process.returncode == 1
    assert text.startswith("gllmm_tf.serve: nowhere.npz: ") and text.count("\n") == 1


@pytest.mark.parametrize(
    "flag", ["--port=99999", "--max_bytes=0", "--max_seconds=nan", "--waiting=-1", "picture.png"]
)
def test_command_refuses_bad_flags(flag, capsys):
    with pytest.raises(SystemExit) as error:
        main.parse(["", flag], serving.Limits())
    assert error.value.code == 2 and flag.split("=")[-1] in capsys.readouterr().err


def test_command_takes_limits():
    args = main.parse(["", "--max_bytes=5", "--waiting=0", "--max_seconds=0.5"], serving.Limits())
    assert (args.max_bytes, args.waiting, args.max_seconds) == (5, 0, 0.5)
    assert args.threads == serving.Limits().threads


def test_health_is_json_for_a_fixed_rate_model(tiny_codec):
    class Fixed(HeldCodec):
        num_qualities = None

    app = serving.create_app(Fixed(tiny_codec))
    with TestClient(app) as client:
        found = json.loads(client.get("/health").text)
    assert found["qualities"] is None and found["default_quality"] is None


def test_formats_are_those_that_pictures_are_read_in():
    assert set(serving._FORMATS) == set(images._FORMATS)


# The page -------------------------------------------------------------------------------------


@pytest.mark.skipif(browser.find_browser() is None, reason="no Chromium")
def test_page_in_a_browser(tiny_codec, sample_pixels, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(sample_pixels).save(path)
    assert serve_page_check.check_page(tiny_codec, str(path)).startswith("check passed")
