"""A real Chromium without a window, driven over its own pipe (Chrome DevTools Protocol)."""

import json
import os
import shutil
import subprocess
import tempfile
import threading
from types import TracebackType
from typing import Any

from tests.conftest import until

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def no_browser() -> str:
    """Return why there is no browser to test with; empty: there is one."""
    if any(map(shutil.which, NAMES)):
        return ""
    return "no Chromium here: apt-get install chromium"


class Browser:
    """One page: what a person sees of it, and does to it by mouse and keyboard."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="mlg-browser-")
        self.dialogs: list[str] = []
        """What the page asked its reader to confirm; each was confirmed."""
        self.problems: list[str] = []
        """Errors of its script, and what the browser refused."""
        self._answers: dict[int, Any] = {}
        self._count = 0
        self._lock = threading.Lock()
        program = next(path for name in NAMES if (path := shutil.which(name)))
        read_end, self._write = os.pipe()
        self._read, write_end = os.pipe()
        words = " ".join(
            (
                f'exec "{program}" --headless=new --no-sandbox --disable-gpu --no-first-run',
                "--disable-dev-shm-usage --disable-extensions --disable-background-networking",
                f'--user-data-dir="{self._folder}" --remote-debugging-pipe about:blank',
                f"3<&{read_end} 4>&{write_end}",
            )
        )
        self._process = subprocess.Popen(
            ["bash", "-c", words],
            pass_fds=(read_end, write_end),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(read_end)
        os.close(write_end)
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        self._session = ""
        targets = until(lambda: self.do("Target.getTargets")["targetInfos"], 30)
        page = next(one for one in targets if one["type"] == "page")
        told = self.do("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = told["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Log"):
            self.do(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        self._reader.join(5)
        shutil.rmtree(self._folder, ignore_errors=True)

    def open(self, url: str) -> None:
        """Show a page, and return once it has loaded."""
        self.do("Page.navigate", url=url)
        until(lambda: self.of("document.readyState") == "complete", 20)

    def of(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        told = self.do("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def text(self, selector: str) -> str:
        """Return what a reader sees of an element; nothing where it is not there."""
        return str(
            self.of(f"(document.querySelector({json.dumps(selector)}) || {{}}).innerText")
        )

    def buttons(self, selector: str) -> list[str]:
        """Return the words on the buttons within an element."""
        query = json.dumps(f"{selector} button")
        return list(self.of(f"[...document.querySelectorAll({query})].map((b) => b.innerText)"))

    def click(self, selector: str, words: str) -> None:
        """Click the button with these words by the mouse, once it is there."""
        until(lambda: words in self.buttons(selector), 20)
        query = json.dumps(f"{selector} button")
        box = self.of(
            f"(() => {{ const b = [...document.querySelectorAll({query})]"
            f".find((b) => b.innerText === {json.dumps(words)});"
            "b.scrollIntoView({block: 'center'}); const r = b.getBoundingClientRect();"
            "return {x: r.x + r.width / 2, y: r.y + r.height / 2}; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.do("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **box)

    def write(self, selector: str, words: str) -> None:
        """Write into a field, as by the keyboard."""
        field = json.dumps(selector)
        self.of(
            f"(() => {{ const f = document.querySelector({field}); f.focus(); f.select(); }})()"
        )
        self.do("Input.insertText", text=words)

    def do(self, method: str, **params: Any) -> Any:
        """Tell the browser to do something, and return its answer."""
        with self._lock:
            self._count += 1
            number = self._count
        message = {"id": number, "method": method, "params": params}
        if getattr(self, "_session", ""):
            message["sessionId"] = self._session
        self._send(message)
        answer = until(lambda: self._answers.pop(number, None), 30)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def _send(self, message: dict[str, Any]) -> None:
        os.write(self._write, json.dumps(message).encode() + b"\0")

    def _listen(self) -> None:
        with os.fdopen(self._read, "rb") as reader:
            rest = b""
            while piece := reader.read1(1 << 16):
                *whole, rest = (rest + piece).split(b"\0")
                for one in whole:
                    self._told(json.loads(one))

    def _told(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers[message["id"]] = message
            return
        params = message.get("params", {})
        match message["method"]:
            case "Page.javascriptDialogOpening":
                self.dialogs.append(params["message"])
                with self._lock:
                    self._count += 1
                    number = self._count
                self._send(
                    {
                        "id": number,
                        "method": "Page.handleJavaScriptDialog",
                        "params": {"accept": True},
                        "sessionId": message.get("sessionId", ""),
                    }
                )
            case "Runtime.exceptionThrown":
                self.problems.append(json.dumps(params["exceptionDetails"])[:500])
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.problems.append(params["entry"]["text"])
            case _:
                pass
