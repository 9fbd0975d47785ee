"""What people do, one class for each activity of the capacity model, and whether the answer is right.

An activity is one request of those that the model counts. Beside it, and in no count, a process reads
back what it wrote (a small picture, a blank profile), and opens a session where one has ended: one
percent of requests, the cheapest.
"""

from __future__ import annotations

import base64
import io
import json
import time
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final
from urllib.parse import quote

from loadtest.generator.client import Connections, NoAnswer, Response
from loadtest.generator.people import UNKNOWN, Card, Person
from loadtest.generator.plan import Arrival
from loadtest.generator.tally import RIGHT, SHED, WRONG_CONTENT, Tally
from loadtest.identities import Identities
from loadtest.pictures import PictureLibrary, mark_in

ACCEPT: Final = "image/avif,image/webp,image/*,*/*;q=0.8"
"""As current browsers ask for pictures."""

THUMBNAIL: Final = 128
"""Width of the pictures that come with the cards."""

CHECKED_SIZE: Final = 64
"""Width of the picture that is read back after an upload."""


class Wrong(Exception):
    """The server answered something that was not written there."""

    def __str__(self) -> str:
        return "wrong_content"


WRONG_ANSWERS: Final = (
    Wrong,
    AttributeError,  # this and the next: an answer of another form is wrong too
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


class NothingThere(Exception):
    """There is no picture to be read: the upload before had failed, or has not ended."""


class World:
    """What scenarios share: the server, its users, their pictures.

    Args:
        connections: to the server.
        identities: who there is.
        library: of pictures.
        audience: origin of the server, as assertions name it.
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
        """Return what is known of a user."""
        if number not in self._people:
            self._people[number] = Person([Card() for _ in range(self.identities.emails)])
        return self._people[number]

    def open_session(self, number: int, *, new_certificates: bool = False) -> Response:
        """Let a user prove all emails; keep the session and check every card.

        Raises:
            NoAnswer: there is none.
            Wrong: a card is of another email, or shows what was not written.
        """
        user, person = self.identities.user(number), self.person(number)
        assertions = self.identities.assertions(user, self.audience, new_certificates=new_certificates)
        proofs = [{"assertion": each} for each in assertions]
        body = json.dumps({"proofs": proofs, "thumbnails": THUMBNAIL}).encode()
        writes = [card.writes for card in person.cards]
        answer = self.connections.call(
            "POST", "/v1/sessions", body, {"Content-Type": "application/json"}
        )
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
                card.learn(profile)
        return answer

    def call(
        self, arrival: Arrival, method: str, more: str = "", body: bytes = b"", content_type: str = ""
    ) -> Response:
        """Ask about a user's email, in the user's session.

        Raises:
            NoAnswer: there is none.
        """
        person = self.person(arrival.user)
        headers = {"Authorization": f"Bearer {person.token}"}
        if content_type:
            headers["Content-Type"] = content_type
        email = self.identities.user(arrival.user).emails[arrival.email]
        return self.connections.call(method, f"/v1/profiles/{quote(email)}{more}", body, headers)

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
    """One activity; `perform` counts it."""

    activity: ClassVar[str]

    def __init__(self, world: World, tally: Tally) -> None:
        self.world = world
        self._tally = tally

    @abstractmethod
    def ask(self, arrival: Arrival) -> Response:
        """Send the request, check what its answer says.

        Raises:
            NoAnswer: there is none.
            Wrong: it is not what was written.
        """

    def verify(self, arrival: Arrival) -> None:  # noqa: B027 - most have nothing to read back
        """Read back what was written.

        Raises:
            NoAnswer: there is nothing to tell by.
            Wrong: it is something else.
        """

    def perform(self, arrival: Arrival, planned_at: float) -> None:
        """Do it, and count what came of it."""
        try:
            answer, outcome = attempt(lambda: self.ask(arrival))
        except NothingThere:
            self._tally.withdraw(self.activity, planned_at)
            return
        ended_at = time.time()
        if outcome == RIGHT:
            outcome = self._verified(arrival)
        # What reading back takes is no part of the latency.
        self._tally.finish(
            self.activity,
            planned_at,
            outcome,
            ended_at=ended_at,
            sent=answer.sent,
            received=len(answer.body),
        )

    def _verified(self, arrival: Arrival) -> str:
        try:
            self.verify(arrival)
        except NoAnswer:
            pass  # nothing was said that could be wrong; the server's failing shows in what is counted
        except WRONG_ANSWERS:
            return WRONG_CONTENT
        return RIGHT


class DialogOpen(Scenario):
    """A dialog: one round trip proves all emails and answers all cards, each of which is checked."""

    activity = "dialog_open"

    def ask(self, arrival: Arrival) -> Response:
        """Open a session."""
        return self.world.open_session(arrival.user, new_certificates=arrival.new_certificates)


class PictureRead(Scenario):
    """A picture that is not in the cache of a browser yet.

    The model's rate has the caches in it: of every picture, each device fetches the URL of a window
    once. A run is shorter than a window, so each of its reads is one by another device or window.
    """

    activity = "picture_read"

    def ask(self, arrival: Arrival) -> Response:
        """Fetch a size of the picture, and compare it with what was uploaded."""
        card = self.world.person(arrival.user).cards[arrival.email]
        path = card.paths.get(arrival.size or 0)
        writes, picture = card.writes, card.picture
        if card.is_written or path is None or not isinstance(picture, int):
            raise NothingThere
        answer = self.world.connections.call("GET", path, headers={"Accept": ACCEPT})
        if card.writes != writes:
            # It was replaced meanwhile: the old one and none are both right.
            return Response(200, answer.body) if answer.status == 404 else answer
        if answer.status == 200 and mark_in(answer.body) != picture:
            raise Wrong
        return answer


class Writing(Scenario):
    """What needs a session, and a user who does nothing else meanwhile that writes."""

    def perform(self, arrival: Arrival, planned_at: float) -> None:
        """Wait for the user's turn, open a session if there is none, do it."""
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
        """Send a change; return the answer, the card, and the name and picture there were before.

        Where the server refused in so many words, what was there before still is.
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
            card.know(*before)
        return answer, card, *before

    def card(self, arrival: Arrival) -> Card:
        """Return what is known of the arrival's email."""
        return self.world.person(arrival.user).cards[arrival.email]


class Upload(Writing):
    """A picture straight from a phone; read back small."""

    def ask(self, arrival: Arrival) -> Response:
        """Put the picture."""
        assert arrival.picture is not None
        picture = self.world.library.picture(arrival.picture)
        answer, card, name, _ = self.write(
            arrival, "PUT", "/picture", picture.body, picture.content_type
        )
        if answer.status == 200:
            card.learn(answer.json)
            card.know(name, picture.mark)
        return answer

    def verify(self, arrival: Arrival) -> None:
        """Fetch the smallest size."""
        card = self.card(arrival)
        path = card.paths[CHECKED_SIZE]
        answer = self.world.connections.call("GET", path, headers={"Accept": ACCEPT})
        if answer.status == 200 and card.picture not in (UNKNOWN, mark_in(answer.body)):
            raise Wrong


class FirstUpload(Upload):
    """Of a new email."""

    activity = "first_upload"


class Replacement(Upload):
    """Where there was a picture."""

    activity = "replacement"


class LaunchUpload(Upload):
    """Of one who was there before the service."""

    activity = "launch_upload"


class Edit(Writing):
    """A name is changed; the answer must have it."""

    activity = "edit"

    def ask(self, arrival: Arrival) -> Response:
        """Patch the profile."""
        written = f"Name {time.time_ns():x}"
        body = json.dumps({"name": written}).encode()
        answer, card, _, picture = self.write(
            arrival, "PATCH", "", body, "application/merge-patch+json"
        )
        if answer.status == 200:
            card.know(written, picture)
            if answer.json["name"] != written:
                raise Wrong
        return answer


class Export(Writing):
    """All that there is of an email; it must hold what was written."""

    activity = "export"

    def ask(self, arrival: Arrival) -> Response:
        """Fetch the export, open it."""
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
    """Everything about an email is removed; afterwards it must be blank."""

    activity = "erase"

    def ask(self, arrival: Arrival) -> Response:
        """Delete the profile."""
        answer, card, _, _ = self.write(arrival, "DELETE")
        if answer.status == 204:
            card.know(None, None)
            card.paths = {}
        return answer

    def verify(self, arrival: Arrival) -> None:
        """Read the profile."""
        answer = self.world.call(arrival, "GET")
        if answer.status == 200 and not self.card(arrival).is_lost:
            profile = answer.json
            if profile["name"] is not None or profile["picture"] is not None:
                raise Wrong


_WRITES: Final = (FirstUpload, Replacement, LaunchUpload, Edit, Export, Erase)
SCENARIOS: Final[Sequence[type[Scenario]]] = (DialogOpen, PictureRead, *_WRITES)


def attempt(ask: Callable[[], Response]) -> tuple[Response, str]:
    """Return an answer and how it is counted: `RIGHT`, `SHED` or what went wrong."""
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
    """Return the picture that came with a profile."""
    url: str = profile["picture"]["thumbnail"]
    return base64.b64decode(url.partition(",")[2])
