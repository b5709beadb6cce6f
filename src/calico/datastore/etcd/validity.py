"""Which of our own certificates are out of date, asked once TLS has failed: what the other side says does not tell."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from calico.datastore.etcd.channel import TLSFiles

__all__ = ["out_of_date"]


def out_of_date(tls: TLSFiles, now: datetime | None = None) -> str:
    """A sentence that names the file and the date of the first certificate that is not valid now; else empty."""
    now = now or datetime.now(UTC)
    for what, part in (("client certificate", tls.cert), ("CA certificate", tls.ca)):
        if part is not None and (fault := _fault(part, now)):
            where = f" {part}" if isinstance(part, Path) else " given inline"
            return f"the {what}{where} {fault}"
    return ""


def _fault(part: Path | bytes, now: datetime) -> str:
    from cryptography import x509  # only needed when something is wrong

    try:
        certificates = x509.load_pem_x509_certificates(part.read_bytes() if isinstance(part, Path) else part)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError:
        return "is no PEM certificate"
    if certificates and all(certificate.not_valid_after_utc < now for certificate in certificates):
        return f"expired on {max(c.not_valid_after_utc for c in certificates):%Y-%m-%d %H:%M} UTC: renew it"
    if certificates and all(certificate.not_valid_before_utc > now for certificate in certificates):
        return f"is valid only from {min(c.not_valid_before_utc for c in certificates):%Y-%m-%d %H:%M} UTC on"
    return ""
