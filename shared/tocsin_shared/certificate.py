"""When a certificate ends: reads one date out of its DER form (X.509, RFC 5280 §4.1). Pure.

Python can tell this of a certificate of the other side only; the node must know it of its own as well.
"""

import ssl
from datetime import UTC, datetime

from tocsin_shared.errors import BadInputError

WARN_DAYS = 14.0
"""A certificate that ends sooner than this is a trouble."""
_VERSION, _UTC_TIME, _GENERALIZED_TIME = 0xA0, 0x17, 0x18


def first_certificate(pem: str) -> bytes:
    """The DER form of the first certificate in the text ``pem``.

    Raises:
        BadInputError: there is none.
    """
    end = "-----END CERTIFICATE-----"
    start = max(0, pem.find("-----BEGIN CERTIFICATE-----"))
    try:
        return ssl.PEM_cert_to_DER_cert(pem[start : pem.find(end, start) + len(end)])
    except ValueError as error:
        raise BadInputError(f"not a certificate: {error}") from error


def not_after(der: bytes) -> datetime:
    """The moment after which the certificate ``der`` is no longer valid.

    Raises:
        BadInputError: it is not a certificate.
    """
    try:
        _, certificate, _ = _element(der)
        _, body, _ = _element(certificate)
        tag, _, rest = _element(body)
        if tag == _VERSION:
            _, _, rest = _element(rest)
        for _ in ("signature", "issuer"):
            _, _, rest = _element(rest)
        _, validity, _ = _element(rest)
        _, _, rest = _element(validity)
        tag, date, _ = _element(rest)
        return _moment(tag, date.decode("ascii"))
    except (ValueError, IndexError) as error:
        raise BadInputError(f"not a certificate: {error}") from error


def days_left(end: datetime, now: float) -> float:
    """Days from ``now``, seconds since 1970, until ``end``; negative once it has passed."""
    return round((end.timestamp() - now) / 86_400.0, 2)


def _element(der: bytes) -> tuple[int, bytes, bytes]:
    """Tag and content of the first element of ``der``, and what follows it (X.690 §8.1)."""
    length, start = der[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[2:start], "big")
    if start + length > len(der):
        raise ValueError("it is cut off")
    return der[0], der[start : start + length], der[start + length :]


def _moment(tag: int, text: str) -> datetime:
    if tag == _UTC_TIME:
        # RFC 5280 §4.1.2.5.1: years below 50 are of this century.
        text = ("20" if int(text[:2]) < 50 else "19") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no date where it must stand")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
