"""The Beam pipeline on the local runner: outputs, skipping by checksum, manifest, counters."""

import dataclasses
import errno
import hashlib
import json
import os
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf
from PIL import Image

pytest.importorskip("apache_beam")

from gllmm_tf import beam as pipeline  # noqa: E402
from gllmm_tf.codec.base import Codec  # noqa: E402
from gllmm_tf.errors import GllmmError, ModelError, OutOfMemoryError  # noqa: E402
from gllmm_tf.files import container  # noqa: E402
from gllmm_tf.zoo import registry  # noqa: E402

QUALITY = 3.0


def write_pictures(folder, pixels):
    """Four pictures and two files that are none."""
    for i, name in enumerate(("a.png", "b.png", "sub/a.png", "sub/deep/c [1].png")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[i : i + 30, : 40 + i]).save(path)
    (folder / "sub" / "cut.png").write_bytes((folder / "a.png").read_bytes()[:200])
    (folder / "note.png").write_text("not a picture")


def settings(folder, model, **changes):
    values = {"quality": QUALITY, "model": model, **changes}
    return pipeline.Settings(str(folder / "in" / "**.png"), str(folder / "out"), **values)


def manifest(folder):
    lines = (folder / "out" / pipeline.MANIFEST).read_text().splitlines()
    return {os.path.relpath(r["input"], folder / "in"): r for r in map(json.loads, lines)}


def state(folder):
    """{output: (bytes, time of change)} of what was compressed."""
    found = (folder / "out").rglob("*.gllmm")
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in found}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, sample_pixels):
    folder = tmp_path_factory.mktemp("beam")
    write_pictures(folder / "in", sample_pixels)
    return folder


@pytest.fixture(scope="module")
def counts(folder, tiny_model_path):
    return pipeline.run(settings(folder, tiny_model_path))


def test_outputs_are_the_codecs(folder, counts, tiny_codec, sample_pixels):
    for i, name in enumerate(("a.png", "b.png", "sub/a.png", "sub/deep/c [1].png")):
        expected = tiny_codec.compress(sample_pixels[i : i + 30, : 40 + i], QUALITY)
        assert (folder / "out" / f"{name}.gllmm").read_bytes() == expected
    assert len(state(folder)) == 4
    assert not (folder / "out" / pipeline.TEMPORARY).exists()


def test_counters_and_manifest(folder, counts, tiny_codec):
    rows = manifest(folder)
    assert len(rows) == 6
    assert counts["compressed"] == 4 and counts["failed"] == 2 and counts["skipped"] == 0
    assert counts["bytes_in"] == sum(p.stat().st_size for p in (folder / "in").rglob("*.png"))
    assert counts["bytes_out"] == sum(len(data) for data, _ in state(folder).values())
    for name, row in rows.items():
        source = folder / "in" / name
        assert row["input_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
        if row["status"] == "compressed":
            data = (folder / "out" / row["output"]).read_bytes()
            assert row["output_sha256"] == hashlib.sha256(data).hexdigest()
            assert row["model"] == tiny_codec.identity.hex() and row["quality"] == QUALITY
    for name, text in (("sub/cut.png", "damaged or cut short"), ("note.png", "not a readable")):
        assert rows[name]["status"] == "failed"
        assert rows[name]["error"].startswith(f"{folder / 'in' / name}: ") and text in str(rows)


def test_second_run_makes_only_what_is_missing_or_changed(
    folder, counts, tiny_model_path, sample_pixels, monkeypatch
):
    before = state(folder)
    chosen = settings(folder, tiny_model_path)
    again = pipeline.run(chosen)
    assert again["skipped"] == 4 and again["failed"] == 2 and again["compressed"] == 0
    assert state(folder) == before
    assert [row["status"] for row in manifest(folder).values()].count("skipped") == 4

    outputs = {pathlib.Path(path).name: pathlib.Path(path) for path in before}
    data = bytearray(outputs["b.png.gllmm"].read_bytes())
    data[-9] ^= 1
    outputs["b.png.gllmm"].write_bytes(data)  # damaged
    outputs["c [1].png.gllmm"].unlink()  # lost
    Image.fromarray(sample_pixels[:20, :20]).save(folder / "in" / "note.png")  # a picture now
    (folder / "out" / pipeline.RECORDS / "sub" / "a.png.json").write_text("{")  # cut short
    third = pipeline.run(chosen)
    assert third["compressed"] == 4 and third["skipped"] == 1 and third["failed"] == 1
    after = state(folder)
    stripped = pipeline.run(dataclasses.replace(chosen, strip="exif,xmp"))
    assert stripped["compressed"] == 5 and stripped["skipped"] == 0
    assert {path: after[path][0] for path in before} == {path: before[path][0] for path in before}
    assert after[str(folder / "out" / "a.png.gllmm")] == before[str(folder / "out" / "a.png.gllmm")]

    other = pipeline.run(settings(folder, tiny_model_path, quality=1.0))
    assert other["compressed"] == 5 and other["skipped"] == 0

    # Refinement is a setting like the quality, and reaches the codec.
    asked = []
    encode = Codec.encode

    def watched(self, *args, **kwargs):
        asked.append(kwargs["refine"])
        return encode(self, *args, **kwargs)

    monkeypatch.setattr(Codec, "encode", watched)
    refined = settings(folder, tiny_model_path, quality=1.0, refine=2)
    assert pipeline.run(refined)["compressed"] == 5 and set(asked) == {2}


def test_targets(tmp_path, tiny_model_path, tiny_codec, sample_pixels):
    """A target is kept and recorded, and another one is other work."""
    (tmp_path / "in").mkdir()
    Image.fromarray(sample_pixels).save(tmp_path / "in" / "a.png")
    limit = len(tiny_codec.compress(sample_pixels, 8)) - 1
    changes = {"quality": None, "target_size": str(limit)}
    run = settings(tmp_path, tiny_model_path, **changes)
    for counter in ("compressed", "skipped"):
        assert pipeline.run(run)[counter] == 1
    record = manifest(tmp_path)["a.png"]
    assert record["bytes_out"] <= limit and record["target"] == {"target_size": str(limit)}
    assert 1 <= record["quality_taken"] < 8
    assert pipeline.run(dataclasses.replace(run, target_size=None))["compressed"] == 1
    with pytest.raises(GllmmError, match="target size is x"):
        pipeline.run(dataclasses.replace(run, target_size="x"))


def test_output_inside_the_input_is_not_taken_for_input(tmp_path, tiny_model_path, sample_pixels):
    Image.fromarray(sample_pixels[:20, :20]).save(tmp_path / "a.png")
    chosen = pipeline.Settings(f"{tmp_path}/**", str(tmp_path / "out"), tiny_model_path)
    assert pipeline.run(chosen)["compressed"] == 1
    again = pipeline.run(chosen)
    assert again["skipped"] == 1 and again["failed"] == 0


def test_what_cannot_start_is_refused_before_anything_is_written(tmp_path, folder, tiny_model_path):
    good = settings(folder, tiny_model_path)
    replaced = dataclasses.replace
    for changes, text in (
        ({"quality": 9.0}, "quality is 9, it must be from 1 to 8"),
        ({"quality": float("nan")}, "quality is nan, it must be from 1 to 8"),
        ({"refine": -1}, "refine is -1, it must be 0 or more"),
        ({"input": f"{tmp_path}/*.png"}, "no file matches"),
    ):
        with pytest.raises((pipeline.PipelineError, ModelError), match=text):
            pipeline.run(replaced(good, output_dir=str(tmp_path / "out"), **changes))
    with pytest.raises(ModelError, match="nowhere"):
        pipeline.run(replaced(good, model="nowhere"))
    assert not list(tmp_path.iterdir())


def test_records_name_the_model_of_each_file(tmp_path, sample_pixels):
    """The default has two; a file made again with the other one is not taken for finished."""
    (tmp_path / "in").mkdir()
    Image.fromarray(sample_pixels[:20, :20]).save(tmp_path / "in" / "a.png")
    wanted = list(registry.names_and_identities().values())
    for quality, identity in ((7.0, wanted[0]), (8.0, wanted[1])):
        run = settings(tmp_path, registry.DEFAULT_ALIAS, quality=quality)
        assert pipeline.run(run)["compressed"] == 1
        assert manifest(tmp_path)["a.png"]["model"] == identity
        data = (tmp_path / "out" / "a.png.gllmm").read_bytes()
        assert container.unpack(data).model_id.hex() == identity
        assert pipeline.run(run)["skipped"] == 1
    run = settings(tmp_path, None, quality=None, target_bpp=20.0)
    pipeline.run(run)
    row = manifest(tmp_path)["a.png"]
    assert row["model"] == "+".join(wanted) and row["model_taken"] == wanted[1]
    assert pipeline.run(run)["skipped"] == 1


EXHAUSTED = {
    "Python": MemoryError(),
    "the system": OSError(errno.ENOMEM, "Cannot allocate memory"),
    "TensorFlow": tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
    "the codec": OutOfMemoryError("not enough memory for coding the latents"),
}


@pytest.mark.parametrize("name", EXHAUSTED)
def test_a_lack_of_memory_is_recorded_as_such_and_tried_again(
    tmp_path, tiny_model_path, sample_pixels, monkeypatch, name
):
    (tmp_path / "in").mkdir()
    Image.fromarray(sample_pixels[:20, :20]).save(tmp_path / "in" / "a.png")

    def fail(self, *args, **kwargs):
        raise EXHAUSTED[name]

    chosen = settings(tmp_path, tiny_model_path)
    with monkeypatch.context() as patch:
        patch.setattr(Codec, "encode", fail)
        assert pipeline.run(chosen)["failed"] == 1
    assert "not enough memory" in manifest(tmp_path)["a.png"]["error"]
    assert pipeline.run(chosen)["compressed"] == 1


@pytest.mark.parametrize(
    "flag, text",
    [("--quality=9", "from 1 to 8 (--quality)"), ("--refine=-2", "0 or more (--refine)")],
)
def test_command_names_the_flag(tmp_path, tiny_model_path, flag, text):
    arguments = [f"--input={tmp_path}/*", f"--output_dir={tmp_path}/out"]
    with pytest.raises(SystemExit) as caught:
        pipeline.main(["", *arguments, f"--model={tiny_model_path}", flag])
    assert caught.value.code.startswith("gllmm_tf.beam: ") and caught.value.code.endswith(text)


def test_command_refuses_with_one_line(tmp_path):
    command = [sys.executable, "-W", "ignore", "-m", "gllmm_tf.beam"]  # Others' warnings, that is.
    command += [f"--input={tmp_path}/*", "--output_dir=x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    # Beam logs a warning of its own where parts of it are not installed.
    lines = [line for line in done.stderr.splitlines() if not line.startswith("WARNING:root:")]
    assert lines == [f"gllmm_tf.beam: {tmp_path}/*: no file matches; quote the pattern"]


def test_flags_of_beam_are_passed_on():
    chosen, rest = pipeline.parse(
        ["", "--input=a*", "--output_dir=b", "--quality=2", "--refine=3", "--runner=X", "-p", "3"]
    )
    assert chosen == pipeline.Settings("a*", "b", None, 2.0, 3)
    assert rest == ["--runner=X", "-p", "3"]
