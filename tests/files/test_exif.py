"""EXIF data and XMP: kept, true of the pixels as they come out, written back, or stripped."""

import io
import struct
import zlib

import numpy as np
import pytest
from files.pictures import pixels_of
from PIL import Image

from gllmm_tf.errors import FormatError, ImageError
from gllmm_tf.files import exif
from gllmm_tf.files.container import TAG_EXIF, TAG_GREY, TAG_ICC, TAG_XMP
from gllmm_tf.files.images import LEFT_OUT, read_image, write_image
from gllmm_tf.files.metadata import crop_metadata

ORIENTATION, MAKE, ARTIST, COPYRIGHT, EXIF_IFD, GPS_IFD = (
    0x112,
    0x10F,
    0x13B,
    0x8298,
    0x8769,
    0x8825,
)
MAKER_NOTE, WIDTH, HEIGHT = 0x927C, 0xA002, 0xA003
XMP = (
    b'<?xpacket begin=""?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description '
    b'tiff:Orientation="6" dc:title="A title"/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
UPRIGHT_XMP = XMP.replace(b'"6"', b'"1"')


def exif_block(order="<", orientation=6, thumbnail=b"", make=b"Maker\0"):
    """EXIF data from scratch: IFD0, the EXIF and GPS directories, and a thumbnail's."""

    def directory(at, entries, following=0):
        """Bytes of a directory at this place, whose long values come behind it."""
        values_at = at + 2 + 12 * len(entries) + 4
        table, values = struct.pack(order + "H", len(entries)), b""
        for tag, kind, value in entries:
            if isinstance(value, bytes):
                count, place = len(value), struct.pack(order + "I", values_at + len(values))
                if len(value) <= 4:
                    place = value.ljust(4, b"\0")
                else:
                    values += value + bytes(len(value) % 2)
            else:
                count = 1
                place = struct.pack(order + ("HH" if kind == 3 else "I"), *[value, 0][: 5 - kind])
            table += struct.pack(order + "HHI", tag, kind, count) + place
        return table + struct.pack(order + "I", following) + values

    def whole(exif_at, gps_at, next_at, thumbnail_at):
        main = [(MAKE, 2, make), (ORIENTATION, 3, orientation), (ARTIST, 2, b"An artist\0"),
                (EXIF_IFD, 4, exif_at), (GPS_IFD, 4, gps_at)]  # fmt: skip
        parts = [directory(8, main, next_at)]
        parts.append(
            directory(
                exif_at, [(MAKER_NOTE, 7, b"notes of the maker"), (WIDTH, 4, 30), (HEIGHT, 3, 20)]
            )
        )
        parts.append(directory(gps_at, [(1, 2, b"N\0"), (29, 2, b"2026:01:01\0")]))
        if thumbnail:
            entries = [(0x103, 3, 6), (0x201, 4, thumbnail_at), (0x202, 4, len(thumbnail))]
            parts += [directory(next_at, entries), thumbnail]
        return parts

    places = [0, 0, 0, 0]
    for _ in range(2):
        parts = whole(*places)
        ends = 8 + np.cumsum([len(part) for part in parts])
        places = [int(ends[i]) if i < len(ends) - (not thumbnail) else 0 for i in (0, 1, 2, 3)]
        places[2] = places[2] if thumbnail else 0
        places[1] = int(ends[1])
    header = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    return header + b"".join(whole(*places))


def kept(picture):
    return Image.open(io.BytesIO(zlib_png(zlib.decompress(picture.metadata[TAG_EXIF])))).getexif()


def zlib_png(block):
    """A PNG file with these EXIF data, for Pillow to read them."""
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG", exif=block)
    return file.getvalue()


def saved(path, image, block=None, xmp=None):
    """Writes a picture with EXIF data and XMP by means of this package."""
    metadata = {}
    if block:
        metadata[TAG_EXIF] = zlib.compress(block)
    if xmp:
        metadata[TAG_XMP] = zlib.compress(xmp)
    return write_image(path, np.array(image), metadata)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("thumbnail", [b"", b"\xff\xd8 a thumbnail \xff\xd9" * 50])
@pytest.mark.parametrize("extension", ["png", "jpg", "webp"])
def test_exif_is_kept_and_true(tmp_path, rgb, order, thumbnail, extension):
    path = tmp_path / f"a.{extension}"
    block = exif_block(order, thumbnail=thumbnail)
    rgb.save(path, exif=b"Exif\0\0" + block)
    stored = pixels_of(Image.open(path))
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, np.rot90(stored, -1))
    tags = kept(picture)
    assert (tags[MAKE], tags[ARTIST], tags[ORIENTATION]) == ("Maker", "An artist", 1)
    inner = tags.get_ifd(EXIF_IFD)
    assert inner[MAKER_NOTE] == b"notes of the maker"
    assert (inner[WIDTH], inner[HEIGHT]) == (20, 30)
    assert tags.get_ifd(GPS_IFD)[29] == "2026:01:01"
    assert not tags.get_ifd(1)  # the thumbnail's
    left_out = [note for note in picture.notes if note.startswith(LEFT_OUT)]
    assert left_out == [f"{LEFT_OUT}: thumbnail of its EXIF data"] * bool(thumbnail)
    data = zlib.decompress(picture.metadata[TAG_EXIF])
    assert len(data) <= len(exif_block(order)) and b"thumbnail" not in data


def test_exif_of_tiff(tmp_path, rgb):
    tags = {MAKE: "Maker", COPYRIGHT: "Someone", ORIENTATION: 8}
    rgb.save(tmp_path / "a.tif", tiffinfo=tags, compression="tiff_lzw")
    picture = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.pixels, np.rot90(pixels_of(rgb)))
    tags = kept(picture)
    assert (tags[MAKE], tags[COPYRIGHT], tags.get(ORIENTATION, 1)) == ("Maker", "Someone", 1)


@pytest.mark.parametrize("source", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("target", ["png", "jpg", "webp", "tif"])
def test_exif_and_xmp_are_written_back(tmp_path, rgb, source, target):
    saved(tmp_path / f"a.{source}", rgb, exif_block(orientation=1), UPRIGHT_XMP)
    picture = read_image(tmp_path / f"a.{source}")
    assert not picture.notes
    assert zlib.decompress(picture.metadata[TAG_XMP]) == UPRIGHT_XMP
    assert write_image(tmp_path / f"b.{target}", picture.pixels, picture.metadata) == ()
    again = read_image(tmp_path / f"b.{target}")
    assert zlib.decompress(again.metadata[TAG_XMP]) == UPRIGHT_XMP
    tags = kept(again)
    assert (tags[MAKE], tags[ARTIST]) == ("Maker", "An artist")
    assert tags.get_ifd(GPS_IFD)[29] == "2026:01:01"
    with Image.open(tmp_path / f"b.{target}") as image:  # as others see it
        assert image.getexif()[ARTIST] == "An artist"


def test_rationals_are_swapped(tmp_path, rgb):
    """Big-endian EXIF data in a little-endian TIFF file."""
    tags = Image.Exif()
    tags.endian = ">"
    tags[0x011A], tags[0x9C9B] = 300.5, "Title".encode("utf-16-le")
    saved(tmp_path / "a.tif", rgb, tags.tobytes()[6:])
    with Image.open(tmp_path / "a.tif") as image:
        assert float(image.tag_v2[0x011A]) == 300.5
    assert float(kept(read_image(tmp_path / "a.tif"))[0x011A]) == 300.5


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "tif"])
def test_orientation_of_xmp_alone(tmp_path, rgb, extension):
    path = tmp_path / f"a.{extension}"
    saved(path, rgb, None, XMP)
    stored = pixels_of(Image.open(path))
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, np.rot90(stored, -1))
    assert zlib.decompress(picture.metadata[TAG_XMP]) == UPRIGHT_XMP


@pytest.mark.parametrize(
    "strip, tags",
    [
        ("exif", {TAG_XMP, TAG_ICC}),
        ("XMP, icc", {TAG_EXIF}),
        (["exif", "xmp"], {TAG_ICC}),
        ("all", set()),
        ("", {TAG_EXIF, TAG_XMP, TAG_ICC}),
        ((), {TAG_EXIF, TAG_XMP, TAG_ICC}),
    ],
)
def test_strip(tmp_path, rgb, wide_profile, strip, tags):
    path = tmp_path / "a.png"
    metadata = {
        TAG_EXIF: zlib.compress(exif_block()),
        TAG_XMP: zlib.compress(XMP),
        TAG_ICC: zlib.compress(wide_profile),
    }
    write_image(path, pixels_of(rgb), metadata)
    picture = read_image(path, strip=strip)
    assert set(picture.metadata) == tags
    assert picture.pixels.shape == (30, 20, 3)  # It is upright whatever is stripped.


def test_region_of_a_picture_has_its_own_size(tmp_path, rgb):
    metadata = {TAG_EXIF: zlib.compress(exif_block(orientation=1)), TAG_XMP: zlib.compress(XMP)}
    beside = crop_metadata(metadata, rgb.size, (2, 3, 11, 7))
    assert beside[TAG_XMP] == metadata[TAG_XMP]
    write_image(tmp_path / "b.png", pixels_of(rgb)[3:10, 2:13], beside)
    with Image.open(tmp_path / "b.png") as image:
        inner = image.getexif().get_ifd(EXIF_IFD)
    assert (inner[WIDTH], inner[HEIGHT]) == (11, 7)
    unknown = {TAG_EXIF: zlib.compress(b"not EXIF")}
    assert crop_metadata(unknown, rgb.size, (0, 0, 1, 1)) == unknown


@pytest.mark.parametrize("strip", [None, 5, {"exif": 1}])
def test_strip_of_a_wrong_kind(tmp_path, rgb, strip):
    rgb.save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="give names of metadata"):
        read_image(tmp_path / "a.png", strip=strip)


def test_strip_what_there_is_not(tmp_path, rgb):
    rgb.save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="cannot strip 'gps'; give some of exif, xmp, icc or all"):
        read_image(tmp_path / "a.png", strip="exif,gps")


def test_damaged_exif(tmp_path, rgb):
    """Any one byte changed, any length: an answer, and the picture."""
    block = exif_block(thumbnail=b"thumbnail" * 9)
    rng = np.random.default_rng(5)
    for i in range(400):
        mutant = bytearray(block[: rng.integers(len(block))] if i % 4 == 0 else block)
        for at in rng.integers(0, max(1, len(mutant)), 2):
            if mutant:
                mutant[at] = rng.integers(256)
        try:
            data, _ = exif.of_upright_pixels(bytes(mutant), (30, 20))
            assert 1 <= exif.orientation_of(bytes(mutant), None) <= 8
        except ValueError:
            continue
        assert len(data) <= len(mutant)
    rgb.save(tmp_path / "a.png", exif=b"Exif\0\0" + block[:20])
    picture = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, pixels_of(rgb))
    assert "unreadable EXIF data" in picture.note


def test_directories_in_a_ring():
    block = bytearray(exif_block())
    at = block.index(struct.pack("<HHI", EXIF_IFD, 4, 1)) + 8
    block[at : at + 4] = struct.pack("<I", 8)
    assert exif.of_upright_pixels(bytes(block), (30, 20))[0]


@pytest.mark.parametrize("name", ["b.bmp", "b.ppm"])
def test_formats_without_a_place_for_them_say_so(tmp_path, rgb, name):
    notes = saved(tmp_path / name, rgb, exif_block(), XMP)
    assert len(notes) == 2 and all(note.startswith(f"{LEFT_OUT}: ") for note in notes)
    np.testing.assert_array_equal(read_image(tmp_path / name).pixels, pixels_of(rgb))


def test_what_is_too_large_for_jpeg(tmp_path, rgb):
    notes = saved(tmp_path / "b.jpg", rgb, exif_block(), XMP + bytes(70_000))
    assert notes == (f"{LEFT_OUT}: XMP packet, too large for JPEG",)
    assert read_image(tmp_path / "b.jpg").metadata.keys() == {TAG_EXIF}


def test_structure_in_exif_does_not_break_tiff(tmp_path, rgb):
    """Telephones write the size of the stored picture into the first directory."""
    block = exif_block()
    for tag in (0x0100, 0x0101, 0x0103, 0x0111):
        changed = block.replace(
            struct.pack("<HHI", ORIENTATION, 3, 1), struct.pack("<HHI", tag, 3, 1)
        )
        saved(tmp_path / "b.tif", rgb, changed)
        np.testing.assert_array_equal(read_image(tmp_path / "b.tif").pixels, pixels_of(rgb))


@pytest.mark.parametrize("tag", [TAG_EXIF, TAG_XMP])
@pytest.mark.parametrize("payload", [b"no stream", zlib.compress(bytes((1 << 24) + 1))])
def test_damaged_payload(tmp_path, rgb, tag, payload):
    with pytest.raises(FormatError, match="damaged"):
        write_image(tmp_path / "b.png", pixels_of(rgb), {tag: payload})


def test_comments_and_iptc_are_left_out_with_a_note(tmp_path, rgb):
    file = io.BytesIO()
    rgb.save(file, "JPEG", comment=b"hello")
    data = file.getvalue()
    iptc = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\0"
    data = data[:2] + b"\xff\xed" + struct.pack(">H", 2 + len(iptc)) + iptc + data[2:]
    (tmp_path / "a.jpg").write_bytes(data)
    rgb.save(tmp_path / "a.gif", comment=b"hello")
    rgb.save(tmp_path / "a.tif", tiffinfo={33550: (1.0, 1.0, 0.0)})
    assert set(read_image(tmp_path / "a.jpg").notes) == {
        f"{LEFT_OUT}: comment",
        f"{LEFT_OUT}: IPTC and Photoshop data",
    }
    assert f"{LEFT_OUT}: comment" in read_image(tmp_path / "a.gif").notes
    assert read_image(tmp_path / "a.tif").notes == (f"{LEFT_OUT}: TIFF tag 33550",)


@pytest.mark.parametrize("name, mode", [("b.png", "L"), ("b.jpg", "L"), ("b.tif", "L"), ("b.bmp", "L"),
                                        ("b.webp", "RGB"), ("b.ppm", "RGB")])  # fmt: skip
def test_grey_is_written_as_grey(tmp_path, rgb, name, mode):
    grey = pixels_of(rgb.convert("L"))
    write_image(tmp_path / name, grey, {TAG_GREY: b""})
    with Image.open(tmp_path / name) as image:
        assert image.mode == mode
    write_image(tmp_path / name, pixels_of(rgb), {TAG_GREY: b""})  # which is not true
    with Image.open(tmp_path / name) as image:
        assert image.mode == "RGB"
