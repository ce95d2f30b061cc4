"""Opens a page of report.py in a headless Chromium and uses it as a reader would.

    python -m experiments.report.report_check report.html --screenshots /tmp/pictures

The mouse points at a chart, legend, anchor, divider, zoom and keys are used, and after each step the
page is asked what it shows. Nothing may be written to the console as an error, nothing may be loaded
but the file itself, and nothing may be wider than a phone. The BD-rates of the table are compared
with the area between the curves that the page draws.

Chromium is driven over its debugging protocol on a pair of pipes, so that the standard library
suffices: https://chromedevtools.github.io/devtools-protocol (messages are JSON, ended by a zero
byte, on file descriptors 3 and 4 of the browser).
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence

from absl import app, flags

from experiments.common.coders import ExperimentError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
SECONDS = 120.0  # patience with one answer of the browser
WIDE, PHONE = (1366, 900), (390, 844)  # CSS pixels
BD_RATE_TOLERANCE = 0.01  # percentage points: Simpson's rule in the page against Python's integral


def find_browser() -> str | None:
    """Returns the path of a Chromium, or None; the variable CHROMIUM names another one."""
    return next(filter(None, map(shutil.which, (os.environ.get("CHROMIUM", ""), *BROWSERS))), None)


# The browser ----------------------------------------------------------------------------------


class Browser:
    """One page in one Chromium.

    Attributes:
        errors: what the page wrote to the console as an error, and its exceptions.
        requests: addresses that the page asked for, data URIs apart.
        width: of the window, CSS pixels.
    """

    def __init__(self, commands: int, answers: int):
        self.errors, self.requests, self.width = [], [], 0
        self._commands, self._answers = commands, answers
        self._received, self._count, self._session, self._loaded = b"", 0, None, False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters) -> dict:
        """Sends a command and returns its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._commands, data) :]
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise ExperimentError(f"Chromium, {method}: {answer['error']['message']}.")
                return answer["result"]

    def open(self, path: str) -> None:
        """Loads a file and waits until it is there."""
        self._loaded = False
        self.call("Page.navigate", url=pathlib.Path(path).resolve().as_uri())
        while not self._loaded:
            self._receive()

    def evaluate(self, expression: str):
        """Returns the value of a JavaScript expression; promises are awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            text = answer["exceptionDetails"].get("exception", {}).get("description", expression)
            raise ExperimentError(f"The page raised {text.splitlines()[0]} for: {expression}")
        return answer["result"].get("value")

    def mouse(self, kind: str, x: float, y: float, **more) -> None:
        """Moves ("Moved"), presses or releases ("Pressed", "Released") the left button."""
        self.call("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **more)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Presses at one place, moves to the other and releases."""
        self.mouse("Moved", *start)
        self.mouse("Pressed", *start, button="left", buttons=1, clickCount=1)
        self.mouse("Moved", *end, button="left", buttons=1)
        self.mouse("Released", *end, button="left", clickCount=1)

    def key(self, key: str) -> None:
        """Presses and releases a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def resize(self, size: tuple[int, int], dark: bool = False, scale: float = 1.0) -> None:
        """Sets the window's size in CSS pixels, the colour scheme and the pixels per CSS pixel."""
        self.width = size[0]
        self.call(
            "Emulation.setDeviceMetricsOverride",
            **{"width": size[0], "height": size[1], "deviceScaleFactor": scale},
            mobile=size[0] < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.evaluate("new Promise((done) => setTimeout(done, 400))")  # until all is laid out anew

    def screenshot(self, path: str) -> None:
        """Writes the whole page, from top to bottom, as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        answer = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        pathlib.Path(path).write_bytes(base64.b64decode(answer["data"]))

    def _receive(self) -> dict:
        """Returns the next message; notes errors and requests on the way."""
        deadline = time.monotonic() + SECONDS
        while b"\0" not in self._received:
            wait = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self._answers], [], [], wait)
            data = os.read(self._answers, 1 << 20) if ready else b""
            if not data:
                how = "ended" if ready else f"did not answer within {SECONDS:.0f} s"
                raise ExperimentError(f"Chromium {how}.")
            self._received += data
        message, _, self._received = self._received.partition(b"\0")
        message = json.loads(message)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method: str | None, event: dict) -> None:
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            details = event["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "assert"):
            self.errors.append(" ".join(str(a.get("value", a)) for a in event["args"]))
        elif method == "Log.entryAdded" and event["entry"]["level"] == "error":
            self.errors.append(event["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            url = event["request"]["url"]
            if not url.startswith("data:"):
                self.requests.append(url)


@contextlib.contextmanager
def start_browser(path: str) -> Iterator[Browser]:
    """Starts a Chromium with an empty profile; ends it, and removes the profile, at the end."""
    commands_in, commands_out = os.pipe()
    answers_in, answers_out = os.pipe()
    # The browser's ends, out of the way of the numbers that they are going to have.
    theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (commands_in, answers_out)]

    def give_pipes() -> None:  # in the child, before it becomes the browser
        os.dup2(theirs[0], 3)
        os.dup2(theirs[1], 4)

    profile = tempfile.mkdtemp()
    process = subprocess.Popen(
        [path, *SWITCHES, f"--user-data-dir={profile}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=give_pipes,
        start_new_session=True,  # so that it ends together with its helpers
        pass_fds=(3, 4),
    )
    for fd in (commands_in, answers_out, *theirs):
        os.close(fd)
    try:
        yield Browser(commands_out, answers_in)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(commands_out)
        os.close(answers_in)
        shutil.rmtree(profile, ignore_errors=True)


# The checks -----------------------------------------------------------------------------------


def _centre(page: Browser, selector: str) -> tuple[float, float]:
    """Scrolls to an element and returns its centre in the window."""
    page.evaluate(
        f"document.querySelector('{selector}').scrollIntoView({{block: 'center', behavior: 'instant'}})"
    )
    return tuple(
        page.evaluate(
            f"(() => {{ const b = document.querySelector('{selector}').getBoundingClientRect();"
            " return [b.left + b.width / 2, b.top + b.height / 2]; })()"
        )
    )


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ExperimentError(f"The page fails its check: {what}.")


def check_hover(page: Browser) -> None:
    """Pointing at a chart reads out values, elsewhere others, in both charts at once."""
    x, y = _centre(page, ".plot svg")
    texts = []
    for shift in (-60, 20):
        page.mouse("Moved", x + shift, y)
        texts.append(page.evaluate("charts[0].readout.innerText"))
    _require(all("bpp" in text for text in texts), "pointing at a chart reads out nothing")
    _require(texts[0] != texts[1], "the values do not follow the pointer")
    dots = page.evaluate("charts.map((c) => c.svg.querySelectorAll('circle').length)")
    _require(min(dots) > 0, f"not every chart marks the cross-hair, {dots} dots")
    _require(not page.evaluate("charts[0].tip.hidden"), "no curve is near the pointer")
    page.mouse("Moved", 1, 1)
    _require(page.evaluate("state.bpp === null"), "the cross-hair stays when the pointer has left")
    page.evaluate("document.querySelector('.plot svg').focus()")
    page.key("ArrowRight")
    _require(page.evaluate("state.bpp > 0"), "arrow keys do not move the cross-hair")
    page.evaluate("document.activeElement.blur()")


def check_legend(page: Browser) -> None:
    """A name hides its curve and brings it back."""
    count = "document.querySelectorAll('.plot path.curve').length"
    before = page.evaluate(count)
    page.evaluate("document.querySelector('.chip[aria-pressed=true]').click()")
    hidden = page.evaluate(count)
    page.evaluate("document.querySelector('.chip[aria-pressed=false]').click()")
    _require(0 <= hidden < before, f"a name of the legend hides nothing, {before} curves")


def check_curves(page: Browser) -> None:
    """The curves that the page draws have the BD-rates of its table."""
    worst = page.evaluate(
        """(() => {
          let worst = 0;
          for (const metric of METRICS) {
            const all = seriesOf(metric, "");
            for (const anchor of all) for (const test of all) {
              const rate = (data.bd_rates[anchor.codec] || {})[test.codec]?.[metric]?.[0];
              if (rate !== undefined) worst = Math.max(worst, Math.abs(rate - bdRate(anchor, test)));
            }
          }
          return worst;
        })()"""
    )
    _require(worst < BD_RATE_TOLERANCE, f"curves and table differ by {worst} percentage points")


def check_anchor(page: Browser) -> None:
    """Another anchor gives another table, with the figures that the page was given."""
    if not page.evaluate("!!document.querySelector('#anchor')"):
        return
    for anchor in page.evaluate(
        "[...document.querySelectorAll('#anchor option')].map(o => o.value)"
    ):
        wrong = page.evaluate(
            f"""(() => {{
              const select = document.querySelector("#anchor");
              select.value = {json.dumps(anchor)};
              select.dispatchEvent(new Event("change"));
              const rows = [...document.querySelectorAll("#bd tbody tr")];
              return rows.filter((row) => {{
                const wanted = METRICS.map((m) => data.bd_rates[select.value][row.dataset.codec][m]);
                const shown = [...row.querySelectorAll(".bar .number")].map((n) => n.textContent);
                return wanted.some((w, i) => shown[i] !== (w ? percent(w[0]) : "–"));
              }}).length + (rows.length ? 0 : 1);
            }})()"""
        )
        _require(wrong == 0, f"the table against {anchor} has {wrong} wrong rows")


def check_pictures(page: Browser) -> None:
    """Divider, zoom, drag, keys and thumbnails do what they say."""
    if not page.evaluate("data.pictures.length"):
        return
    x, y = _centre(page, ".handle")
    shift = 0.3 * page.evaluate("document.querySelector('.canvas').offsetWidth")
    page.drag((x, y), (x - shift, y))
    clip = "getComputedStyle(document.querySelectorAll('.layer')[1]).clipPath"
    left = page.evaluate("document.querySelector('.handle').getBoundingClientRect().left + 22")
    off = abs(left - (x - shift))
    _require(off < 2, f"the divider is {off:.0f} pixels off the pointer")
    share = page.evaluate(f"parseFloat({clip}.split(' ').pop())")
    now = page.evaluate("+document.querySelector('.handle').ariaValueNow")
    _require(abs(share - now) <= 1, f"the divider says {now} %, the picture is cut at {share} %")
    page.evaluate("document.querySelector('.handle').focus()")
    page.key("ArrowRight")
    _require(
        page.evaluate("+document.querySelector('.handle').ariaValueNow") > now, "arrow keys fail"
    )

    for mode in ("slider", "side by side"):
        page.evaluate(f"[...$('mode').children].find(b => b.textContent === '{mode}').click()")
        page.evaluate("[...$('zooms').children].find(b => b.textContent === '800 %').click()")
        sizes = page.evaluate("[...document.querySelectorAll('.canvas')].map(c => c.offsetWidth)")
        wanted = 8 * page.evaluate("picture().width")
        _require(set(sizes) == {wanted}, f"{mode} at 800 %: widths {sizes}, not {wanted}")
        style = page.evaluate(
            "getComputedStyle(document.querySelector('.layer img')).imageRendering"
        )
        _require(style == "pixelated", f"pixels at 800 % are {style}")
        x, y = _centre(page, ".pane")
        corner = "[...document.querySelectorAll('.canvas')].map(c => [c.offsetLeft, c.offsetTop])"
        before = page.evaluate(corner)
        page.drag((x + 80, y), (x + 45, y - 25))  # beside the divider
        moved = page.evaluate(corner)
        follows = before != moved or not page.evaluate("viewer.pannable")
        _require(follows and len(set(map(tuple, moved))) == 1, f"{mode}: pictures do not follow")
        page.evaluate("[...$('zooms').children].find(b => b.textContent === 'fit').click()")
    page.evaluate("[...$('mode').children].find(b => b.textContent === 'slider').click()")
    for index in range(page.evaluate("data.pictures.length")):
        page.evaluate(f"$('thumbs').children[{index}].click()")
        broken = page.evaluate(
            "Promise.all([...document.querySelectorAll('.canvas img')].map(i => i.decode().then("
            "() => i.naturalWidth === picture().width && i.naturalHeight === picture().height))"
            ").then(all => all.filter(good => !good).length)"
        )
        _require(broken == 0, f"{broken} embedded pictures have another size than the original")
    page.evaluate("$('thumbs').children[0].click()")


def check_width(page: Browser) -> None:
    """Nothing is wider than the window."""
    width = page.evaluate("document.documentElement.scrollWidth")
    _require(width <= page.width, f"it is {width} pixels wide in a window of {page.width}")


CHECKS: tuple[Callable[[Browser], None], ...] = (
    check_hover,
    check_legend,
    check_curves,
    check_anchor,
    check_pictures,
    check_width,
)


def check_page(path: str, screenshots: str | None = None) -> str:
    """Uses a page in wide and narrow windows, light and dark.

    Args:
        path: of the page.
        screenshots: folder for a picture of each window; None for none.

    Returns:
        A line that says what was done; it begins with "check skipped" where there is no browser.

    Raises:
        ExperimentError: with the first thing that is not as it should be.
    """
    browser = find_browser()
    if browser is None:
        return f"check skipped: none of {', '.join(BROWSERS)} is installed"
    if screenshots:
        os.makedirs(screenshots, exist_ok=True)
    with start_browser(browser) as page:
        for name, size, dark in (("wide", WIDE, False), ("phone", PHONE, True)):
            page.resize(size, dark, scale=1.0 if size == WIDE else 2.0)
            page.open(path)
            for check in CHECKS:
                check(page)
            for scheme in ("light", "dark") if screenshots else ():
                page.resize(size, scheme == "dark", scale=1.0 if size == WIDE else 2.0)
                page.open(path)
                page.screenshot(os.path.join(screenshots, f"{name}_{scheme}.png"))
        _require(not page.errors, f"errors on the console: {page.errors}")
        here = pathlib.Path(path).resolve().as_uri()
        foreign = sorted({url for url in page.requests if url != here})
        _require(not foreign, f"it asks for {', '.join(foreign)}")
    names = ", ".join(check.__name__[len("check_") :] for check in CHECKS)
    return (
        f"check passed in {os.path.basename(browser)}: {names}; wide and phone; console is silent"
    )


def main(argv: Sequence[str]) -> None:
    if len(argv) != 2:
        raise app.UsageError("One page, please.")
    try:
        print(check_page(argv[1], flags.FLAGS.screenshots))
    except ExperimentError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    flags.DEFINE_string("screenshots", None, "Folder for pictures of the page.")
    app.run(main)
