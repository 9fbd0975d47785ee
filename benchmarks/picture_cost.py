"""Processor time and bytes of pictures, beside the least that a decoder takes and beside other ways.

For each of several files: decoding, cropping and scaling to all sizes, over `djpeg -scale 1/4` on the
same file (JPEG) or over the library's bare decoding of all pixels (others). For the 12 megapixel JPEG
also the whole upload (all formats, sealed, stored) at each effort, the naive way (decode all, `resize`
for each size, encoders at their defaults) and `gm convert` to three PNG sizes. All in turns, in one
run, in processor time of all processes together; the result is the median of the ratios of the rounds.

    python benchmarks/picture_cost.py [PHOTO.jpg] [--plot FILE.svg] [--rounds N]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pillow_heif
from PIL import Image, ImageOps

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from driving import EMAILS, Clients, ask
from production import Served, production
from support.pictures.pictures import photo
from support.pictures.workers import LIMITS, fork_server_pids

from persona_profile.images import PictureOptions
from persona_profile.images.formats import EFFORTS, SIZES
from persona_profile.images.pipeline import squares_of

TOOLS = {"djpeg": "libjpeg-turbo-progs", "gm": "graphicsmagick"}
GM_SIZES = (128, 256, 512)
ACCEPT = {"Accept": "image/avif,image/webp,*/*"}
OPTIONS = PictureOptions(LIMITS)


def files(source: bytes, folder: Path) -> dict[str, Path]:
    """Return the files to measure, all made from one photo."""
    picture = Image.open(io.BytesIO(source)).convert("RGB")
    made = {"12 MP JPEG": folder / "12.jpg"}
    made["12 MP JPEG"].write_bytes(source)
    for megapixels in (24, 48, 100):
        path = made[f"{megapixels} MP JPEG"] = folder / f"{megapixels}.jpg"
        scaled(picture, megapixels).save(path, quality=88)
    made["24 MP PNG"] = folder / "24.png"
    scaled(picture, 24).save(made["24 MP PNG"], compress_level=6)
    made["12 MP HEIC"] = folder / "12.heic"
    pillow_heif.from_pillow(scaled(picture, 12)).save(made["12 MP HEIC"], quality=70)
    return made


def scaled(picture: Image.Image, megapixels: int) -> Image.Image:
    """Return a picture of so many pixels and the same shape."""
    factor = (megapixels * 1e6 / (picture.width * picture.height)) ** 0.5
    size = (int(picture.width * factor), int(picture.height * factor))
    return picture.resize(size, Image.Resampling.BICUBIC)


def processor_seconds(work: Callable[[], object], services: Iterable[Uploads]) -> float:
    """Return the processor time of some work in this process, its children and the services."""

    def used() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        ours = time.process_time() + children.ru_utime + children.ru_stime
        return ours + sum(each.used() for each in services)

    def in_workers() -> float:
        return sum(each.worker_seconds() for each in services)

    # The time of the scraping itself does not count.
    workers_before, before = in_workers(), used()
    work()
    return used() - before + in_workers() - workers_before


def of_process(pid: int) -> float:
    """Return the processor time of all threads of a process."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in threads) / 1e9


def djpeg(path: Path) -> None:
    """Decode at a quarter of the size."""
    subprocess.run(["djpeg", "-scale", "1/4", path], stdout=subprocess.DEVNULL, check=True)


def bare_decoding(path: Path) -> None:
    """Decode all pixels, no more."""
    if path.suffix == ".heic":
        bytes(pillow_heif.open_heif(path)[0].data)
    else:
        Image.open(path).load()


def squares(path: Path) -> None:
    """Decode, crop and scale, as the service does."""
    with path.open("rb") as source:
        squares_of(source, None, OPTIONS)


def naive(path: Path) -> int:
    """Render as programs do that don't care; return the bytes of the three sizes in WebP."""
    total = 0
    upright = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    for size in SIZES:
        square = ImageOps.fit(upright, (size, size), Image.Resampling.LANCZOS)
        for name in ("JPEG", "WEBP", "AVIF"):
            buffer = io.BytesIO()
            square.save(buffer, name)
            total += buffer.tell() if name == "WEBP" and size in GM_SIZES else 0
    return total


def gm(path: Path, folder: Path) -> int:
    """Render to PNG with GraphicsMagick; return the bytes."""
    total = 0
    for size in GM_SIZES:
        out = folder / f"{size}.png"
        box = f"{size}x{size}"
        geometry = ["-resize", f"{box}^", "-gravity", "center", "-extent", box]
        subprocess.run(["gm", "convert", path, "-auto-orient", *geometry, out], check=True)
        total += out.stat().st_size
    return total


class Uploads:
    """The service as it is served, and a person who uploads pictures to it."""

    def __init__(self, service: Served, clients: Clients) -> None:
        self._service = service
        self._authorized = {"Authorization": f"Bearer {clients.token(service.port)}"}

    def worker_seconds(self) -> float:
        """Return the processor time of the picture workers so far."""
        return self._service.metrics().value("persona_picture_cpu_seconds_total")

    def used(self) -> float:
        """Return the processor time of the process and of its fork servers."""
        pids = [self._service.pid, *fork_server_pids(self._service.pid)]
        return sum(map(of_process, pids))

    def upload(self, data: bytes) -> dict[str, str]:
        """Upload a picture; return its URLs by size."""
        headers = {**self._authorized, "Content-Type": "image/jpeg"}
        answer = ask(self._service.port, "PUT", f"/v1/profiles/{EMAILS[0]}/picture", data, headers)
        return json.loads(answer)["picture"]["urls"]

    def served(self, data: bytes) -> int:
        """Return the bytes of the three sizes as a browser gets them."""
        urls = self.upload(data)
        paths = [urlsplit(urls[str(size)]).path for size in GM_SIZES]
        return sum(len(ask(self._service.port, "GET", path, b"", ACCEPT)) for path in paths)


def measure(
    base: Callable[[], object],
    ways: dict[str, Callable[[], object]],
    rounds: int,
    services: Collection[Uploads] = (),
) -> tuple[float, dict[str, float]]:
    """Return the median seconds of a base, and the median ratio to it of each way, all in turns."""
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    bases = []
    for _ in range(rounds):
        bases.append(processor_seconds(base, services))
        for name, way in ways.items():
            ratios[name].append(processor_seconds(way, services) / bases[-1])
    return statistics.median(bases), {name: statistics.median(each) for name, each in ratios.items()}


def plot(path: str, decoding: dict[str, float], whole: dict[str, float]) -> None:
    """Draw both tables as bars."""
    from persona_profile.capacity import charts  # noqa: PLC0415 - needed for this alone

    figure, (upper, lower) = charts.new_figure(648, 432, rows=2, layout="constrained")
    titles = (
        "Decode + crop + four sizes, over a bare decoding (JPEG: djpeg -scale 1/4)",
        "Whole upload of a 12 MP JPEG, over djpeg -scale 1/4",
    )
    for axes, title, table in zip((upper, lower), titles, (decoding, whole), strict=True):
        bars = axes.barh(list(table), list(table.values()), color=charts.COLOURS["c1"])
        axes.bar_label(bars, fmt="%.2f", padding=4)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_title(title)
        axes.grid(visible=False)
        axes.axvline(1, color=charts.SOFT, linewidth=1)
    lower.set_xlabel("ratio of processor time")
    charts.save(figure, Path(path))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo", nargs="?", type=Path, help="default: one that is made")
    parser.add_argument("--plot", help="draw the ratios into this file")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        sys.exit(f"needed: apt-get install {' '.join(missing)}")
    data = options.photo.read_bytes() if options.photo else photo()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        decoding = report_decoding(files(data, folder), options.rounds)
        whole = report_uploads(data, folder, options.rounds)
    if options.plot:
        plot(options.plot, decoding, whole)


def report_decoding(made: dict[str, Path], rounds: int) -> dict[str, float]:
    """Measure decoding; print and return the ratios."""
    print("decode + crop + four sizes: ratio of processor time, and that of the base")
    found = {}
    for name, path in made.items():
        is_jpeg = path.suffix == ".jpg"
        base = djpeg if is_jpeg else bare_decoding
        seconds, ratios = measure(
            lambda path=path, base=base: base(path), {"": lambda path=path: squares(path)}, rounds
        )
        found[name] = ratios[""]
        floor = "djpeg -scale 1/4" if is_jpeg else "bare decoding of all pixels"
        print(f"  {name:12} {ratios['']:5.2f}  ({seconds * 1000:.0f} ms: {floor})", flush=True)
    return found


def report_uploads(data: bytes, folder: Path, rounds: int) -> dict[str, float]:
    """Measure whole uploads and other ways; print and return the ratios."""
    with ExitStack() as running:
        clients = Clients(str(folder))
        services = {}
        for effort in EFFORTS:
            settings = {
                "pictures.effort": effort,
                "browserid.pinned_issuers": f"{folder}/issuers.json",
            }
            service = running.enter_context(production(folder / effort, settings))
            services[effort] = Uploads(service, clients)
        return compare_uploads(data, folder / "12.jpg", services, rounds)


def compare_uploads(
    data: bytes, path: Path, services: dict[str, Uploads], rounds: int
) -> dict[str, float]:
    """Measure, print and return the ratios of whole uploads at each effort."""
    folder = path.parent
    sizes = {f"upload, {effort}": service.served(data) for effort, service in services.items()}
    ways: dict[str, Callable[[], object]] = {
        f"upload, {effort}": lambda service=service: service.upload(data)
        for effort, service in services.items()
    }
    ways |= {"naive": lambda: naive(path), "gm convert, 3 PNG": lambda: gm(path, folder)}
    sizes |= {"naive": naive(path), "gm convert, 3 PNG": gm(path, folder)}
    _, ratios = measure(lambda: djpeg(path), ways, rounds, services.values())
    print("whole upload: ratio of processor time to djpeg -scale 1/4; bytes of 128, 256 and 512 px")
    for name, ratio in ratios.items():
        print(f"  {name:20} {ratio:6.2f}  {sizes[name]:9,} bytes", flush=True)
    cheaper = ratios["gm convert, 3 PNG"] / ratios["upload, balanced"]
    smaller = sizes["gm convert, 3 PNG"] / sizes["upload, balanced"]
    print(f"  balanced is {cheaper:.1f} times cheaper than gm, at 1/{smaller:.1f} of its bytes")
    return ratios


if __name__ == "__main__":
    main()
