"""What it saves that the browser makes a photo small before it leaves: bytes, and time until done.

A real Chromium uploads a photo of 12 megapixels by the browser client to the service on loopback, whole
and made small first, in turns; at the speed of loopback, and with 10 Mbit/s for what leaves (emulated
by the browser). Ratios are of medians, whole over made small. Then, if the `benchmark` extra is there,
the quality of the server's largest size of both: SSIMULACRA 2 (90: no difference to be seen, 70: high
quality) against the original, scaled down by Lanczos' filter.

    python benchmarks/picture_reduction.py [PHOTO...]
"""

from __future__ import annotations

import argparse
import base64
import io
import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageOps

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from driving import EMAILS, Clients
from production import production
from support.browsers.network import set_network
from support.browsers.starting import chromium
from support.clients.scripts import Scripts
from support.pictures.pictures import photo
from support.pictures.workers import LIMITS
from support.servers.dialogs import serving_pages

from persona_profile.images import Encoding, PictureOptions
from persona_profile.images.encoding import encode
from persona_profile.images.pipeline import squares_of

LINES = {"loopback": -1, "10 Mbit/s": 10_000_000 // 8}
WAYS = {"whole": False, "made small": True}
SIDE = 512
OPTIONS = PictureOptions(LIMITS, Encoding(("avif", "webp", "jpeg")))

SIGN_IN = """
window.client = new module.ProfileClient({ origin, timeout: 60000 });
await client.signIn(proofs);
"""
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


def upload(scripts: Scripts, rounds: int) -> dict[tuple[str, str], Outcome]:
    """Upload the chosen file over each line in each way, in turns."""
    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for line, speed in LINES.items():
        for _ in range(rounds):
            for way, is_reduced in WAYS.items():
                set_network(scripts.browser, upload=speed)
                measured = scripts.run(UPLOAD, email=EMAILS[0], isReduced=is_reduced)
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
        clients = Clients(name)
        with (
            serving_pages({"/": ""}, policy="") as dialog,
            chromium(folder / "chromium", folder) as browser,
        ):
            settings = {
                "browserid.pinned_issuers": f"{folder}/issuers.json",
                "dialog_origins": dialog,
            }
            with production(folder / "service", settings) as service:
                browser.driver.set_script_timeout(120)
                scripts = Scripts(browser.driver)
                scripts.open(f"{dialog}/")
                scripts.run(SIGN_IN, origin=service.origin, proofs=clients.proofs())
                for title, data in photos.items():
                    measure(scripts, title, data, folder, options.rounds)


if __name__ == "__main__":
    main()
