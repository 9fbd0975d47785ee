"""What the load test's generators take themselves, beside what the server takes for the same.

In processor time of one core: pictures of the mix per second, with their bytes; reading the mark of a
rendition; proofs with kept and with new certificates, by the algorithm of the user's key, and the
server's verifier on the same proofs. With a photo also whether pictures of the generator cost a decoder
as much per byte, at the scale at which the server decodes. Making the files is no part of it.

    python benchmarks/load_generator.py [PHOTO.jpg] [--folder DIR] [--rounds N]
"""

from __future__ import annotations

import argparse
import io
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.pictures.workers import LIMITS

from loadtest.identities import Identities, make
from loadtest.pictures import KINDS, PictureLibrary, mark_in, numbers
from persona_profile.auth.browserid import BrowserIDVerifier
from persona_profile.auth.browserid_discovery import Discovery, PinnedIssuers
from persona_profile.images import Encoding, PictureOptions
from persona_profile.images.formats import FORMATS
from persona_profile.images.pipeline import render_picture
from persona_profile.settings import BROWSERID_ALGORITHMS

ORIGIN = "http://127.0.0.1:6543"
PICTURES = 200
"""Of the mix in each round."""

PROOFS = 200
OPTIONS = PictureOptions(LIMITS, Encoding(FORMATS))


def processor_seconds(work: Callable[[], object]) -> float:
    """Return the processor time of some work in this process."""
    before = time.process_time()
    work()
    return time.process_time() - before


def median(rounds: int, work: Callable[[], object]) -> float:
    """Return the median of the processor time of some work."""
    return statistics.median(processor_seconds(work) for _ in range(rounds))


def resident_anonymous() -> int:
    """Return the bytes of memory that this process shares with no file."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.split("RssAnon:")[1].split()[0])


def measure_pictures(folder: Path, rounds: int) -> None:
    """Print what pictures cost the generator, and the server's pipeline on the same."""
    print("making what is missing of", folder)
    before = resident_anonymous()
    library = PictureLibrary.open(folder, report=print)
    sequence = numbers(seed=1)
    sizes: list[int] = []

    def some() -> None:
        sizes.extend(len(library.picture(next(sequence)).body) for _ in range(PICTURES))

    some()  # which also reads the files into memory
    sizes.clear()
    seconds = median(rounds, some) / PICTURES
    mean = statistics.mean(sizes)
    print(f"mix: {1 / seconds:.0f} pictures/s, {mean / seconds / 1e6:.0f} MB/s")
    print(f"{mean / 1e6:.2f} MB each; own memory {(resident_anonymous() - before) / 1e6:.0f} MB")
    for kind in KINDS:
        picture = library.picture_of_kind(12345, kind.name)
        made = median(rounds, lambda kind=kind: library.picture_of_kind(12345, kind.name))
        body = io.BytesIO(picture.body)
        rendered = processor_seconds(lambda body=body: render_picture(body, None, OPTIONS))
        share = len(picture.body) / kind.width / kind.height
        print(
            f"{kind.name}: {len(picture.body) / 1e6:.2f} MB, {share:.2f} bytes/pixel; made in "
            f"{made * 1e3:.2f} ms, {made / rendered:.2%} of what the server's pipeline takes"
        )
    upload = library.picture_of_kind(5, KINDS[0].name)
    for each in render_picture(io.BytesIO(upload.body), None, OPTIONS):
        assert upload.matches(each.data)
        seconds = median(rounds, lambda data=each.data: mark_in(data))
        print(f"mark in {each.size} px {each.format}: {seconds * 1e3:.2f} ms")


def measure_decoding(folder: Path, photo: Path, rounds: int) -> None:
    """Print processor time per byte of a decoder on the generator's pictures, over that on a photo."""
    library = PictureLibrary.open(folder)

    def per_byte(data: bytes, scale: int) -> float:
        def decode() -> None:
            picture = Image.open(io.BytesIO(data))
            picture.draft(None, (picture.width // scale, picture.height // scale))
            picture.load()

        return processor_seconds(decode) / len(data)

    real = photo.read_bytes()
    for kind in (kind for kind in KINDS if kind.format == "jpeg"):
        made = library.picture_of_kind(1, kind.name).body
        for scale in (1, 4, 8):
            ratios = [per_byte(made, scale) / per_byte(real, scale) for _ in range(rounds)]
            print(f"{kind.name} at 1/{scale}, per byte over the photo: {statistics.median(ratios):.2f}")


def measure_identities(folder: Path, rounds: int) -> None:
    """Print what proofs cost the generator, and the server's verifier on the same."""
    for algorithm in ("DS128", "RS256"):
        own = folder / algorithm
        started = time.monotonic()
        identities = make(own, users=PROOFS, emails=1, shares={algorithm: 100}, pool=20)
        print(f"{algorithm}: folder made in {time.monotonic() - started:.1f} s")
        pinned = PinnedIssuers.load(own / "pinned-issuers.json")
        for new, what in ((True, "new"), (False, "kept")):
            runs = [timed_proofs(identities, pinned, new_certificates=new) for _ in range(rounds)]
            made, verified = map(statistics.median, zip(*runs, strict=True))
            print(
                f"{algorithm}, {what} certificate: made in {made * 1e3:.3f} ms, "
                f"verified in {verified * 1e3:.3f} ms"
            )


def timed_proofs(
    identities: Identities, pinned: PinnedIssuers, *, new_certificates: bool
) -> tuple[float, float]:
    """Return the processor time of making one proof and of verifying it, the mean of all users.

    Kept certificates were seen by the verifier before, new ones were not.
    """
    verifier = BrowserIDVerifier(
        [ORIGIN], Discovery(pinned, refuse_to_fetch), algorithms=BROWSERID_ALGORITHMS
    )
    proofs: list[str] = []

    def prove(*, new: bool) -> None:
        proofs.clear()
        for user in itertools.islice(identities.newcomers(), PROOFS):
            proofs.extend(identities.assertions(user, ORIGIN, new_certificates=new))

    def verify(proofs: Iterable[str]) -> None:
        for proof in proofs:
            verifier.verify(proof)

    if not new_certificates:
        prove(new=False)
        verify(proofs)
    made = processor_seconds(lambda: prove(new=new_certificates))
    return made / PROOFS, processor_seconds(lambda: verify(proofs)) / PROOFS


def refuse_to_fetch(*_arguments: object) -> object:
    """Stand for the network, which nothing here needs."""
    raise AssertionError("a pinned issuer was looked up")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photo", type=Path, nargs="?", help="a phone's JPEG to compare with")
    parser.add_argument("--folder", type=Path, help="of the load test's pictures; kept")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "pictures"
        measure_pictures(folder, options.rounds)
        if options.photo:
            measure_decoding(folder, options.photo, options.rounds)
        measure_identities(Path(temporary), options.rounds)


if __name__ == "__main__":
    main()
