"""Which files a command line names."""

import argparse
import io
import os
import pathlib
import sys

import pytest

from gllmm_tf.cli import inputs
from gllmm_tf.cli.job import Abort

PICTURES = (".png", ".jpg")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Folders of empty files."""
    monkeypatch.chdir(tmp_path)
    names = (
        "a.png b.jpg photo1.png notes.txt in/a.png in/B.JPG in/sub/c.png in/sub/c.gllmm "
        "dir[1]/x.png dir1/y.png in/deep/er/d.jpg"
    )
    for name in names.split():
        path = pathlib.Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def gather(*names, **options):
    """(paths, places below the output folder)."""
    args = argparse.Namespace(inputs=list(names), **options)
    found = inputs.gather(args, PICTURES)
    return [one.path for one in found], [one.kept for one in found]


@pytest.mark.parametrize(
    "names, found",
    [
        (["a.png", "./a.png", "in/../a.png"], ["a.png"]),
        (["in//a.png", "in/a.png", "a.png"], ["in//a.png", "a.png"]),
        (["*.png", "a.png", "b.jpg"], ["a.png", "photo1.png", "b.jpg"]),
        (["photo[1].png"], ["photo[1].png"]),  # is not there, and is no pattern for photo1.png
        (["[ab].png", "gone.png"], ["[ab].png", "gone.png"]),
        (["dir[1]/*.png"], ["dir[1]/x.png"]),
        (["photo[1]*.png"], ["photo[1]*.png"]),
        (["photo?.png"], ["photo1.png"]),
        (["in/**/*.png"], ["in/a.png", "in/sub/c.png"]),
        (["*.tif"], ["*.tif"]),
        (["-", "-"], ["-"]),
    ],
)
def test_names_and_patterns(tree, names, found):
    assert gather(*names)[0] == found
    assert inputs.expand(names) == found


def test_a_link_is_a_file_of_its_own(tree):
    os.symlink("a.png", "link.png")
    os.symlink("in", "other")
    assert gather("a.png", "link.png")[0] == ["a.png", "link.png"]
    assert gather("in/a.png", "other/a.png")[0] == ["in/a.png"]  # the same file of the same folder


def test_folders_keep_their_tree(tree):
    paths, kept = gather("in", "a.png", recursive=True)
    assert paths == ["in/B.JPG", "in/a.png", "in/deep/er/d.jpg", "in/sub/c.png", "a.png"]
    assert kept == ["B.JPG", "a.png", "deep/er/d.jpg", "sub/c.png", "a.png"]
    paths, kept = gather("in/**/*.png", recursive=True)
    assert kept == ["a.png", "sub/c.png"]
    assert gather("in/", recursive=True, output_dir="in/sub")[1] == [
        "B.JPG",
        "a.png",
        "deep/er/d.jpg",
    ]


def test_an_empty_folder_is_said(tree):
    os.mkdir("empty")
    with pytest.raises(Abort, match="empty: holds no files .* .png .jpg"):
        gather("empty", recursive=True)
    assert gather("empty")[0] == ["empty"]  # refused as a folder when it is read


@pytest.mark.parametrize(
    "data, found",
    [
        (b"a.png\nin/sub/c.png\n\n", ["a.png", "in/sub/c.png"]),
        (b"a.png\r\nb.jpg", ["a.png", "b.jpg"]),
        (b"a.png\0new\nline.png\0", ["a.png", "new\nline.png"]),
        (b"*.png\n", ["*.png"]),  # no pattern
        (b"\xff.png", ["\udcff.png"]),
        (b" a.png \n./a.png\na.png", [" a.png ", "./a.png"]),
        (b"", []),
    ],
)
def test_lists(tree, monkeypatch, data, found):
    pathlib.Path("list").write_bytes(data)
    assert gather(files_from="list")[0] == found
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert gather(files_from="-")[0] == found


def test_lists_keep_their_folders(tree):
    pathlib.Path("list").write_text("in/sub/c.png\n../a.png\n/a/b.png\n./in/a.png\n")
    assert gather(files_from="list")[1] == ["c.png", "a.png", "b.png", "a.png"]
    kept = gather(files_from="list", recursive=True)[1]
    assert kept == ["in/sub/c.png", "a.png", "b.png", "in/a.png"]


def test_a_list_that_cannot_be_read(tree):
    with pytest.raises(Abort, match="gone: No such file"):
        gather(files_from="gone")
