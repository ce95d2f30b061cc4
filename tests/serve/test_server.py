"""The service on real sockets and as a command, and its page in a browser."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import warnings

import pytest
from PIL import Image

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")
pytest.importorskip("httpx")
uvicorn = pytest.importorskip("uvicorn")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # From 1.0 on Starlette would rather have httpx2 than httpx.

from serve.clients import (  # noqa: E402
    LIMITS,
    PATIENCE,
    HeldCodec,
    file_of,
    metric,
    wait_until,
)

from experiments.common import browser  # noqa: E402
from experiments.systems import serve_page_check  # noqa: E402
from gllmm_tf.serve import __main__ as main  # noqa: E402
from gllmm_tf.serve import app as serving  # noqa: E402
from gllmm_tf.serve import middleware  # noqa: E402
from gllmm_tf.serve.limits import Limits  # noqa: E402


@pytest.fixture(scope="module")
def png(sample_pixels):
    return file_of(sample_pixels[:60, :90])


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
    limits = Limits(seconds=0.3, threads=1, waiting=0)
    with running(tiny_codec, limits) as port, connect(port) as connection:
        connection.sendall(head("/compress", "Content-Length: 100") + b"some")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 408 ")


def test_clients_that_hang_up_give_their_places_back(tiny_codec, png):
    held = HeldCodec(tiny_codec)
    with running(held, Limits(threads=1, waiting=1)) as port:
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
        main.parse(["", flag], Limits())
    assert error.value.code == 2 and flag.split("=")[-1] in capsys.readouterr().err


def test_command_takes_limits():
    args = main.parse(["", "--max_bytes=5", "--waiting=0", "--max_seconds=0.5"], Limits())
    assert (args.max_bytes, args.waiting, args.max_seconds) == (5, 0, 0.5)
    assert args.threads == Limits().threads


@pytest.mark.skipif(browser.find_browser() is None, reason="no Chromium")
def test_page_in_a_browser(tiny_codec, sample_pixels, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(sample_pixels).save(path)
    assert serve_page_check.check_page(tiny_codec, str(path)).startswith("check passed")
