"""The squares of Chromium: the largest in the centre of a file's `<img>`, on a canvas in sRGB.

The canvas is in main memory, and pictures are scaled by halves, as the browser client scales them.
"""

from __future__ import annotations

import base64
import contextlib
import io
import mimetypes
import shutil
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.browsers.starting import SWITCHES

SCRIPT_SECONDS = 30
MEDIA_TYPES = {".apng": "image/apng", ".avif": "image/avif", ".jxl": "image/jxl", ".webp": "image/webp"}

DRAW = """
const [url, size, done] = arguments;
(async () => {
  const image = new Image();
  image.src = url;
  await image.decode();
  const { naturalWidth: width, naturalHeight: height } = image;
  let side = Math.min(width, height);
  let [source, left, top] = [image, Math.floor((width - side) / 2), Math.floor((height - side) / 2)];
  const target = size ?? Math.min(side, MAX_SIZE);
  do {
    const next = side >= 2 * target ? Math.min(Math.round(side / 2), 4096) : target;
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = next;
    const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
    context.imageSmoothingQuality = "high";
    context.drawImage(source, left, top, side, side, 0, 0, next, next);
    [source, left, top, side] = [canvas, 0, 0, next];
  } while (side > target);
  return { width, height, png: source.toDataURL("image/png") };
})().then(done, (error) => done({ error: String(error) }));
"""


class Shown(NamedTuple):
    """A square of a file with the size of the whole picture, or the error of the browser."""

    square: Image.Image | None
    width: int = 0
    height: int = 0
    error: str = ""


class ChromiumSquares:
    """Draws the squares of files; `with` starts a Chromium and ends it. A crash restarts it."""

    def __init__(self, max_size: int) -> None:
        self._script = DRAW.replace("MAX_SIZE", str(max_size))
        self._held = contextlib.ExitStack()
        self._driver: webdriver.Chrome | None = None
        self._number = 0

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _OneFile)
        self._held.callback(self._server.server_close)
        self._held.callback(self._server.shutdown)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        name = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._profile = self._held.enter_context(name)
        self._held.callback(self._stop)
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def draw(self, path: Path, size: int | None) -> Shown:
        """Return the square of a file, `size` pixels a side, by default not enlarged."""
        _OneFile.path_shown = path
        self._number += 1  # an address of its own: a page keeps the pictures that it has shown
        try:
            if self._driver is None:
                self._start()
            url = f"{self._origin}/picture/{self._number}"
            drawn: dict[str, Any] = self._driver.execute_async_script(self._script, url, size)
        except WebDriverException as error:  # too slow, or the page has crashed
            self._stop()
            return Shown(None, error=f"{type(error).__name__}: {(error.msg or '').splitlines()[0]}")
        if "error" in drawn:
            return Shown(None, error=drawn["error"])
        png = base64.b64decode(drawn["png"].partition(",")[2])
        square = Image.open(io.BytesIO(png)).convert("RGBA")
        return Shown(square, drawn["width"], drawn["height"])

    @property
    def _origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def _start(self) -> None:
        chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
        if chromium is None or driver is None:
            sys.exit("needed: apt-get install chromium chromium-driver")
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for switch in (*SWITCHES, f"--user-data-dir={self._profile}"):
            options.add_argument(switch)
        self._driver = webdriver.Chrome(options=options, service=Service(executable_path=driver))
        self._driver.set_script_timeout(SCRIPT_SECONDS)
        self._driver.get(self._origin)

    def _stop(self) -> None:
        driver, self._driver = self._driver, None
        if driver is not None:
            with contextlib.suppress(WebDriverException, OSError):
                driver.quit()


class _OneFile(BaseHTTPRequestHandler):
    """Serves an empty page, and the file of the moment."""

    path_shown = Path()

    def do_GET(self) -> None:
        path = self.path_shown
        is_page = not self.path.startswith("/picture/")
        kind = MEDIA_TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0]
        self.send_response(200)
        # The browser recognises pictures by their content; SVG alone needs the right type.
        self.send_header("Content-Type", "text/html" if is_page else kind or "application/octet-stream")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        with contextlib.suppress(OSError):  # the browser has seen enough
            self.wfile.write(b"<!doctype html>" if is_page else path.read_bytes())

    def log_message(self, *_: object) -> None:
        """Log nothing."""
