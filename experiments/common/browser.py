"""A headless Chromium that uses a page as a reader would: mouse, keys, windows, pictures of it.

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
from collections.abc import Iterator

from experiments.common.program import ExperimentError

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


def find_browser() -> str | None:
    """Returns the path of a Chromium, or None; the variable CHROMIUM names another one."""
    return next(filter(None, map(shutil.which, (os.environ.get("CHROMIUM", ""), *BROWSERS))), None)


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


# What checks of pages share -------------------------------------------------------------------

MISSING = f"check skipped: none of {', '.join(BROWSERS)} is installed"


def require(condition: bool, what: str) -> None:
    """Raises ExperimentError with `what` unless the condition holds."""
    if not condition:
        raise ExperimentError(f"The page fails its check: {what}.")


def centre(page: Browser, selector: str) -> tuple[float, float]:
    """Scrolls to an element and returns its centre in the window."""
    return tuple(
        page.evaluate(
            f"(() => {{ const e = document.querySelector('{selector}');"
            " e.scrollIntoView({block: 'center', behavior: 'instant'});"
            " const b = e.getBoundingClientRect();"
            " return [b.left + b.width / 2, b.top + b.height / 2]; })()"
        )
    )


def check_width(page: Browser) -> None:
    """Nothing is wider than the window."""
    width = page.evaluate("document.documentElement.scrollWidth")
    require(width <= page.width, f"it is {width} pixels wide in a window of {page.width}")


def show(page: Browser, size: tuple[int, int], dark: bool = False) -> None:
    """Gives the window a size and a colour scheme; a phone has two pixels per CSS pixel."""
    page.resize(size, dark, scale=1.0 if size == WIDE else 2.0)
