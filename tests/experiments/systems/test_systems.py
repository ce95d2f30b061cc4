"""Programs that try whole systems: what they ask for, and that they see what is wrong."""

import collections
import json

import numpy as np
import pytest
from PIL import Image

from experiments.common.program import ExperimentError
from experiments.systems import (
    beam_kill,
    round_trip,
    serve_hostile,
    serve_load,
    serve_memory,
    serve_requests,
)
from gllmm_tf.files.images import read_image
from gllmm_tf.serve.limits import Limits


def test_files_decode_in_another_process(tiny_codec, tiny_model_path, sample_pixels, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(sample_pixels).save(path)
    expected = round_trip.encode(tiny_codec, [str(path)], [1.0, 6.5], str(tmp_path))
    assert len(expected) == 2
    round_trip.decode(list(expected), tiny_model_path, str(tmp_path))
    for name, pixels in expected.items():
        np.testing.assert_array_equal(read_image(round_trip.picture_of(name)).pixels, pixels)
    with pytest.raises(ExperimentError, match="none.gllmm"):
        round_trip.decode([str(tmp_path / "none.gllmm")], tiny_model_path, str(tmp_path))


@pytest.fixture(scope="module")
def requests(tiny_codec):
    return serve_requests.mix(tiny_codec, 120, seed=1)


def test_requests_are_of_every_kind(requests, tiny_codec):
    assert len(requests) == 120
    kinds = collections.Counter(request.kind for request in requests)
    assert {"compress PNG", "decompress", "tampered file", "hang up: at work", "page"} <= set(kinds)
    statuses = {request.status for request in requests}
    assert statuses == {200, 400, 404, 405, 413, None}
    again = serve_requests.mix(tiny_codec, 120, seed=1)
    assert [r.body for r in requests] == [r.body for r in again]


def test_checks_tell_right_answers_from_wrong_ones(requests, tiny_codec):
    for request in requests:
        if request.kind == "decompress":
            x_hat = tiny_codec.decompress(request.body)
            assert request.check(serve_requests.as_file(x_hat, "PNG"))
            assert not request.check(serve_requests.as_file(x_hat ^ 1, "PNG"))
            break
    line = serve_requests.one_line("damaged")
    assert line(b"a.png: damaged\n")
    assert not line(b"a.png: fine\n") and not line(b"damaged\n\n") and not line(b"damaged")
    right = serve_requests.Request("k", "POST", "/", b"", 400, line)
    assert serve_load.is_right(right, 400, b"damaged\n")
    assert not serve_load.is_right(right, 200, b"damaged\n")


def metrics_text(**counts):
    return "".join(
        f'gllmm_requests_total{{endpoint="/compress",status="{status[1:]}"}} {count}.0\n'
        for status, count in counts.items()
    )


def test_counts_of_service_and_clients_are_compared():
    seen = serve_load.Seen()
    seen.statuses.update({("a", 200): 5, ("b", 400): 2, ("c", serve_load.HANG_UP): 1})
    assert serve_load.compare_counts(metrics_text(_200=5, _400=2, _499=1), seen) == []
    assert serve_load.compare_counts(metrics_text(_200=6, _400=2), seen) == []  # it was quick
    (fault,) = serve_load.compare_counts(metrics_text(_200=5, _400=1, _499=1), seen)
    assert fault == "status 400: the service counts 1, the clients 2"
    (fault,) = serve_load.compare_counts(metrics_text(_200=5, _400=2), seen)
    assert fault.startswith("of (200, 499, 503)")


def test_memory_is_the_peak_of_each_quarter():
    samples = [(0, 10.0), (24, 30.0), (25, 20.0), (60, 25.0), (99, 40.0), (100, 99.0)]
    assert serve_load.quarters(samples, 100) == [30.0, 20.0, 25.0, 40.0]


def test_three_pictures_of_the_pipeline_are_damaged(tmp_path):
    pictures = beam_kill.draw_pictures(tmp_path / "in", 12)
    assert len(pictures) == 12
    for name, pixels in pictures.items():
        if pixels is None:
            continue
        np.testing.assert_array_equal(read_image(tmp_path / "in" / name).pixels, pixels)
    assert sum(pixels is None for pixels in pictures.values()) == 3


def test_faults_of_the_manifest_are_found(tmp_path):
    pictures = {"even/a.png": np.zeros((4, 4, 3)), "odd/b.png": None}
    rows = []
    for name in pictures:
        source = tmp_path / "in" / name
        target = tmp_path / "out" / f"{name}.gllmm"
        for path in (source, target):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        rows.append(
            {
                "input": str(source),
                "output": f"{name}.gllmm",
                "input_sha256": beam_kill.sha256(source),
                "output_sha256": beam_kill.sha256(target),
                "status": "failed" if pictures[name] is None else "compressed",
                "error": "no picture",
            }
        )

    def faults(changes=None, text="compressed 1, failed 1"):
        lines = [json.dumps({**row, **(changes or {})}) for row in rows]
        (tmp_path / "out" / "manifest.jsonl").write_text("\n".join(lines))
        return beam_kill.faults_of_records(tmp_path, pictures, [], text)

    assert faults() == []
    assert any("not compressed" in fault for fault in faults({"status": "skipped"}))
    assert faults({"input_sha256": "00"}) == [f"{n}: wrong checksum of the input" for n in pictures]
    assert faults({"error": ""}) == ["odd/b.png: failed without a reason"]
    assert any("counters do not say failed 1" in f for f in faults(text="compressed 1, failed 2"))


@pytest.mark.parametrize("num_pixels", [1, 1000, 1 << 20])
def test_the_largest_picture_that_is_accepted(num_pixels):
    height, width, channels = serve_memory.picture_of(num_pixels, 1).shape
    assert channels == 3 and 0.98 * num_pixels < height * width <= num_pixels


def test_the_service_under_hostile_clients(tiny_codec, tiny_model_path):
    """experiments.systems.serve_load in small: 8 clients, a third of their requests hostile."""
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    pytest.importorskip("prometheus_client")
    hostile = serve_hostile.hostile_requests(tiny_codec, np.random.default_rng(1), seconds=10)
    requests = serve_requests.mix(tiny_codec, 3 * len(hostile), 1, hostile)
    assert set(hostile) <= set(requests)
    seen = serve_load.Seen()
    service, _, faults = serve_load.load(tiny_model_path, requests, 8, seen, seconds=10)
    assert faults == []
    assert max(size for _, size in service.samples) < Limits().memory
    assert max(max(times) for times in seen.seconds.values()) < 10 + serve_load.GRACE
