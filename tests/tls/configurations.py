"""Server configurations with the grade that the guide gives each, and what testssl.sh says.

`testssl` is the letter of testssl.sh 3.3dev (June 2026) for the same server, run by hand: the
version in Debian gives none. Where it differs, `why` says what the guide (2009r) asks for, and then
what testssl.sh does instead, as its source shows.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from tests.tls import authority, servers
from tests.tls.authority import DAY, NOW, leaf, rsa_key

__all__ = ["ALL", "Configuration"]

_OPEN = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"
_GNUTLS = "NONE:+COMP-NULL:+SIGN-ALL:+GROUP-ALL:+CTYPE-X509:+MAC-ALL"


@dataclass(frozen=True)
class Configuration:
    """One server, and its grade."""

    name: str
    serve: Callable[[], AbstractContextManager[int]]
    letter: str
    testssl: str
    score: int | None = None
    why: str = ""


def _rsa(bits: int) -> authority.Signer:
    return leaf("localhost", key=rsa_key(bits))


ALL = (
    Configuration("modern", servers.nginx, "A+", "A+", 96),
    Configuration(
        "no hsts",
        lambda: servers.nginx(more=""),
        "A",
        "A+",
        96,
        why="A+ needs HSTS of six months or more, so without it A is the most; testssl.sh warns "
        "of an HSTS that is short or broken, and not of none",
    ),
    Configuration(
        "short hsts",
        lambda: servers.nginx(more='add_header Strict-Transport-Security "max-age=86400";'),
        "A-",
        "A-",
        96,
    ),
    Configuration(
        "broken hsts",
        lambda: servers.nginx(more='add_header Strict-Transport-Security "includeSubDomains";'),
        "A-",
        "A-",
        96,
    ),
    Configuration("1.2 only", lambda: servers.nginx(protocols="TLSv1.2"), "A-", "A-", 96),
    Configuration("1.3 only", lambda: servers.nginx(protocols="TLSv1.3"), "A+", "A+", 96),
    Configuration(
        "256 bits, 4096-bit RSA",
        lambda: servers.nginx(
            _rsa(4096), protocols="TLSv1.2", ciphers="ECDHE-RSA-AES256-GCM-SHA384"
        ),
        "A-",
        "A-",
        100,
    ),
    Configuration("2048-bit RSA", lambda: servers.nginx(_rsa(2048)), "A+", "A+", 93),
    Configuration(
        "1.0 to 1.3",
        lambda: servers.nginx(
            protocols="TLSv1 TLSv1.1 TLSv1.2 TLSv1.3", ciphers="HIGH:!aNULL:@SECLEVEL=0"
        ),
        "B",
        "B",
        94,
    ),
    Configuration(
        "1.1 and 1.2",
        lambda: servers.nginx(protocols="TLSv1.1 TLSv1.2", ciphers="HIGH:!aNULL:@SECLEVEL=0"),
        "B",
        "B",
        95,
    ),
    Configuration(
        "1.0 only",
        lambda: servers.nginx(protocols="TLSv1", ciphers="HIGH:!aNULL:@SECLEVEL=0"),
        "C",
        "C",
        93,
    ),
    Configuration(
        "1.1 only",
        lambda: servers.nginx(protocols="TLSv1.1", ciphers="HIGH:!aNULL:@SECLEVEL=0"),
        "C",
        "C",
        94,
    ),
    Configuration(
        "no forward secrecy",
        lambda: servers.nginx(_rsa(2048), protocols="TLSv1.2", ciphers="kRSA+AESGCM"),
        "B",
        "B",
        93,
    ),
    Configuration(
        "no authenticated cipher",
        lambda: servers.nginx(
            _rsa(2048),
            protocols="TLSv1.2",
            ciphers="ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES256-SHA384",
        ),
        "B",
        "A-",
        93,
        why="without any AEAD suite B is the most; testssl.sh means to say so, but looks for the "
        "word AEAD in its lists of suites, in none of which it stands",
    ),
    Configuration(
        "1024-bit RSA",
        lambda: servers.nginx(_rsa(1024), ciphers="HIGH:!aNULL:@SECLEVEL=0"),
        "B",
        "B",
        90,
    ),
    Configuration(
        "1024-bit DH",
        lambda: servers.nginx(
            _rsa(2048),
            protocols="TLSv1.2",
            ciphers="DHE-RSA-AES256-GCM-SHA384:@SECLEVEL=0",
            dh_bits=1024,
        ),
        "B",
        "A-",
        94,
        why="1024 bits score 80 in the key exchange, which is a weak key, so B is the most; "
        "testssl.sh scores the group as of kind DHE, for which it has no table",
    ),
    Configuration(
        "2048-bit DH",
        lambda: servers.nginx(
            _rsa(2048),
            ciphers="DHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256",
            dh_bits=2048,
        ),
        "A+",
        "A+",
        93,
    ),
    Configuration(
        "anonymous",
        lambda: servers.nginx(_rsa(2048), ciphers="ALL:aNULL:@SECLEVEL=0"),
        "F",
        "F",
    ),
    Configuration(
        "no encryption",
        lambda: servers.nginx(_rsa(2048), ciphers="ALL:eNULL:!aNULL:@SECLEVEL=0"),
        "F",
        "F",
        0,
    ),
    Configuration("expired", lambda: servers.nginx(leaf("localhost", ends=NOW - DAY)), "T", "T"),
    Configuration(
        "self-signed",
        lambda: servers.nginx(authority.signed("localhost", names=["localhost"])),
        "T",
        "T",
    ),
    Configuration("another name", lambda: servers.nginx(leaf("other.example")), "M", "M"),
    Configuration(
        "unknown root",
        lambda: servers.nginx(leaf("localhost", by=authority.signed("Unknown", authority=True))),
        "T",
        "B",
        why="nobody can find a trusted root, and that is T; testssl.sh takes an issuer that it "
        "does not know for an intermediate left out, and gives the B of an incomplete chain",
    ),
    Configuration("incomplete chain", servers.incomplete, "B", "B", 96),
    Configuration(
        "3DES",
        lambda: servers.gnutls(
            f"{_GNUTLS}:+VERS-TLS1.2:+ECDHE-RSA:+3DES-CBC:+AES-128-GCM:+SHA1:+AEAD", pair=_rsa(2048)
        ),
        "C",
        "A-",
        why="64-bit blocks with TLS 1.1 or newer make C the most; testssl.sh lowers the letter "
        "for TLS 1.1 alone, which this server does not speak",
    ),
    Configuration(
        "RC4",
        lambda: servers.gnutls(
            f"{_GNUTLS}:+VERS-TLS1.2:+ECDHE-RSA:+ARCFOUR-128:+AES-128-GCM:+SHA1:+AEAD",
            pair=_rsa(2048),
        ),
        "C",
        "B",
        why="RC4 with TLS 1.1 or newer makes C the most, with older ones B; testssl.sh gives C "
        "for TLS 1.1 alone, which this server does not speak",
    ),
    Configuration(
        "RC4 with 1.0 only",
        lambda: servers.gnutls(
            f"{_GNUTLS}:+VERS-TLS1.0:+ECDHE-RSA:+ARCFOUR-128:+SHA1", pair=_rsa(2048)
        ),
        "C",
        "C",
    ),
    Configuration(
        "no secure renegotiation",
        lambda: servers.gnutls(
            "NORMAL:-VERS-TLS-ALL:+VERS-TLS1.2:+VERS-TLS1.3:-RSA"
            ":-AES-128-CBC:-AES-256-CBC:%DISABLE_SAFE_RENEGOTIATION"
        ),
        "A-",
        "A+",
        why="without secure renegotiation there is no plus, but a minus; testssl.sh asks by "
        "OpenSSL, which refuses to speak to such a server, and then leaves the question out",
    ),
    Configuration(
        "192-bit curve",
        lambda: servers.openssl(
            "-cipher",
            "ECDHE+AESGCM:@SECLEVEL=0",
            "-named_curve",
            "secp521r1",
            "-tls1_2",
            pair=leaf("localhost", key=ec.generate_private_key(ec.SECP192R1())),
        ),
        "A-",
        "A-",
        93,
    ),
)
"""Twenty-nine servers that today's libraries can be."""
