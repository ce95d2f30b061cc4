"""Forms and parameters: what curl -F and browsers send, and what has to be refused."""

import pytest

pytest.importorskip("starlette")
from starlette.exceptions import HTTPException  # noqa: E402

from gllmm_tf.serve import forms  # noqa: E402

FILE = b'Content-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png'
FIELD = b'Content-Disposition: form-data; name="quality"'


def form(*parts, mark=b"--x y", end=b"--\r\n"):
    body = b"".join(
        mark + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for head, content in parts
    )
    return body + mark + end


def unpack(tmp_path, body, given=None, known=("quality",), boundary=b"x y"):
    (tmp_path / "body").write_bytes(body)
    found = forms.unpack(str(tmp_path / "body"), boundary, given or {}, known)
    return found, (tmp_path / "body").read_bytes()


@pytest.mark.parametrize(
    "content", [b"a", b"\r\n", b"--x", b"\r\n--x", b"a\r\n\r\nb" * 999, b"-" * 70]
)
@pytest.mark.parametrize("before", [b"", b"preamble\r\n"])
def test_the_file_comes_out(tmp_path, content, before):
    assert unpack(tmp_path, before + form((FILE, content))) == ({}, content)
    found = unpack(tmp_path, before + form((FIELD, b"2.5"), (FILE, content)))
    assert found == ({"quality": "2.5"}, content)
    found = unpack(tmp_path, before + form((FILE, content), (FIELD, b"3")) + b"epilogue")
    assert found == ({"quality": "3"}, content)


@pytest.mark.parametrize(
    "body, given, words",
    [
        (form(), {}, "0 files"),
        (form((FIELD, b"3")), {}, "0 files"),
        (form((FILE, b"a"), (FILE, b"b")), {}, "2 files"),
        (form((FILE, b"")), {}, "empty"),
        (form((FILE, b"a"), (FIELD, b"3")), {"quality": "3"}, "quality is given twice"),
        (form((FILE, b"a"), (FIELD, b"3"), (FIELD, b"3")), {}, "quality is given twice"),
        (
            form((FILE, b"a"), (FIELD.replace(b"qua", b"que"), b"3")),
            {},
            "'quelity': known are quality",
        ),
        (form((FILE, b"a"), (FIELD, b"3" * 65)), {}, "no file"),
        (form((FILE, b"a"))[:-9], {}, "damaged or cut short"),
        (form((FILE, b"a"), end=b""), {}, "damaged or cut short"),
        (form((FILE + b"x" * forms.HEADERS, b"a")), {}, "damaged or cut short"),
        (b"no form", {}, "damaged or cut short"),
    ],
)
def test_what_is_refused(tmp_path, body, given, words):
    with pytest.raises(HTTPException, match=words) as error:
        unpack(tmp_path, body, given)
    assert error.value.status_code == 400


@pytest.mark.parametrize(
    "content_type, boundary",
    [
        ("", None),
        ("image/png", None),
        ("application/x-www-form-urlencoded", None),
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data; charset=utf-8; Boundary="a b;c"', b"a b;c"),
    ],
)
def test_boundaries(content_type, boundary):
    assert forms.boundary_of(content_type) == boundary


@pytest.mark.parametrize("rest", ["", "; boundary=", f"; boundary={'x' * 71} "])
def test_a_form_without_a_boundary(rest):
    with pytest.raises(HTTPException, match="boundary"):
        assert forms.boundary_of(f"multipart/form-data{rest}") == b"x" * 70


def test_parameters():
    assert forms.parameters([("quality", "4")], ["quality"]) == {"quality": "4"}
    with pytest.raises(HTTPException, match="unknown parameter 'q': known are quality"):
        forms.parameters([("q", "4")], ["quality"])
    with pytest.raises(HTTPException, match="known are none"):
        forms.parameters([("q", "4")], [])
