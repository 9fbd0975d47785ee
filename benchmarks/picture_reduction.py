"""What it saves that the browser makes a photo small before it leaves: bytes, and time until done.

A real Chromium uploads a photo of 12 megapixels by the browser client to a real server on loopback, as
it is and made small first, in turns; at the speed of loopback, and with 10 Mbit/s for what leaves (the
browser emulates it). Ratios are of medians, as it is over made small. Then, if the `benchmark` extra is
there, the quality of what the server makes of both: SSIMULACRA 2 of its largest size (90: no difference
to be seen, 70: high quality) against the original, scaled down by Lanczos' filter.

    python benchmarks/picture_reduction.py [PHOTO...]
"""

from __future__ import annotations

import argparse
import base64
import io
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageOps
from selenium import webdriver
from selenium.webdriver.chrome.service import Service as Driver

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.browsers.network import set_network
from support.clients.scripts import Scripts
from support.pictures.pictures import photo
from support.pictures.workers import LIMITS
from support.servers.services import Service

from persona_profile.images import Encoding, PictureOptions
from persona_profile.images.encoding import encode
from persona_profile.images.pipeline import squares_of

EMAIL = "alice@example.com"
LINES = {"loopback": -1, "10 Mbit/s": 10_000_000 // 8}
WAYS = {"as it is": False, "made small": True}
SIDE = 512
OPTIONS = PictureOptions(LIMITS, Encoding(("avif", "webp", "jpeg")))

UPLOAD = """
let sent = 0;
const onProgress = ({ total }) => { sent = total; };
const began = performance.now();
await client.uploadPicture(email, tools.file(), { reduce: isReduced, onProgress });
return [sent, performance.now() - began];
"""
REDUCE = "return tools.base64((await module.reduce(tools.file())).blob)"


class Outcome(NamedTuple):
    """Medians of uploads."""

    sent: int
    milliseconds: float


def browser(folder: str) -> webdriver.Chrome:
    """Start a Chromium with a profile in a folder."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        sys.exit("needed: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for switch in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}"):
        options.add_argument(switch)
    started = webdriver.Chrome(options=options, service=Driver(executable_path=driver))
    started.set_script_timeout(120)
    return started


def upload(scripts: Scripts, rounds: int) -> dict[tuple[str, str], Outcome]:
    """Upload the chosen file over each line in each way, in turns."""
    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for line, speed in LINES.items():
        for _ in range(rounds):
            for way, is_reduced in WAYS.items():
                set_network(scripts.browser, upload=speed)
                measured = scripts.run(UPLOAD, email=EMAIL, isReduced=is_reduced)
                found.setdefault((line, way), []).append(measured)
    return {
        key: Outcome(outcomes[0][0], statistics.median(took for _, took in outcomes))
        for key, outcomes in found.items()
    }


def report(outcomes: dict[tuple[str, str], Outcome]) -> None:
    """Print the table."""
    print(f"  {'line':10} {'':10} {'bytes sent':>12} {'ms until done':>14}")
    for (line, way), (sent, took) in outcomes.items():
        print(f"  {line:10} {way:10} {sent:12,} {took:14,.0f}")
    for line in LINES:
        whole, small = (outcomes[line, way] for way in WAYS)
        less = whole.sent / small.sent
        sooner = whole.milliseconds / small.milliseconds
        print(f"  {line:10} {less:.1f} times fewer bytes, done {sooner:.2f} times as fast", flush=True)


def report_quality(original: bytes, reduced: bytes, folder: Path) -> None:
    """Print how good the server's largest size is, of the original and of what was made small."""
    try:
        from ssimulacra2 import compute_ssimulacra2  # noqa: PLC0415 - to say how to get it
    except ImportError:
        print('  for the quality: pip install ".[benchmark]"')
        return
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(original))).convert("RGB")
    reference = folder / "reference.png"
    ImageOps.fit(picture, (SIDE, SIDE), Image.Resampling.LANCZOS).save(reference)

    def score(made: Image.Image) -> float:
        made.convert("RGB").save(folder / "made.png")
        return float(compute_ssimulacra2(str(reference), str(folder / "made.png")))

    for way, data in zip(WAYS, (original, reduced), strict=True):
        square = squares_of(io.BytesIO(data), None, OPTIONS)[SIDE]
        encoded = encode(square, OPTIONS.encoding, graphic=False)
        scores = {name: score(Image.open(io.BytesIO(each))) for name, each in encoded.items()}
        others = ", ".join(f"{name} {value:.1f}" for name, value in scores.items())
        print(f"  quality, {way:10} before encoding {score(square):.1f}, {others}", flush=True)


def measure(scripts: Scripts, name: str, data: bytes, folder: Path, rounds: int) -> None:
    """Measure one photo, and print."""
    path = folder / "photo"
    path.write_bytes(data)
    scripts.choose(path)
    with Image.open(path) as opened:
        megapixels = opened.width * opened.height / 1e6
    print(f"{name}: {megapixels:.0f} megapixels, {len(data):,} bytes")
    report(upload(scripts, rounds))
    report_quality(data, base64.b64decode(scripts.run(REDUCE)), folder)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="*", type=Path, help="default: one that is made")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    photos = {path.name: path.read_bytes() for path in options.photos} or {"made": photo()}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        service = Service(folder / "service", "memory", "", more="")
        driver = browser(str(folder / "chromium"))
        try:
            service.start()
            scripts = Scripts(driver)
            scripts.open(f"{service.origin}/v1/")
            scripts.run("window.client = await tools.signedIn(email, { timeout: 60000 })", email=EMAIL)
            for title, data in photos.items():
                measure(scripts, title, data, folder, options.rounds)
        finally:
            driver.quit()
            service.close()


if __name__ == "__main__":
    main()
