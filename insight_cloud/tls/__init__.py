"""Certificates that never lapse: issued, installed, served, renewed, checked and graded.

store = Store(Path("certificates"))
authority = Acme(url, store, Http01(store), agree_terms=True)
keeper = Keeper(store, authority, Wanted(("www.example.com",)), hooks=[["nginx", "-s", "reload"]])
plan, report = await keeper.renew()  # does nothing until it is time
live = Live(store)  # `live.context` serves each new certificate from the next handshake on
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from insight_cloud.core import later
from insight_cloud.tls.settings import TlsSettings

if TYPE_CHECKING:
    from insight_cloud.tls.acme import Acme
    from insight_cloud.tls.certbot import Certbot
    from insight_cloud.tls.certificate import Certificate
    from insight_cloud.tls.checks import check, check_files, check_server, samples
    from insight_cloud.tls.cloudflare import Api, OriginCa, Records
    from insight_cloud.tls.issuer import DnsRecords, Issued, Issuer, Solver, Wanted
    from insight_cloud.tls.keeper import Keeper, Notify
    from insight_cloud.tls.prober import Findings, probe
    from insight_cloud.tls.rating import Grade, rate
    from insight_cloud.tls.serving import Challenges, Live, PlainHttp
    from insight_cloud.tls.solvers import Dns01, Http01
    from insight_cloud.tls.store import Store

__all__ = [
    "Acme",
    "Api",
    "Certbot",
    "Certificate",
    "Challenges",
    "Dns01",
    "DnsRecords",
    "Findings",
    "Grade",
    "Http01",
    "Issued",
    "Issuer",
    "Keeper",
    "Live",
    "Notify",
    "OriginCa",
    "PlainHttp",
    "Records",
    "Solver",
    "Store",
    "TlsSettings",
    "Wanted",
    "check",
    "check_files",
    "check_server",
    "probe",
    "rate",
    "samples",
]

__getattr__ = later.names(
    __name__,
    {
        "acme": "Acme",
        "certbot": "Certbot",
        "certificate": "Certificate",
        "checks": "check check_files check_server samples",
        "cloudflare": "Api OriginCa Records",
        "issuer": "DnsRecords Issued Issuer Solver Wanted",
        "keeper": "Keeper Notify",
        "prober": "Findings probe",
        "rating": "Grade rate",
        "serving": "Challenges Live PlainHttp",
        "solvers": "Dns01 Http01",
        "store": "Store",
    },
)
