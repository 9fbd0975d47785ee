"""The mistakes of a settings file: each with its line, none with a value, which may be a secret.

PasteDeploy reads the file by `configparser`, which stops at the first mistake, and quotes the line.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from persona_profile.settings import InvalidSettings

_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,63}")
_OPTION = re.compile(r"(.*?)\s*[=:]\s*(.*)")
_REFERENCE = re.compile(r"%(?:%|\(([^)]*)\)s|)")
_GIVEN: Final = {"here", "__file__"}
_DEFAULT: Final = "DEFAULT"
# Other sections, such as those of loggers, belong to other readers.
_READ = re.compile(r"DEFAULT|(app|application|server|composite|composit|pipeline|filter|filter-app):.*")


@dataclass(slots=True)
class _Setting:
    name: str
    line: int
    value: str

    @property
    def shown(self) -> str:
        """The name, unless it may be a part of a value that lost its indentation."""
        return self.name if _NAME.fullmatch(self.name) else "a setting"


@dataclass(slots=True)
class _Section:
    """A section, with the line of its header."""

    line: int
    settings: list[_Setting] = field(default_factory=list)

    def names(self) -> set[str]:
        return {each.name for each in self.settings}


def check_settings_file(path: Path) -> None:
    """Check the syntax of a settings file.

    Raises:
        InvalidSettings: the file can't be read. The message has a line for each mistake.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InvalidSettings("there is no such file; name one with -c") from None
    except OSError as error:
        raise InvalidSettings(str(error.strerror)) from None
    reading = _Reading()
    reading.read(data)
    if reading.faults:
        texts = (f"  line {line}: {fault}" for line, fault in sorted(reading.faults))
        raise InvalidSettings("\n".join(["this file can't be read:", *texts]))


class _Reading:
    """Reads a file as `configparser` does, and goes on after a mistake; `faults` by line."""

    def __init__(self) -> None:
        self.faults: list[tuple[int, str]] = []
        self._sections: dict[str, _Section] = {}

    def read(self, data: bytes) -> None:
        if data.startswith(_UTF16):
            self.faults.append((1, "UTF-16: save the file as UTF-8"))
            return
        if data.startswith(codecs.BOM_UTF8):
            self.faults.append((1, "begins with a byte order mark: save the file as UTF-8 without one"))
        section: _Section | None = None
        setting: _Setting | None = None
        indent = 0
        for number, line in enumerate(data.removeprefix(codecs.BOM_UTF8).splitlines(), 1):
            decoded = self._decoded(line, number)
            text = decoded.strip()
            if not text or text[0] in "#;":
                continue
            depth = len(decoded) - len(decoded.lstrip())
            if setting is not None and depth > indent:
                setting.value += f"\n{text}"
                continue
            setting, indent = None, depth
            if text.startswith("[") and "]" in text[2:]:
                section = self._begin(text[1 : text.rindex("]")], number)
                continue
            if section is None:
                self.faults.append((number, "stands before the first section, such as [app:main]"))
                section = _Section(number)  # said once
            setting = self._add(text, number, section)
        for name, each in self._sections.items():
            if _READ.fullmatch(name):
                self._check_references(each)

    def _decoded(self, line: bytes, number: int) -> str:
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            self.faults.append((number, "not UTF-8"))
            return ""
        if "\0" in text:
            self.faults.append((number, "has a NUL character"))
        return text

    def _begin(self, name: str, line: int) -> _Section:
        known = self._sections.setdefault(name, _Section(line))
        if known.line != line and name != _DEFAULT:
            self.faults.append((line, f"begins a section again that began in line {known.line}"))
            return _Section(line)
        return known

    def _add(self, text: str, line: int, section: _Section) -> _Setting | None:
        match = _OPTION.fullmatch(text)
        if match is None:
            reason = "neither a section nor `name = value`; further lines of a value are indented"
            self.faults.append((line, reason))
            return None
        setting = _Setting(match[1], line, match[2])
        first = next((each for each in section.settings if each.name == setting.name), None)
        if first is not None:
            self.faults.append((line, f"{first.shown} is set again; the first is in line {first.line}"))
        section.settings.append(setting)
        return setting

    def _check_references(self, section: _Section) -> None:
        default = self._sections.get(_DEFAULT, _Section(0))
        names = _GIVEN | section.names() | default.names()
        for each in section.settings:
            found = list(_REFERENCE.finditer(each.value))
            if any(reference[0] == "%" for reference in found):
                self.faults.append((each.line, f"{each.shown}: write each % as %%"))
            elif any(reference[1] not in names for reference in found if reference[1] is not None):
                reason = "refers to a name that is not set here: see %(...)s"
                self.faults.append((each.line, f"{each.shown}: {reason}"))
