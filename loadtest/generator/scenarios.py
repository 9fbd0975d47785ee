"""The activities of the capacity model, and the checks of their responses.

An activity is one request that the model counts. A process also reads back what it wrote (a small
picture, a blank profile) and renews ended sessions. These cheap requests, one percent of all, are not
counted.
"""

from __future__ import annotations

import base64
import io
import json
import random
import time
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final
from urllib.parse import quote

import gevent

from loadtest.generator.client import Connections, NoAnswer, Response
from loadtest.generator.people import UNKNOWN, Card, Person
from loadtest.generator.plan import Arrival
from loadtest.generator.tally import RIGHT, SHED, WRONG_CONTENT, Tally
from loadtest.identities import Identities
from loadtest.pictures import PictureLibrary, mark_in
from persona_profile.capacity.model import UPLOADS

ACCEPT: Final = "image/avif,image/webp,image/*,*/*;q=0.8"
"""As current browsers send it for pictures."""

FORWARDED: Final = "X-Forwarded-For"
"""Users come from many networks, between which servers share their workers fairly. The server must
trust the generator as its proxy."""

THUMBNAIL: Final = 128
"""Width of the pictures in the cards."""

CHECKED_SIZE: Final = 64
"""Width of the picture to read back after an upload."""


class Wrong(Exception):
    """The server returned content that was not written there."""

    def __str__(self) -> str:
        return WRONG_CONTENT


WRONG_ANSWERS: Final = (
    Wrong,
    AttributeError,  # this and the next: a document of another form is wrong too
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


class NothingThere(Exception):
    """There is no picture to read: its upload has failed, or has not ended."""


class World:
    """The state that scenarios share: the server, its users, their pictures.

    The audience is the server's origin, as assertions name it.
    """

    def __init__(
        self, connections: Connections, identities: Identities, library: PictureLibrary, audience: str
    ) -> None:
        self.connections = connections
        self.identities = identities
        self.library = library
        self.audience = audience
        self._people: dict[int, Person] = {}

    def person(self, number: int) -> Person:
        """Return the expected state of a user."""
        if number not in self._people:
            self._people[number] = Person([Card() for _ in range(self.identities.emails)])
        return self._people[number]

    def open_session(self, number: int, *, new_certificates: bool = False) -> Response:
        """Prove all emails of a user, keep the session and check every card.

        Raises:
            NoAnswer: there is no response.
            Wrong: a card is of another email, or shows content that was not written.
        """
        user, person = self.identities.user(number), self.person(number)
        assertions = self.identities.assertions(user, self.audience, new_certificates=new_certificates)
        proofs = [{"assertion": each} for each in assertions]
        body = json.dumps({"proofs": proofs, "thumbnails": THUMBNAIL}).encode()
        writes = [card.writes for card in person.cards]
        headers = {"Content-Type": "application/json", FORWARDED: user.address}
        answer = self.connections.call("POST", "/v1/sessions", body, headers)
        if answer.status != 201:
            return answer
        document = answer.json
        if not isinstance(document, dict) or len(document.get("profiles", ())) != len(user.emails):
            raise Wrong
        person.take_session(document)
        for email, card, profile, before in zip(
            user.emails, person.cards, document["profiles"], writes, strict=True
        ):
            if profile["email"] != email:
                raise Wrong
            if card.writes == before and not card.is_written:
                self._check(card, profile)
                card.keep_urls(profile)
        return answer

    def call(
        self, arrival: Arrival, method: str, more: str = "", body: bytes = b"", content_type: str = ""
    ) -> Response:
        """Send a request about a user's email, in the user's session; or raise `NoAnswer`."""
        person, user = self.person(arrival.user), self.identities.user(arrival.user)
        headers = {"Authorization": f"Bearer {person.token}", FORWARDED: user.address}
        if content_type:
            headers["Content-Type"] = content_type
        email = user.emails[arrival.email]
        return self.connections.call(method, f"/v1/profiles/{quote(email)}{more}", body, headers)

    def read(self, number: int, path: str) -> Response:
        """Fetch a user's picture as a browser does; or raise `NoAnswer`."""
        headers = {"Accept": ACCEPT, FORWARDED: self.identities.user(number).address}
        return self.connections.call("GET", path, headers=headers)

    @staticmethod
    def _check(card: Card, profile: Mapping[str, Any]) -> None:
        if "error" in profile or card.name not in (UNKNOWN, profile["name"]):
            raise Wrong
        if card.picture is UNKNOWN:
            return
        shown = mark_in(thumbnail_of(profile)) if profile["picture"] else None
        if shown != card.picture or (shown is None) != (profile["picture"] is None):
            raise Wrong


class Scenario(ABC):
    """One activity; `perform` counts it.

    Attributes:
        patience: seconds for which a shed request is sent again.
    """

    patience: ClassVar[float] = 0.0

    def __init__(self, activity: str, world: World, tally: Tally) -> None:
        self.activity = activity
        self.world = world
        self._tally = tally

    @abstractmethod
    def ask(self, arrival: Arrival) -> Response:
        """Send the request and check the response; raise `NoAnswer` or `Wrong`."""

    def verify(self, arrival: Arrival) -> None:  # noqa: B027 - only some scenarios read back
        """Read the written content back; raise `NoAnswer` or `Wrong`."""

    def perform(self, arrival: Arrival, planned_at: float) -> None:
        """Perform the activity and count its outcome."""
        sent = repeated = 0
        try:
            answer, outcome = attempt(lambda: self.ask(arrival))
            while outcome == SHED and self._repeats(answer, planned_at):
                sent, repeated = sent + answer.sent, repeated + 1
                answer, outcome = attempt(lambda: self.ask(arrival))
        except NothingThere:
            self._tally.withdraw(self.activity, planned_at)
            return
        ended_at = time.time()
        if outcome == RIGHT:
            outcome = self._verified(arrival)
        # The latency does not include reading back.
        self._tally.finish(
            self.activity,
            planned_at,
            outcome,
            ended_at=ended_at,
            sent=sent + answer.sent,
            received=len(answer.body),
            repeated=repeated,
        )

    def _repeats(self, answer: Response, planned_at: float) -> bool:
        """Wait as long as the server asks for, and a little more; False if patience ends before."""
        assert answer.retry_after is not None
        pause = answer.retry_after * random.uniform(1, 1.25)  # noqa: S311 - no secret
        if time.time() + pause > planned_at + self.patience:
            return False
        gevent.sleep(pause)
        return True

    def _verified(self, arrival: Arrival) -> str:
        try:
            self.verify(arrival)
        except NoAnswer:
            pass  # without a response there is no wrong content; counted requests show the failure
        except WRONG_ANSWERS:
            return WRONG_CONTENT
        return RIGHT


class DialogOpen(Scenario):
    """A dialog: one round trip proves all emails and returns all cards; each card is checked."""

    def ask(self, arrival: Arrival) -> Response:
        """Open a session."""
        return self.world.open_session(arrival.user, new_certificates=arrival.new_certificates)


class PictureRead(Scenario):
    """A picture that is not yet in a browser's cache.

    The model's rate includes caches: each device fetches the URL of a window once. A run is shorter
    than a window, so each read stands for another device.
    """

    def ask(self, arrival: Arrival) -> Response:
        """Fetch a size of the picture, and compare it with the upload."""
        card = self.world.person(arrival.user).cards[arrival.email]
        path = card.paths.get(arrival.size or 0)
        writes, picture = card.writes, card.picture
        if card.is_written or path is None or not isinstance(picture, int):
            raise NothingThere
        answer = self.world.read(arrival.user, path)
        if card.writes != writes:
            # It was replaced meanwhile: both the old picture and 404 are right.
            return Response(200, answer.body) if answer.status == 404 else answer
        if answer.status == 200 and mark_in(answer.body) != picture:
            raise Wrong
        return answer


class Writing(Scenario):
    """A write: it needs a session, and the user's other writes wait for it."""

    def perform(self, arrival: Arrival, planned_at: float) -> None:
        """Wait for the user's turn, open a session if there is none, and perform the activity."""
        person = self.world.person(arrival.user)
        with person.turn:
            if not person.has_session:
                _, outcome = attempt(lambda: self.world.open_session(arrival.user))
                if outcome != RIGHT:
                    self._tally.finish(self.activity, planned_at, outcome)
                    return
            super().perform(arrival, planned_at)

    def write(
        self, arrival: Arrival, method: str, more: str = "", body: bytes = b"", content_type: str = ""
    ) -> tuple[Response, Card, Any, Any]:
        """Send a change; return the response, the card, and the name and picture before it.

        After a rejection the state before still holds.
        """
        card = self.card(arrival)
        before = card.name, card.picture
        card.begin()
        has_answer = False
        try:
            answer = self.world.call(arrival, method, more, body, content_type)
            has_answer = True
        finally:
            card.end(has_answer=has_answer)
        if 400 <= answer.status < 500 or answer.is_shed:
            card.expect(*before)
        return answer, card, *before

    def card(self, arrival: Arrival) -> Card:
        """Return the expected profile of the arrival's email."""
        return self.world.person(arrival.user).cards[arrival.email]


class Upload(Writing):
    """An upload of a phone's picture; a small size is read back.

    A shed upload is sent again, as the dialog's client does while the person waits.
    """

    patience = 30.0  # assumed

    def ask(self, arrival: Arrival) -> Response:
        """Put the picture."""
        assert arrival.picture is not None
        picture = self.world.library.picture(arrival.picture)
        answer, card, name, _ = self.write(
            arrival, "PUT", "/picture", picture.body, picture.content_type
        )
        if answer.status == 200:
            card.keep_urls(answer.json)
            card.expect(name, picture.mark)
        return answer

    def verify(self, arrival: Arrival) -> None:
        """Fetch the smallest size."""
        card = self.card(arrival)
        path = card.paths[CHECKED_SIZE]
        answer = self.world.read(arrival.user, path)
        if answer.status == 200 and card.picture not in (UNKNOWN, mark_in(answer.body)):
            raise Wrong


class Edit(Writing):
    """A change of the name; the response must have it."""

    def ask(self, arrival: Arrival) -> Response:
        """Patch the profile."""
        written = f"Name {time.time_ns():x}"
        body = json.dumps({"name": written}).encode()
        answer, card, _, picture = self.write(
            arrival, "PATCH", "", body, "application/merge-patch+json"
        )
        if answer.status == 200:
            card.expect(written, picture)
            if answer.json["name"] != written:
                raise Wrong
        return answer


class Export(Writing):
    """The export of a profile; it must have the written name and picture."""

    def ask(self, arrival: Arrival) -> Response:
        """Fetch and open the export."""
        card = self.card(arrival)
        answer = self.world.call(arrival, "GET", "/export")
        if answer.status == 200:
            with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
                profile = json.loads(archive.read("profile.json"))
                if card.name not in (UNKNOWN, profile["name"]):
                    raise Wrong
                small = f"picture/{CHECKED_SIZE}."
                found = [name for name in archive.namelist() if name.startswith(small)]
                if isinstance(card.picture, int) and (
                    not found or mark_in(archive.read(found[0])) != card.picture
                ):
                    raise Wrong
        return answer


class Erase(Writing):
    """The removal of a profile; it must be blank afterwards."""

    def ask(self, arrival: Arrival) -> Response:
        """Delete the profile."""
        answer, card, _, _ = self.write(arrival, "DELETE")
        if answer.status == 204:
            card.expect(None, None)
            card.paths = {}
        return answer

    def verify(self, arrival: Arrival) -> None:
        """Read the profile."""
        answer = self.world.call(arrival, "GET")
        if answer.status == 200 and not self.card(arrival).is_lost:
            profile = answer.json
            if profile["name"] is not None or profile["picture"] is not None:
                raise Wrong


SCENARIOS: Final[Mapping[str, type[Scenario]]] = {
    "dialog_open": DialogOpen,
    **dict.fromkeys(UPLOADS, Upload),
    "picture_read": PictureRead,
    "edit": Edit,
    "export": Export,
    "erase": Erase,
}
"""By activity."""


def attempt(ask: Callable[[], Response]) -> tuple[Response, str]:
    """Return a response and its outcome: `RIGHT`, `SHED` or the code of an error."""
    try:
        answer = ask()
    except NoAnswer as error:
        return Response(0, b""), error.code
    except WRONG_ANSWERS:
        return Response(0, b""), WRONG_CONTENT
    if answer.is_shed:
        return answer, SHED
    return answer, RIGHT if 200 <= answer.status < 300 else answer.problem


def thumbnail_of(profile: Mapping[str, Any]) -> bytes:
    """Return the thumbnail in a profile."""
    url: str = profile["picture"]["thumbnail"]
    return base64.b64decode(url.partition(",")[2])
