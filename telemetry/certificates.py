"""When a certificate ends, read from its file: the few fields of DER that lie before it, and nothing else.

RFC 5280, 4.1: Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version?, serialNumber, signature, issuer,
validity SEQUENCE { notBefore, notAfter }, ... }, ... }.
"""

from __future__ import annotations

import datetime as dt
import re
import ssl

_SEQUENCE, _VERSION, _UTC_TIME, _GENERALISED_TIME = 0x30, 0xA0, 0x17, 0x18
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
# Years of two digits up to this one are of this century.
_CENTURY_PIVOT = 50


def first_expiry_s(pem: str) -> float | None:
    """Unix time at which the first of a file's certificates ends.

    Args:
        pem: the file's text; keys and whatever else is in it are passed over.

    Returns:
        None where there is no certificate in it that can be read.
    """
    ends: list[float] = []
    for block in _PEM.findall(pem):
        try:
            ends.append(_expiry_s(ssl.PEM_cert_to_DER_cert(block)))
        except (ValueError, IndexError):
            continue
    return min(ends, default=None)


def _expiry_s(der: bytes) -> float:
    """When a certificate ends.

    Raises:
        ValueError, IndexError: it is none.
    """
    certificate = _content(der, 0, _SEQUENCE)
    fields = _content(certificate, 0, _SEQUENCE)
    place = _after(fields, 0) if fields[0] == _VERSION else 0
    for _field in ("serialNumber", "signature", "issuer"):
        place = _after(fields, place)
    validity = _content(fields, place, _SEQUENCE)
    return _time_s(validity, _after(validity, 0))


def _length(der: bytes, place: int) -> tuple[int, int]:
    """Where the content of the value at `place` starts, and where it ends."""
    size, start = der[place + 1], place + 2
    if size & 0x80:
        digits = size & 0x7F
        size, start = int.from_bytes(der[start : start + digits], "big"), start + digits
    return start, start + size


def _after(der: bytes, place: int) -> int:
    return _length(der, place)[1]


def _content(der: bytes, place: int, tag: int) -> bytes:
    if der[place] != tag:
        message = "another kind of value stands here"
        raise ValueError(message)
    start, stop = _length(der, place)
    return der[start:stop]


def _time_s(der: bytes, place: int) -> float:
    start, stop = _length(der, place)
    text = der[start:stop].decode("ascii")
    if der[place] == _UTC_TIME:
        text = ("20" if int(text[:2]) < _CENTURY_PIVOT else "19") + text
    elif der[place] != _GENERALISED_TIME:
        message = "no time stands here"
        raise ValueError(message)
    return dt.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=dt.UTC).timestamp()
