"""Uses the page of the service as a reader would, in a headless Chromium.

    pip install -e '.[serve]'
    python -m experiments.systems.serve_page_check --screenshots /tmp/pictures

A picture is chosen and later dropped, the quality is changed by keys, the divider is dragged and moved
by keys, zoom and buttons are used, a .gllmm file is shown, a file that is no picture is refused in words.
Size, bpp and PSNR on the page are compared with those of the codec in this process. Nothing may be
written to the console as an error, nothing may be asked of another origin, everything that can be
focused must have a name, and nothing may be wider than a phone. Prints one line; exit status 1 at the
first thing that is not as it should be.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator

from absl import flags

from experiments.common import browser, places, program
from experiments.common.browser import PHONE, WIDE, Browser, check_width, require
from gllmm_tf import metrics
from gllmm_tf.codec.base import Codec
from gllmm_tf.files import images

PATIENCE = 120.0  # seconds for one picture there and back
PSNR_TOLERANCE = 0.006  # dB; the page shows two decimals
EXPECTED_ERROR = "status of 400"  # the browser's own line for the refused file
ALTERED = 2.0  # quality


# The service ----------------------------------------------------------------------------------


@contextlib.contextmanager
def running(codec) -> Iterator[str]:
    """Runs the service in a thread of this process; yields its address."""
    import uvicorn

    from gllmm_tf.serve.app import create_app

    server = uvicorn.Server(uvicorn.Config(create_app(codec), log_level="error"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.02)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


# Using the page -------------------------------------------------------------------------------


def wait_for(page: Browser, expression: str, what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not page.evaluate(f"!!({expression})"):
        require(time.monotonic() < end, f"{what} did not come within {PATIENCE:g} s")
        time.sleep(0.05)


def visit(page: Browser, address: str) -> None:
    """Loads the page and waits until it has asked the service what it can do."""
    page.call("Page.navigate", url=address)
    ready = f"location.href === '{address}' && document.readyState === 'complete'"
    wait_for(page, ready, "the page")
    wait_for(page, "$('limits').textContent", "the greeting")


def settle(page: Browser) -> None:
    """Waits until nothing is being worked on."""
    wait_for(page, "!document.body.classList.contains('busy')", "an answer")


def choose(page: Browser, path: str) -> None:
    """Gives a file to the page as the file dialog does."""
    found = page.call("Runtime.evaluate", expression="document.getElementById('file')")
    page.call("DOM.setFileInputFiles", files=[path], objectId=found["result"]["objectId"])
    wait_for(page, f"$('name').textContent === '{os.path.basename(path)}'", "the file's name")
    settle(page)


def drop(page: Browser, path: str) -> None:
    """Drags a file from outside over the page and lets it fall."""
    data = {"items": [], "files": [path], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        page.call("Input.dispatchDragEvent", type=kind, x=200, y=200, data=data)
        if kind == "dragOver":
            over = page.evaluate("document.body.classList.contains('over')")
            require(over, "it does not show that a file may be dropped")
    wait_for(page, f"$('name').textContent === '{os.path.basename(path)}'", "the dropped file")
    settle(page)


def text(page: Browser, name: str) -> str:
    return page.evaluate(f"$('{name}').textContent")


def centre(page: Browser, name: str) -> tuple[float, float]:
    """Returns the centre of the element with this id."""
    return browser.centre(page, f"#{name}")


# What is looked at ----------------------------------------------------------------------------


def check_figures(page: Browser, codec, path: str, quality: float | None) -> None:
    """Size, bpp and PSNR are those of the codec."""
    require(page.evaluate("$('error').hidden"), f"it complains: {text(page, 'error')}")
    picture = images.read_image(path)
    encoded = codec.encode(picture.pixels, quality, metadata=picture.metadata)
    size, height, width = len(encoded.data), *picture.pixels.shape[:2]
    require(text(page, "size") == page.evaluate(f"bytes({size})"), f"size, not {size} bytes")
    bpp = f"{size * 8 / (width * height):.3f}"
    require(text(page, "bpp") == bpp, f"{text(page, 'bpp')} bpp, not {bpp}")
    psnr = metrics.psnr(picture.pixels, codec.decompress(encoded.data))
    shown = text(page, "psnr").split()[0]
    require(abs(float(shown) - psnr) <= PSNR_TOLERANCE, f"PSNR is {shown}, not {psnr:.2f}")
    sizes = page.evaluate("['x', 'x_hat'].map((n) => [$(n).naturalWidth, $(n).naturalHeight])")
    require(sizes == [[width, height]] * 2, f"pictures of {sizes}, not {width} x {height}")


def check_divider(page: Browser) -> None:
    """The divider follows pointer and keys, and the picture is cut where it stands."""
    x, y = centre(page, "divider")
    width = page.evaluate("view.to - view.from")
    page.drag((x, y), (x - 0.2 * width, y))
    now = float(page.evaluate("$('divider').getAttribute('aria-valuenow')"))
    require(abs(now - 30) <= 1, f"dragged to 30 %, the divider says {now} %")
    left = page.evaluate("parseFloat($('divider').style.left)")
    cut = page.evaluate("parseFloat(getComputedStyle($('right')).clipPath.split(' ').pop())")
    require(abs(left - cut) < 0.5, f"divider at {left}, picture cut at {cut}")
    page.evaluate("$('divider').focus()")
    for key, wanted in (("ArrowRight", now + 2), ("ArrowLeft", now), ("End", 100), ("Home", 0)):
        page.key(key)
        found = float(page.evaluate("$('divider').getAttribute('aria-valuenow')"))
        require(found == wanted, f"after {key} the divider says {found} %, not {wanted} %")
    page.evaluate("$('peek').click()")
    require(page.evaluate("parseFloat($('divider').style.left) >= view.to"), "original not shown")
    page.evaluate("$('peek').click(); divide(50)")


def check_zoom(page: Browser) -> None:
    """Both pictures are as large as the zoom says and move together."""
    boxes = "['x', 'x_hat'].map((n) => $(n).getBoundingClientRect())"
    names = page.evaluate("[...$('zooms').children].map((b) => b.textContent)")
    for i, name in enumerate(names):
        page.evaluate(f"$('zooms').children[{i}].click()")
        widths = page.evaluate(f"{boxes}.map((b) => b.width * devicePixelRatio)")
        if name != "Fit":
            wanted = page.evaluate("view.width") * int(name.split()[0]) / 100
            off = max(abs(w - wanted) for w in widths)
            require(off < 0.5, f"at {name} the pictures are {widths} pixels wide, not {wanted}")
    x, y = centre(page, "pane")
    before = page.evaluate(f"{boxes}.map((b) => [b.left, b.top])")
    page.drag((x + 60, y), (x + 25, y - 15))
    after = page.evaluate(f"{boxes}.map((b) => [b.left, b.top])")
    require(after[0] == after[1], "the pictures do not move together")
    require(after != before or not page.evaluate("view.pannable"), "dragging does not move them")
    page.evaluate("$('zooms').children[0].click()")


def check_quality(page: Browser, codec, path: str) -> None:
    """Keys change the quality, and all figures follow."""
    if not codec.num_qualities:
        return
    page.evaluate(f"$('quality').focus(); $('quality').value = {ALTERED - 0.25}")
    page.key("ArrowRight")
    require(text(page, "quality-value") == f"{ALTERED:g}", "arrow keys do not move the quality")
    page.evaluate("new Promise((done) => setTimeout(done, 2 * PAUSE))")
    settle(page)
    check_figures(page, codec, path, ALTERED)


def check_refusal(page: Browser, folder: str) -> None:
    """A bad file is refused with the service's own line, a huge one is not even sent."""
    path = os.path.join(folder, "letter.png")
    with open(path, "w") as file:
        file.write("Dear reader")
    choose(page, path)
    require(not page.evaluate("$('error').hidden"), "a bad file is not refused")
    line = text(page, "error")
    require(line.startswith("letter.png: not a readable"), f"it says: {line}")
    require(page.evaluate("$('result').hidden && $('figures').hidden"), "old results stay")
    path = os.path.join(folder, "huge.png")
    with open(path, "wb") as file:
        file.truncate(page.evaluate("health.max_bytes") + 1)
    choose(page, path)
    require("huge.png: larger than" in text(page, "error"), "a huge file is not refused")


def check_file(page: Browser, codec, path: str, folder: str) -> None:
    """A .gllmm file that is dropped is shown, without an original."""
    packed = os.path.join(folder, "picture.gllmm")
    with open(packed, "wb") as file:
        file.write(codec.compress(images.read_image(path).pixels))
    drop(page, packed)
    require(page.evaluate("$('error').hidden && !$('result').hidden"), "a .gllmm file fails")
    require(page.evaluate("$('divider').hidden && $('x').hidden"), "an original is shown")
    require(text(page, "psnr") == "–", "a PSNR is shown without an original")


def check_names(page: Browser) -> None:
    """Everything that can be focused has a name for a screen reader, and Tab reaches it."""
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    for node in nodes:
        facts = {p["name"]: p["value"].get("value") for p in node.get("properties", [])}
        if (
            facts.get("focusable")
            and not node["ignored"]
            and node["role"]["value"] != "RootWebArea"
        ):
            require(bool(node.get("name", {}).get("value")), f"{node['role']['value']} has no name")
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(20):
        page.call(
            "Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9
        )
        page.call("Input.dispatchKeyEvent", type="keyUp", key="Tab", code="Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    page.evaluate("document.activeElement.blur()")
    missing = {"another", "quality", "divider", "peek", "save-file", "save-png"} - reached
    require(not missing, f"Tab does not reach {', '.join(sorted(missing))}")


def shoot(page: Browser, folder: str | None, name: str, size: tuple[int, int]) -> None:
    """Writes pictures of the page, light and dark, where there is a folder for them."""
    if folder:
        for scheme in ("light", "dark"):
            browser.show(page, size, scheme == "dark")
            page.screenshot(os.path.join(folder, f"{name}_{scheme}.png"))
        page.resize(size)


def check_page(codec, image: str, screenshots: str | None = None) -> str:
    """Uses the page in a wide and a narrow window.

    Args:
        codec: that the service has.
        image: path of an 8-bit RGB picture without colour profile, in a format without loss.
        screenshots: folder for pictures of the page; None for none.

    Returns:
        A line that says what was done; it begins with "check skipped" where there is no browser.

    Raises:
        ExperimentError: with the first thing that is not as it should be.
    """
    path = browser.find_browser()
    if path is None:
        return browser.MISSING
    if screenshots:
        os.makedirs(screenshots, exist_ok=True)
    image = os.path.abspath(image)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        address = stack.enter_context(running(codec))
        page = stack.enter_context(browser.start_browser(path))
        for domain in ("DOM", "Accessibility"):
            page.call(f"{domain}.enable")
        for name, size in (("wide", WIDE), ("phone", PHONE)):
            page.resize(size)
            visit(page, address)
            check_width(page)
            shoot(page, screenshots, f"{name}_start", size)
            choose(page, image)
            check_figures(page, codec, image, None)
            check_width(page)
            check_names(page)
            shoot(page, screenshots, f"{name}_result", size)
            check_divider(page)
            check_zoom(page)
        check_quality(page, codec, image)
        check_file(page, codec, image, folder)
        check_refusal(page, folder)
        shoot(page, screenshots, "phone_error", PHONE)
        drop(page, image)
        check_figures(page, codec, image, ALTERED if codec.num_qualities else None)
        errors = [error for error in page.errors if EXPECTED_ERROR not in error]
        require(not errors, f"errors on the console: {errors}")
        foreign = {u for u in page.requests if not u.startswith((address, f"blob:{address}"))}
        require(not foreign, f"it asks for {', '.join(sorted(foreign))}")
    return (
        f"check passed in {os.path.basename(path)}: figures, divider, zoom, quality, refusal, "
        "dropping, names; wide and phone; console is silent"
    )


def define_flags() -> None:
    flags.DEFINE_string("image", places.SAMPLES[1], "A picture without loss.")
    program.define_model()
    flags.DEFINE_string("screenshots", None, "Folder for pictures of the page.")


def main(f: flags.FlagValues) -> None:
    print(check_page(Codec.load(f.model), f.image, f.screenshots))


if __name__ == "__main__":
    program.run(main, define_flags)
