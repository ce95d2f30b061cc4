"""The service as an application: every endpoint and every refusal."""

import errno
import io
import json
import pathlib
import re
import threading
import warnings

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")
pytest.importorskip("httpx")
uvicorn = pytest.importorskip("uvicorn")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # From 1.0 on Starlette would rather have httpx2 than httpx.
    from starlette.testclient import TestClient

from conftest import ROOT  # noqa: E402
from serve.clients import (  # noqa: E402
    LIMITS,
    PATIENCE,
    HeldCodec,
    file_of,
    metric,
    pixels_of,
    wait_until,
)

from gllmm_tf.codec.scale import Scale  # noqa: E402
from gllmm_tf.config import ModelConfig  # noqa: E402
from gllmm_tf.errors import OutOfMemoryError  # noqa: E402
from gllmm_tf.export import saved_model  # noqa: E402
from gllmm_tf.files import container, pillow_errors  # noqa: E402
from gllmm_tf.serve import __main__ as main  # noqa: E402
from gllmm_tf.serve import app as serving  # noqa: E402
from gllmm_tf.serve.limits import Limits  # noqa: E402
from gllmm_tf.zoo import registry  # noqa: E402


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


@pytest.mark.parametrize("query", ["target_size=LIMIT", "target_bpp=9.5", "target_psnr=5"])
def test_targets(client, tiny_codec, sample_pixels, png, query):
    limit = len(tiny_codec.compress(sample_pixels[:60, :90], 8)) - 1
    query = query.replace("LIMIT", str(limit))
    answer = client.post(f"/compress?{query}", content=png)
    name, _, value = query.partition("=")
    encoded = tiny_codec.encode(sample_pixels[:60, :90], **{name: float(value)})
    assert answer.content == encoded.data
    assert answer.headers["x-gllmm-quality"] == f"{encoded.quality:g}"


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


def test_metadata_travel_unless_they_are_stripped(client, sample_pixels):
    exif = Image.Exif()
    exif[0x10F] = "Maker"
    picture = file_of(sample_pixels[:40, :40], exif=exif)
    for query, kept in (("", True), ("?strip=xmp", True), ("?strip=exif", False)):
        data = client.post(f"/compress{query}", content=picture).content
        png = client.post("/decompress", content=data).content
        with Image.open(io.BytesIO(png)) as image:
            assert (image.getexif().get(0x10F) == "Maker") is kept
    answer = client.post("/compress?strip=gps", content=picture)
    assert answer.status_code == 400 and "cannot strip 'gps'" in answer.text


def test_health(client, tiny_codec):
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json()["identity"] == tiny_codec.identity.hex()
    assert answer.json()["qualities"] == 8 and answer.json()["default_quality"] == 4
    assert answer.json()["lowest_quality"] == 1 and answer.json()["highest_quality"] == 8
    assert answer.json()["max_pixels"] == LIMITS.pixels
    assert [model["identity"] for model in answer.json()["models"]] == [tiny_codec.identity.hex()]


def test_health_names_all_models_of_a_scale(tiny_codec, monkeypatch):
    higher = registry.Continuation("gllmm-n48", above=6.0, highest=10)
    monkeypatch.setattr(tiny_codec, "scale", Scale(tiny_codec.config, higher))
    with TestClient(serving.create_app(tiny_codec, LIMITS)) as client:
        answer = client.get("/health").json()
    assert (answer["qualities"], answer["highest_quality"]) == (10, 10)
    assert answer["models"][0]["identity"] == answer["identity"] == tiny_codec.identity.hex()
    assert answer["models"][1:] == [
        {"model": "gllmm-n48", "identity": registry.RELEASED["gllmm-n48"]}
    ]


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
        "noise": ("/compress", noise, "not a readable picture"),
        "packed already": ("/compress", packed, "did you mean decompress?"),
        "empty": ("/compress", b"", "the body is empty"),
        "no number": ("/compress?quality=high", png, "quality is not a number"),
        "no quality": ("/compress?quality=nan", png, "quality is not a number"),
        "beyond": ("/compress?quality=9", png, "from 1 to 8"),
        "no size": ("/compress?target_size=small", png, "target size is small"),
        "no rate": ("/compress?target_bpp=nan", png, "target bpp is nan"),
        "two aims": ("/compress?target_bpp=1&quality=2", png, "the target chooses the quality"),
        "too few bytes": ("/compress?target_size=20", png, "cannot be held in 20 bytes"),
        "32 bits": ("/compress", file_of(np.zeros([9, 9], np.int32), "TIFF"), "32-bit"),
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
    limits = Limits(threads=1, waiting=1)
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
    limits = Limits(seconds=0.4, threads=1, waiting=1)
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


EXHAUSTED = {
    "Python": MemoryError(),
    "the system": OSError(errno.ENOMEM, "Cannot allocate memory"),
    "TensorFlow": tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
    "the codec": OutOfMemoryError("not enough memory for decoding the latents"),
}


@pytest.mark.parametrize("path", ["/compress", "/decompress"])
@pytest.mark.parametrize("name", EXHAUSTED)
def test_no_memory_is_503(tiny_codec, sample_pixels, png, path, name):
    """Not the client's fault, in whatever words it is said."""

    class Exhausted(HeldCodec):
        def encode(self, *arguments, **options):
            raise EXHAUSTED[name]

        decode = encode

    body = png if path == "/compress" else tiny_codec.compress(sample_pixels[:20, :20])
    with TestClient(serving.create_app(Exhausted(tiny_codec))) as client:
        answer = client.post(path, content=body)
        assert answer.status_code == 503 and "not enough memory" in answer.text
        assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("body", ["picture", "cut short"])
def test_no_memory_for_reading_a_picture_is_503(client, png, monkeypatch, body):
    """Pillow's libraries may call it damage; what is damaged stays 400 while there is memory."""
    body = png if body == "picture" else png[:200]
    expected = 200 if body == png else 400
    assert client.post("/compress", content=body).status_code == expected
    empty = np.empty

    def too_little(shape, *args, **kwargs):
        if np.prod(shape) >= pillow_errors.LEAST or shape == (60, 90, 3):
            raise MemoryError
        return empty(shape, *args, **kwargs)

    monkeypatch.setattr(np, "empty", too_little)
    answer = client.post("/compress", content=body)
    assert answer.status_code == 503 and "not enough memory" in answer.text
    assert answer.headers["retry-after"]


def test_the_page_of_documentation_states_the_limits_and_the_memory_they_mean():
    page = pathlib.Path(ROOT, "docs", "serving.md").read_text()
    default = main.parse([""], Limits())
    for flag, value in (
        ("max_bytes", f"{default.max_bytes >> 20} MiB"),
        ("max_pixels", f"{default.max_pixels / 1e6:.1f} million"),
        ("max_seconds", f"{default.max_seconds:g}"),
        ("threads", default.threads),
        ("waiting", default.waiting),
        ("connections", default.connections),
    ):
        assert f"| `--{flag}` | {value} |" in page
    measured = pathlib.Path(ROOT, "experiments", "results", "serve_memory.json")
    found = json.loads(measured.read_text())
    assert (found["pixels"], found["threads"]) == (default.max_pixels, default.threads)
    text = " ".join(page.split())
    assert f"{found['rest_mb'] / 1e3:.1f} GB at rest" in text
    assert f"at most {max(found['peak_mb'].values()) / 1e3:.1f} GB" in text


def test_the_limits_are_those_of_a_new_service(tiny_codec):
    with TestClient(serving.create_app(tiny_codec)) as client:
        health = client.get("/health").json()
    assert health["max_pixels"] == Limits().pixels == saved_model.MAX_PIXELS
    assert health["max_bytes"] == Limits().bytes and health["max_seconds"] == Limits().seconds


def test_health_is_json_for_a_fixed_rate_model(tiny_codec):
    class Fixed(HeldCodec):
        config = ModelConfig(num_filters=8)
        qualities, num_qualities = config.qualities, config.num_qualities

    app = serving.create_app(Fixed(tiny_codec))
    with TestClient(app) as client:
        found = json.loads(client.get("/health").text)
    assert found["qualities"] is None and found["default_quality"] is None
    assert found["lowest_quality"] is None and found["highest_quality"] is None


# Forms and parameters -------------------------------------------------------------------------


def test_a_form_is_as_good_as_the_file(client, tiny_codec, sample_pixels, png):
    data = tiny_codec.compress(sample_pixels[:60, :90], 2.5)
    file = {"file": ("a.png", png, "image/png")}
    for query, fields in (({}, {"quality": "2.5"}), ({"quality": 2.5}, {})):
        answer = client.post("/compress", files=file, data=fields, params=query)
        assert (answer.status_code, answer.content) == (200, data)
    answer = client.post("/decompress", files={"any": ("a.gllmm", data)})
    np.testing.assert_array_equal(pixels_of(answer.content), tiny_codec.decompress(data))


@pytest.mark.parametrize(
    "path, words",
    [
        ("/compress?q=4", "unknown parameter 'q': known are quality"),
        ("/compress?quality=4&size=9", "unknown parameter 'size': known are quality"),
        ("/compress?quality=4&quality=4", "quality is given twice"),
        ("/decompress?quality=4", "unknown parameter 'quality': known are none"),
    ],
)
def test_unknown_parameters_are_refused(client, png, path, words):
    answer = client.post(path, content=png)
    assert answer.status_code == 400 and words in answer.text and answer.text.count("\n") == 1


def test_strips_are_refused_by_their_work(client, tiny_codec):
    strip = np.zeros([1, LIMITS.pixels // 2], np.uint8)
    for path, body in (
        ("/compress", file_of(strip)),
        ("/decompress", tiny_codec.compress(np.stack([strip[:, :1000]] * 3, -1))),
    ):
        answer = client.post(path, content=body)
        assert answer.status_code == 413 and "a side has at least 64" in answer.text


def test_memory_that_does_not_suffice_is_503(tiny_codec, png):
    small = type(tiny_codec)(tiny_codec.model_file, memory=10**5)
    with TestClient(serving.create_app(small, LIMITS)) as client:
        assert client.post("/compress", content=png).status_code == 200

    class Narrow(HeldCodec):
        def encode(self, image, quality, *, metadata):
            narrow = type(tiny_codec)(tiny_codec.model_file, memory=20)
            return narrow.encode(image, quality, metadata=metadata)

    with TestClient(serving.create_app(Narrow(tiny_codec), LIMITS)) as client:
        answer = client.post("/compress", content=png)
        assert answer.status_code == 503 and "not enough memory" in answer.text
        assert "retry-after" in answer.headers
