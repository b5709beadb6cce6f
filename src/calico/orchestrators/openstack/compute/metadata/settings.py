"""Where the metadata proxy listens and whom it asks. Knows no HTTP."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from calico.errors import InvalidInput

__all__ = ["MetadataSettings"]


class MetadataSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``url`` is nova-metadata's, without a path; ``secret_file`` holds what Nova calls
    ``metadata_proxy_shared_secret`` and is read at every request, so that it can be replaced at any time.

    ``address`` and ``port`` are what Felix has as MetadataAddr and MetadataPort. ``rate`` and ``burst`` are requests of
    one port a second and at once; ``per_port`` and ``in_all`` connections.
    """

    url: str
    secret_file: str
    address: str = "127.0.0.1"
    port: int = 8775
    ca: str = ""
    timeout_s: float = 30.0
    rate: float = 20.0
    burst: float = 60.0
    per_port: int = 8
    in_all: int = 2048
    to_nova: int = 64

    def check(self) -> None:
        """InvalidInput naming the option that cannot work."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.rstrip("/") or parts.query:
            raise InvalidInput(f"{self.url!r} is no URL of the form http://HOST:PORT", field="--metadata-url")
        if parts.username or parts.password:
            raise InvalidInput("the URL must not hold a password", field="--metadata-url")
        if not self.secret():
            raise InvalidInput(f"{self.secret_file} is empty", field="--metadata-secret-file")

    def secret(self) -> bytes:
        """What Nova and we share. InvalidInput when the file cannot be read."""
        try:
            return Path(self.secret_file).read_bytes().strip()
        except OSError as error:
            raise InvalidInput(str(error), field="--metadata-secret-file") from None
