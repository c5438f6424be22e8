"""The zip archive of an office document, read with limits and made again with other parts."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping

from antiphon.errors import DataError

MAX_ENTRIES = 5000
MAX_PART_BYTES = 2**26
MAX_ARCHIVE_BYTES = 2**28  # of all parts together, unpacked
_ENCRYPTED = 0x1


class OfficeArchive:
    """The parts of an archive. DataError, which names the file, if it is no zip file, is encrypted or damaged, has
    names that lead out of a folder, or unpacks to more than the limits."""

    def __init__(self, data: bytes, *, name: str) -> None:
        self._data, self._name = data, name
        self.parts: dict[str, bytes] = {}
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                self._entries = archive.infolist()
                self._check()
                left = MAX_ARCHIVE_BYTES
                for entry in self._entries:
                    content = self._read(archive, entry, min(left, MAX_PART_BYTES))
                    self.parts[entry.filename] = content
                    left -= len(content)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise self._fault(f"is damaged or none ({' '.join(str(error).split())[:80]})") from error

    def _check(self) -> None:
        if len(self._entries) > MAX_ENTRIES:
            raise self._fault(f"has {len(self._entries):,} parts, more than {MAX_ENTRIES:,}")
        names = [entry.filename for entry in self._entries]
        for entry in self._entries:
            pieces = entry.filename.replace("\\", "/").split("/")
            if ".." in pieces or not pieces[0] or ":" in pieces[0]:
                raise self._fault(f"has a part called `{entry.filename[:60]}`, which leads out of it")
            if entry.flag_bits & _ENCRYPTED:
                raise self._fault("is encrypted")
        if len(set(names)) < len(names):
            raise self._fault("has two parts of one name")

    def _read(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
        """The bytes of a part; no more are unpacked than allowed, whatever its entry says."""
        with archive.open(entry) as part:
            content = part.read(most + 1)
        if len(content) > most:
            limits = f"{MAX_PART_BYTES >> 20} MiB in one part or {MAX_ARCHIVE_BYTES >> 20} MiB in all"
            raise self._fault(f"unpacks to more than {limits}")
        return content

    def with_parts(self, parts: Mapping[str, bytes]) -> bytes:
        """The archive with other contents of some parts; the bytes as they came if none differs."""
        if all(self.parts[name] == content for name, content in parts.items()):
            return self._data
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for entry in self._entries:
                archive.writestr(entry, parts.get(entry.filename, self.parts[entry.filename]), entry.compress_type)
        return out.getvalue()

    def _fault(self, problem: str) -> DataError:
        return DataError(f"`{self._name}` must be a .docx file, but {problem}. Save it again in its program.")
