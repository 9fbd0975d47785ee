"""Names as people write them are accepted; what hides, reorders or spoofs is not."""

from __future__ import annotations

import json
import shutil
import subprocess
import tracemalloc

import emoji
import pytest
import regex
import unicodedata2
from support import ROOT

from persona_profile.characters import HIDDEN, first_harmful, nfc
from persona_profile.emails import InvalidEmail, canonical_email
from persona_profile.profiles.claims import CLAIMS, InvalidClaim

NAMES = json.loads((ROOT / "tests/support/names.json").read_text())
ACCEPTED = [
    (kind, name)
    for group in ("scripts", "others")
    for kind in NAMES[group]
    for name in NAMES[group][kind]
]
REJECTED = [
    (name, position)
    for group in ("rejected", "rejected by the service alone")
    for names in NAMES[group].values()
    for name, position in names.items()
]
TEXTS = [claim for claim in CLAIMS if claim not in ("website", "locale", "zoneinfo")]

# Each reaches another rule; {} is any character.
CONTEXTS = [
    "a{}b",
    "\u0915{}",
    "{}\u200c",
    "{}\u200d",
    "\u09b0\u200d{}",
    "{}\u200c\u0627",
    "\u0628\u200c{}",
    "{}\u200d\u263a",
    "\u263a\u200d{}",
    "{}\ufe0f",
    "{}\ufe00",
    "{}\U000e0100",
    "{}\u180b",
    "{}\u180e\u1820",
    "a\u0315\u0315\u0315\u0315{}",
]


LARGE = "Anatolian_Hieroglyphs Bamum Cuneiform Egyptian_Hieroglyphs Hangul Nushu Tangut Vai Yi"


def various():
    """Yield every assigned character; of ideographs and large scripts, one in fifty."""
    scripts = "".join(rf"\p{{Script={script}}}" for script in LARGE.split())
    many = regex.compile(rf"[\p{{Unified_Ideograph}}\p{{Co}}\p{{Cs}}{scripts}]")
    for number in range(0x110000):
        if unicodedata2.category(chr(number)) != "Cn" and (
            number % 50 == 0 or not many.match(chr(number))
        ):
            yield chr(number)


def shown_by_the_client(texts: list[str]) -> list[bool]:
    """Return for each text whether the card shows it as it is."""
    card = (ROOT / "persona_profile/static/client/persona-card-text.js").as_uri()
    script = f"""
        import {{ readFileSync }} from "node:fs";
        import {{ visibleText }} from {json.dumps(card)};
        const same = (text) => visibleText(text) === text.replace(/\\p{{Zs}}+/gu, " ").trim();
        console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(same)));
    """
    node = shutil.which("node")
    assert node
    command = [node, "--input-type=module", "--eval", script]
    done = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize(("kind", "name"), ACCEPTED, ids=ascii)
def test_names_that_are_accepted(kind, name):
    """Names of each script, emoji and flags are accepted by every claim of text."""
    assert kind not in NAMES["scripts"] or regex.search(rf"\p{{Script={kind}}}", name)
    assert {CLAIMS[claim](name) for claim in TEXTS} == {unicodedata2.normalize("NFC", name)}


def test_number_of_scripts():
    """Most of the scripts in which people have names have one."""
    assert len(NAMES["scripts"]) >= 60


@pytest.mark.parametrize(("name", "position"), REJECTED, ids=ascii)
def test_names_that_are_rejected(name, position):
    """An attack is rejected by every claim of text; the error has number and place of the character."""
    harmful = nfc(name).strip()[position - 1]
    for claim in TEXTS:
        with pytest.raises(InvalidClaim) as caught:
            CLAIMS[claim](name)
        assert str(caught.value) == (
            f"must not contain the character U+{ord(harmful):04X} at position {position}"
        )


def test_every_emoji():
    """All emoji are accepted, joined with selectors and without."""
    known = [each for each, data in emoji.EMOJI_DATA.items() if data["status"] <= 4]
    assert len(known) > 5000
    assert [ascii(each) for each in known if first_harmful(each) is not None] == []


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("\U00016d67\U00016d67", "\U00016d68"),  # Kirat Rai, Unicode 16
        ("\U0001611e\U0001611e", "\U00016121"),  # Gurung Khema, Unicode 16
    ],
)
def test_newer_than_the_interpreter(name, stored):
    """Letters are composed by the Unicode of the library, whatever the interpreter's is."""
    assert CLAIMS["name"]("A" + name) == "A" + stored
    assert canonical_email(f"a{name}@example.com") == f"a{stored}@example.com"


def test_one_unicode():
    """The two libraries have the data of one version of Unicode."""
    everything = "".join(map(chr, range(0x110000)))
    unassigned = [each for each in everything if unicodedata2.category(each) == "Cn"]
    assert regex.findall(r"\p{Cn}", everything) == unassigned
    assert int(unicodedata2.unidata_version.partition(".")[0]) >= 18


def test_hidden_in_an_address():
    """What shows nothing is in no address either, needed in a name or not."""
    hidden = regex.compile(f"[{HIDDEN}]")
    for number in range(0x110000):
        if hidden.match(chr(number)):
            with pytest.raises(InvalidEmail):
                canonical_email(f"a{chr(number)}b@example.com")


def test_client_shows_accepted_names():
    """The card shows a name as the service stores it, whatever character is in it and beside it."""
    texts = [name for _, name in ACCEPTED]
    # A third of the places for each character; its neighbours get the others.
    texts += [context.format(each) for each in various() for context in CONTEXTS[ord(each) % 3 :: 3]]
    stored = [
        normalized
        for normalized in (nfc(each).strip() for each in texts)
        if first_harmful(normalized) is None
    ]
    assert len(stored) > 20_000
    pairs = zip(stored, shown_by_the_client(stored), strict=True)
    assert [ascii(name) for name, shown in pairs if not shown] == []


def test_client_removes_what_is_rejected():
    """The card shows no attack; only where a joiner is idle, or a character nobody's, it shows more."""
    attacks = [name for names in NAMES["rejected"].values() for name in names]
    assert [
        ascii(name) for name, shown in zip(attacks, shown_by_the_client(attacks), strict=True) if shown
    ] == []
    rejected = [f"a{each}b" for each in various() if first_harmful(f"a{each}b") is not None]
    kept = [
        name[1] for name, shown in zip(rejected, shown_by_the_client(rejected), strict=True) if shown
    ]
    assert regex.fullmatch(rf"[[\p{{Co}}\p{{Cf}}]--[{HIDDEN}]]+", "".join(kept), regex.V1)


@pytest.mark.parametrize(
    "unit", ["\u0628\u200c", "\u0300\u0301", "\u263a\u200d", "\U0001f3f4\U000e0067", "\u1820\u180b"]
)
def test_long_attacks(unit):
    """A text of any length is judged by little memory; it is cut before it is normalized."""
    tracemalloc.start()
    with pytest.raises(InvalidClaim):
        CLAIMS["name"](unit * 500_000)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
