"""Headless Chromium, driven through a pipe."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self


class Browser:
    """One page of a Chromium that speaks the DevTools protocol on file descriptors 3 and 4."""

    def __init__(self, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        program = shutil.which("chromium")
        assert program, "Chromium is not installed"
        self._size = width, height
        self._dark = dark
        self._home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._program = program
        self._number = 0
        self.complaints: list[str] = []

    def __enter__(self) -> Self:
        theirs, self._to = os.pipe()
        self._from, ours = os.pipe()

        def wire() -> None:
            # Beyond all that are in use, so that neither overwrites the other.
            read, write = os.dup(theirs), os.dup(ours)
            os.dup2(read, 3)
            os.dup2(write, 4)

        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        self._process = subprocess.Popen(
            [self._program, *flags, f"--user-data-dir={self._home.name}", "about:blank"],
            preexec_fn=wire,
            close_fds=False,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(ours)
        self._stream = os.fdopen(self._from, "rb")
        self._session: str | None = None
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        width, height = self._size
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        self.call("Emulation.setTouchEmulationEnabled", enabled=True)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if self._dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        return self

    def __exit__(self, *_: object) -> None:
        # A killed browser leaves processes behind that go on writing into its home.
        with contextlib.suppress(OSError):
            os.write(self._to, json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        self._stream.close()
        self._home.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def wait_for(self, event: str) -> None:
        """Wait for an event."""
        while self._read().get("method") != event:
            pass

    def _read(self) -> dict[str, Any]:
        content = bytearray()
        while (byte := self._stream.read(1)) != b"\0":
            assert byte, "Chromium is gone"
            content += byte
        message: dict[str, Any] = json.loads(content)
        if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.complaints.append(content.decode())
        if message.get("method") == "Runtime.consoleAPICalled":
            self.complaints.append(content.decode())
        return message

    def open(self, path: Path) -> None:
        """Open a file and wait until it is shown."""
        self.call("Page.navigate", url=path.as_uri())
        self.wait_for("Page.loadEventFired")

    def run(self, code: str) -> Any:
        """Return what a piece of JavaScript comes to, promises included."""
        result = self.call(
            "Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def press(self, key: str, shift: bool = False) -> None:
        """Press a key."""
        text = {"text": key} if len(key) == 1 else {}
        modifiers = 8 if shift else 0
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, modifiers=modifiers, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, modifiers=modifiers)

    def drag(self, x: float, y: float, to: float) -> None:
        """Drag with the mouse."""
        for kind, at in (("mousePressed", x), ("mouseMoved", to), ("mouseReleased", to)):
            self.call(
                "Input.dispatchMouseEvent", type=kind, x=at, y=y, button="left", buttons=1,
                clickCount=1,
            )  # fmt: skip

    def swipe(self, x: float, y: float, to: float) -> None:
        """Drag with a finger."""
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[{"x": to, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def screenshot(self, path: Path) -> None:
        """Save what is to be seen as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
