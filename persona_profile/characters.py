"""Characters of untrusted text: their normal form, and those that hide or deceive.

The data are of two libraries, alike on every machine; those of an interpreter end with the Unicode of
its year.
"""

from __future__ import annotations

from typing import Final

import regex
import unicodedata2

BLANK: Final = "\u2800\U00013441\U00013442\U00016fe4\U0001d159"
"""Characters of an empty glyph that Unicode does not call ignorable: a Braille pattern, two Egyptian
blanks, a filler of Khitan, a null notehead."""

HIDDEN: Final = rf"\p{{Default_Ignorable_Code_Point}}{BLANK}"
"""What a set of a pattern of `regex` holds: characters that show nothing of their own."""

# Flags of England, Scotland and Wales, the tag sequences that are recommended for interchange (UTS 51).
# Readers without another one's flag see a black flag alone, and none of its tags.
_FLAG = "\U0001f3f4\U000e0067\U000e0062(?:{})\U000e007f".format(
    "|".join("".join(chr(0xE0000 + ord(letter)) for letter in name) for name in ("eng", "sct", "wls"))
)

_MONGOLIAN_LETTER = r"(?=\p{L})\p{Script=Mongolian}"

_HARMFUL = regex.compile(
    rf"""
    {_FLAG} (*SKIP)(*FAIL)
    # Controls, unassigned, private, line breaks, and hidden ones
    | (?= [\p{{C}}\p{{Zl}}\p{{Zp}}{HIDDEN}] )
      # except joiners that change the letters about them: RFC 5892, A.1 and A.2;
      (?! (?= [\u200c\u200d] ) (?<= \p{{ccc=9}} )
        | (?= \u200c \p{{jt=T}}* [\p{{jt=R}}\p{{jt=D}}] ) (?<= [\p{{jt=L}}\p{{jt=D}}] \p{{jt=T}}* )
        # before a virama too, as Bengali, Kannada and Sinhala have it (Unicode, chapters 12 and 13),
        | (?= \u200d \p{{ccc=9}} ) (?<= \p{{L}} )
        # and between emoji (UTS 51, ED-16);
        | (?= \u200d \p{{Extended_Pictographic}} )
          (?<= \p{{Extended_Pictographic}} \ufe0f? \p{{Emoji_Modifier}}? )
        # one selector after a base that has variants: emoji, ideographs, letters of some scripts;
        | (?= [\ufe0e\ufe0f] ) (?<= \p{{Emoji}} )
        | (?= [\ufe00-\ufe02\U000e0100-\U000e01ef] ) (?<= \p{{Unified_Ideograph}} )
        | (?= \ufe00 ) (?<= [\p{{Script=Myanmar}}\p{{Script=Phags_Pa}}\p{{Script=Manichaean}}] )
        | (?= [\ufe00-\ufe06] ) (?<= \p{{Script=Egyptian_Hieroglyphs}} )
        | (?= [\u180b-\u180d\u180f] ) (?<= {_MONGOLIAN_LETTER} )
        # the gap of Mongolian before a last a or e.
        | (?= \u180e [\u1820\u1821] ) (?<= {_MONGOLIAN_LETTER} [\u180b-\u180d\u180f]? )
      ) .
    # A mark without a letter, and the fifth that does not move on (UTS 39, section 5.4)
    | \A \p{{M}}
    | (?<= [\p{{Mn}}\p{{Me}}]{{4}} ) [\p{{Mn}}\p{{Me}}]
    """,
    regex.VERBOSE | regex.DOTALL,
)


def nfc(text: str) -> str:
    """Return a text in Normalization Form C (UAX 15)."""
    if text.isascii():
        return text
    normalized: str = unicodedata2.normalize("NFC", text)
    return normalized


def first_harmful(text: str) -> int | None:
    """Return the index of the first character that hides, reorders, or hides others beside it.

    Args:
        text: NFC of a bounded length.
    """
    found = _HARMFUL.search(text)
    return found.start() if found else None
