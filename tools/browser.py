"""Chromium without a window, driven over a pipe: a page opened at a size, light or dark, asked, clicked, pictured.

Nothing beside Chromium and the standard library is needed: the DevTools protocol is JSON over two pipes.

    with Browser() as browser:
        page = browser.open(Path("index.html"), 390, 844, dark=True)
        page.value("document.title")
        Path("phone.png").write_bytes(page.picture())
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 60.0
"""Seconds that an answer may take."""
KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "Escape": 27, "Enter": 13, "Tab": 9}


def found() -> str | None:
    """The browser on this machine; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A browser process; a context manager."""

    def __init__(self) -> None:
        program = found()
        if program is None:
            raise FileNotFoundError(f"none of {', '.join(NAMES)} is installed")
        self._folder = tempfile.TemporaryDirectory(prefix="bittailor-browser-", ignore_cleanup_errors=True)
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        self._ready = select.poll()  # takes any descriptor, where select() knows the first thousand
        self._ready.register(self._in, select.POLLIN)
        # the protocol's pipes are 3 and 4 of the child
        command = 'exec 3<&"$0" 4>&"$1"; shift; exec "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", command, str(theirs_in), str(theirs_out), program, "--headless", "--no-sandbox",
             "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--force-device-scale-factor=1",
             f"--user-data-dir={self._folder.name}", "--remote-debugging-pipe", "about:blank"],
            pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(theirs_in)
        os.close(theirs_out)
        self._next, self._rest, self.events = 0, b"", list[dict[str, Any]]()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)
        self._folder.cleanup()

    def send(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """A command of the protocol; its result. RuntimeError where it fails."""
        self._next += 1
        asked = {"id": self._next, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self._out, json.dumps(asked).encode() + b"\0")
        while (answer := self._read()).get("id") != self._next:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not self._ready.poll(1000 * PATIENCE):
                raise TimeoutError("the browser does not answer")
            part = os.read(self._in, 1 << 20)
            if not part:
                raise RuntimeError("the browser ended")
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def open(self, file: Path, width: int, height: int, *, dark: bool = False, print_: bool = False, hash_: str = "",
             scale: float = 1.0) -> Page:
        """A page of a file in a new tab, ready: its scripts have run."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, target)
        for domain in ("Page", "Runtime", "Log"):
            page.send(f"{domain}.enable")
        page.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                  mobile=width < 700)
        page.send("Emulation.setEmulatedMedia", media="print" if print_ else "screen", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        page.send("Page.navigate", url=file.resolve().as_uri() + hash_)
        page.wait("document.readyState === 'complete' && location.href !== 'about:blank'")
        return page


class Page:
    """An open page."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser, self._session, self._target = browser, session, target

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol to this page."""
        return self._browser.send(method, self._session, **params)

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript is, as JSON values; a promise is waited for."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            about = answer["exceptionDetails"]
            raise RuntimeError(about.get("exception", {}).get("description", about["text"]))
        return answer["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.value(expression):
            if time.monotonic() > end:
                raise TimeoutError(expression)
            time.sleep(0.02)

    @property
    def problems(self) -> list[str]:
        """Errors, refusals and what was written to the console as one."""
        said = []
        for event in self._browser.events:
            if event.get("sessionId") != self._session:
                continue
            about = event.get("params", {})
            if event["method"] == "Runtime.exceptionThrown":
                said.append(about["exceptionDetails"].get("exception", {}).get("description", "exception"))
            elif event["method"] == "Log.entryAdded" and about["entry"]["level"] == "error":
                said.append(about["entry"]["text"])
            elif event["method"] == "Runtime.consoleAPICalled" and about["type"] == "error":
                said.append(str(about["args"]))
        return said

    def middle(self, selector: str) -> tuple[float, float]:
        """The middle of the first element that a selector finds, in the window; scrolled to where it is seen."""
        found = self.value(f"""(() => {{ const e = document.querySelector({json.dumps(selector)});
            e.scrollIntoView({{ block: "center" }}); const r = e.getBoundingClientRect();
            return [r.left + r.width / 2, r.top + r.height / 2]; }})()""")
        return float(found[0]), float(found[1])

    def mouse(self, kind: str, x: float, y: float, button: str = "left") -> None:
        """A mouse event: mousePressed, mouseMoved or mouseReleased."""
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=1,
                  buttons=1 if kind != "mouseReleased" else 0)

    def click(self, selector: str) -> None:
        """A click in the middle of an element."""
        x, y = self.middle(selector)
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.mouse("mousePressed", x, y)
        self.mouse("mouseReleased", x, y)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """From a point of the window to another with the button down."""
        self.mouse("mousePressed", *start)
        for part in (0.3, 0.7, 1.0):
            self.mouse("mouseMoved", *(a + (b - a) * part for a, b in zip(start, end, strict=True)))
        self.mouse("mouseReleased", *end)

    def press(self, key: str) -> None:
        """A key down and up."""
        for kind in ("rawKeyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])

    def picture(self, whole: bool = False, clip: tuple[float, float, float, float] | None = None) -> bytes:
        """PNG of the window, of the whole page, or of x, y, width, height of the page."""
        names = ("x", "y", "width", "height")
        part = {} if clip is None else {"clip": {**dict(zip(names, clip, strict=True)), "scale": 1}}
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=whole or clip is not None, **part)
        return base64.b64decode(shot["data"])

    def close(self) -> None:
        """Close the tab."""
        self._browser.send("Target.closeTarget", targetId=self._target)
