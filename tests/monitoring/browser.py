# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, driven over its DevTools protocol with the standard library alone."""
import base64
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time


def find():
    return next((x for x in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if x), None)


class Browser:
    """One page. Every wait ends after `patience` seconds with an exception."""

    patience = 30

    def __init__(self, program):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--remote-debugging-port=0", "--user-data-dir=" + self.profile.name, "about:blank"],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        self.last_id = 0
        self.socket = None
        self.buffer = b""
        port = self._port()
        self._connect(port, self._target(port))
        self.call("Page.enable")
        self.call("Runtime.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.socket:
            self.socket.close()
        self.process.kill()
        self.process.wait()
        self.profile.cleanup()

    def _port(self):
        end = time.monotonic() + self.patience
        while time.monotonic() < end:
            line = self.process.stderr.readline()
            if not line:
                break
            if m := re.search(r"ws://127\.0\.0\.1:(\d+)/", line):
                return int(m[1])
        raise RuntimeError("the browser did not start")

    def _target(self, port):
        import urllib.request
        end = time.monotonic() + self.patience
        while time.monotonic() < end:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=self.patience) as reply:
                for x in json.load(reply):
                    if x["type"] == "page":
                        return x["webSocketDebuggerUrl"].split(str(port), 1)[1]
            time.sleep(0.1)
        raise RuntimeError("the browser has no page")

    def _connect(self, port, path):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=self.patience)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall((f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
                             f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
                             "Sec-WebSocket-Version: 13\r\n\r\n").encode())
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += self.socket.recv(65536)
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        if b" 101 " not in head:
            raise RuntimeError(head.decode())

    def _take(self, n):
        while len(self.buffer) < n:
            more = self.socket.recv(1 << 20)
            if not more:
                raise RuntimeError("the browser has gone")
            self.buffer += more
        out, self.buffer = self.buffer[:n], self.buffer[n:]
        return out

    def _receive(self):
        message = b""
        while True:
            first, second = self._take(2)
            size = second & 127
            if size >= 126:
                size = int.from_bytes(self._take(2 if size == 126 else 8), "big")
            message += self._take(size)
            if first & 128:
                return json.loads(message)

    def _send(self, text):
        data, mask = text.encode(), os.urandom(4)
        size = bytes([128 | len(data)]) if len(data) < 126 else (
            bytes([254]) + len(data).to_bytes(2, "big") if len(data) < 65536 else
            bytes([255]) + len(data).to_bytes(8, "big"))
        self.socket.sendall(b"\x81" + size + mask + bytes(x ^ mask[i % 4] for i, x in enumerate(data)))

    def call(self, method, **parameters):
        self.last_id += 1
        self._send(json.dumps({"id": self.last_id, "method": method, "params": parameters}))
        while True:
            x = self._receive()
            if x.get("id") != self.last_id:
                continue  # an event
            if "error" in x:
                raise RuntimeError(f"{method}: {x['error']}")
            return x["result"]

    def open(self, url):
        self.call("Page.navigate", url=url)

    def ask(self, script):
        x = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in x:
            raise RuntimeError(f"{script}: {x['exceptionDetails']}")
        return x["result"].get("value")

    def wait_for(self, script):
        """Until the script gives something true; that."""
        end = time.monotonic() + self.patience
        while time.monotonic() < end:
            try:
                if got := self.ask(script):
                    return got
            except RuntimeError:
                pass  # the page is on its way
            time.sleep(0.1)
        raise AssertionError(f"never true: {script}")

    def look(self, width, height, dark):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def picture(self, file):
        got = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        with open(file, "wb") as out:
            out.write(base64.b64decode(got["data"]))
