"""The beginning of a file says the same as the whole of it."""

import io

import pytest

from gllmm_tf.errors import FormatError
from gllmm_tf.files import container, header

METADATA = {1: b"profile" * 40, 2: b"", 200: b"unknown"}


def packed(**changes):
    fields = dict(
        model_id=bytes(range(8)),
        width=70000,
        height=1,
        quality_index=56,
        z_stream=b"z" * 300,
        y_stream=b"y" * 9,
        metadata=METADATA,
    )
    return container.pack(container.Container(**{**fields, **changes}))


@pytest.mark.parametrize("metadata", [{}, METADATA])
def test_header_is_that_of_the_container(metadata):
    data = packed(metadata=metadata)
    file = io.BytesIO(b"before" + data)
    file.seek(6)
    found, whole = header.read_header(file), container.unpack(data)
    for name in ("width", "height", "quality_index", "model_id"):
        assert getattr(found, name) == getattr(whole, name)
    assert {tag: header.read_payload(file, found, tag) for tag in found.metadata} == metadata
    assert header.read_payload(file, found, 9) is None


def test_every_cut_is_refused_and_no_more_is_read():
    data = packed()
    end = len(data) - 300 - 9 - 4
    for size in range(len(data)):
        file = io.BytesIO(data[:size])
        if size < end:
            with pytest.raises(FormatError, match="empty|cut short"):
                header.read_header(file)
        else:
            assert header.read_header(file).width == 70000
            assert file.tell() == end
