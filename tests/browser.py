"""A headless Chromium for tests of pages, driven over a pipe with its DevTools protocol; no library, no port."""

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE_S = 90.0
# software drawing, since a test machine has no screen; no profile, no first-run pages, and no services of its own
FLAGS = (
    "--headless=new --no-sandbox --disable-dev-shm-usage --use-angle=swiftshader --enable-unsafe-swiftshader "
    "--remote-debugging-pipe --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --disable-extensions --mute-audio --window-size=1280,1600"
)


def chromium() -> str | None:
    """Path of the browser, or None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """An open page. requests: addresses it asked for, but its own.  complaints: of its console, and exceptions."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events on the way are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def open(self, address: str) -> None:
        """Load a page and wait until its script says that it is ready."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=address)
        self.wait("document.body && document.body.dataset.ready === 'yes'")

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until the expression is true."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.ask(expression):
            assert time.monotonic() < deadline, (expression, self.complaints, self.ask("document.body.innerText"))
            time.sleep(0.05)

    def click(self, x: float, y: float) -> None:
        """The mouse, at a place of the window."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert select.select([self._answers], [], [], PATIENCE_S)[0], "the browser is silent"
            part = os.read(self._answers, 1 << 16)
            assert part, "the browser has gone"
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._keep(message.get("method"), message.get("params", {}))
        return message

    def _keep(self, method: str | None, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            address = params["request"]["url"]
            if not address.startswith(("data:", "blob:")) and params.get("type") != "Document":
                self.requests.append(address)
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif (method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert")) or (
            method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning")
        ):
            self.complaints.append(str(params.get("entry", params.get("args"))))


@contextmanager
def browser(path: str, folder: Path) -> Iterator[Browser]:
    """Start the browser with a profile of its own in `folder`, and end it."""
    (from_test, commands), (answers, to_test) = os.pipe(), os.pipe()
    # the protocol's pipes are descriptors 3 and 4 of the browser
    shell = f'exec "$0" {FLAGS} --user-data-dir="$1" 3<&{from_test} 4>&{to_test}'
    command = ["sh", "-c", shell, path, str(folder / "profile")]
    process = subprocess.Popen(
        command, pass_fds=(from_test, to_test), stdin=subprocess.DEVNULL, stdout=-3, stderr=-3, start_new_session=True
    )
    os.close(from_test)
    os.close(to_test)
    try:
        yield Browser(commands, answers)
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(commands)
        os.close(answers)
