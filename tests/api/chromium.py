"""A real browser for tests: headless Chromium, driven over its DevTools pipe, with no package in between."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_DEADLINE_SECONDS = 60.0
# What Chromium answers to a question whose page went away before it could.
_PAGE_WENT = "Inspected target navigated or closed"
_CTRL = 2
# Windows' code and the text of each, as the protocol wants them.
_NAMED_KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), "Escape": (27, "")}
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--remote-debugging-pipe", "about:blank",
)  # fmt: skip


def browser_program() -> str | None:
    """Path of the browser, or None where there is none."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


class PageWentError(RuntimeError):
    """The page that was asked was left before it answered."""


class Browser:
    """One page of a browser."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to_browser = to_browser
        self._from_browser = from_browser
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self._refused: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._call("Page.enable")
        self._call("Log.enable")

    def view(self, width: int, height: int = 800, *, dark: bool = False) -> Self:
        """Set the size of the window and the colour scheme."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        return self

    def without_scripts(self) -> Self:
        """Switch the pages' scripts off; `evaluate` still works."""
        self._call("Emulation.setScriptExecutionDisabled", value=True)
        return self

    def forget(self) -> None:
        """Lose every cookie, as if nobody had ever signed in here."""
        self._call("Network.clearBrowserCookies")

    def open(self, url: str) -> None:
        """Load a page and wait for it."""
        self._mark_page()
        self._call("Page.navigate", url=url)
        self._wait_for_other_page()

    def submit(self, selector: str) -> None:
        """Press a button the way a person does, and wait for the page that follows."""
        self._mark_page()
        with suppress(PageWentError):
            self.evaluate(f"void document.querySelector({json.dumps(selector)}).click()")
        self._wait_for_other_page()

    def fill(self, selector: str, text: str) -> None:
        """Write into a field."""
        self.evaluate(f"void (document.querySelector({json.dumps(selector)}).value = {json.dumps(text)})")

    def check(self, selector: str) -> None:
        """Choose a radio button."""
        self.evaluate(f"void document.querySelector({json.dumps(selector)}).click()")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page; what a promise comes to."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def press_tab(self) -> None:
        """Press the tab key."""
        self.press("Tab")

    def press(self, key: str, *, ctrl: bool = False) -> None:
        """Press a key: a character, or the name of one that has none."""
        code, text = _NAMED_KEYS.get(key, (ord(key[0].upper()) if key.isalnum() else 0, key))
        modifiers = _CTRL if ctrl else 0
        said = {"key": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        # What is typed while Ctrl is down is no text.
        typed = {"text": text} if text and not ctrl else {}
        self._call("Input.dispatchKeyEvent", type="keyDown" if typed else "rawKeyDown", **said, **typed)
        self._call("Input.dispatchKeyEvent", type="keyUp", **said)

    def press_to_leave(self, key: str, *, ctrl: bool = False) -> None:
        """Press a key that leads to another page, and wait for it."""
        self._mark_page()
        self.press(key, ctrl=ctrl)
        self._wait_for_other_page()

    def wait_until(self, expression: str) -> None:
        """Return once an expression in the page is true."""
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while not self.evaluate(expression):
            if time.monotonic() > deadline:
                message = f"never true: {expression}"
                raise TimeoutError(message)
            time.sleep(0.05)

    def refusals(self) -> list[str]:
        """What the browser refused to load or run by the page's policy, since the page was made."""
        self._call("Runtime.evaluate", expression="0")
        return list(self._refused)

    def screenshot(self, path: Path) -> None:
        """Save the whole page as PNG."""
        image = self._call("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        path.write_bytes(base64.b64decode(image["data"]))

    def _mark_page(self) -> None:
        self.evaluate("void (window.cardwatchOldPage = true)")

    def _wait_for_other_page(self) -> None:
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while time.monotonic() < deadline:
            # A page that goes away while it is asked is what is waited for: the next one is asked.
            with suppress(PageWentError):
                if self.evaluate("!window.cardwatchOldPage && document.readyState === 'complete'"):
                    return
            time.sleep(0.05)
        message = "the next page did not load"
        raise TimeoutError(message)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to_browser, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("method") == "Log.entryAdded" and answer["params"]["entry"]["source"] == "security":
                self._refused.append(answer["params"]["entry"]["text"])
            if answer.get("id") == self._number:
                if "error" in answer:
                    kind = PageWentError if answer["error"]["message"] == _PAGE_WENT else RuntimeError
                    raise kind(json.dumps(answer["error"]))
                result: dict[str, Any] = answer["result"]
                return result

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from_browser], [], [], _DEADLINE_SECONDS)
            chunk = os.read(self._from_browser, 1 << 20) if ready else b""
            if not chunk:
                message = "the browser went silent"
                raise TimeoutError(message)
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _high_pipe() -> tuple[int, int]:
    """A pipe whose ends are out of the way of descriptors 3 and 4."""
    ends = os.pipe()
    reading, writing = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return reading, writing


@contextmanager
def running_browser(program: str, profile: Path) -> Iterator[Browser]:
    """A browser with a fresh profile, ended afterwards."""
    browser_reads, to_browser = _high_pipe()
    from_browser, browser_writes = _high_pipe()
    # The pipes' ends must be file descriptors 3 and 4 of the browser; bash puts them there (dash knows one digit only).
    shell = ["bash", "-c", f'exec "$0" "$@" 3<&{browser_reads} 4>&{browser_writes}']
    command = [*shell, program, f"--user-data-dir={profile}", *_FLAGS]
    with subprocess.Popen(
        command, pass_fds=(browser_reads, browser_writes), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        os.close(browser_reads)
        os.close(browser_writes)
        try:
            yield Browser(to_browser, from_browser)
        finally:
            process.terminate()
            process.wait(timeout=_DEADLINE_SECONDS)
            os.close(to_browser)
            os.close(from_browser)
