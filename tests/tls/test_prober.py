from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.core.errors import Unavailable
from insight_cloud.tls import hello, prober, rating, suites
from insight_cloud.tls.hello import Flight, Version
from insight_cloud.tls.prober import Findings
from insight_cloud.tls.rating import Grade
from tests.tls import authority, servers
from tests.tls.authority import NOW, leaf, rsa_key
from tests.tls.pebble import free_port
from tests.tls.servers import Old

ECDHE_GCM, DHE_CBC, RSA_CBC, RSA_RC4, EXPORT = 0xC02F, 0x0033, 0x002F, 0x0005, 0x0003


async def graded(server: Old) -> tuple[Findings, Grade]:
    with servers.old(server) as port:
        found = await prober.probe("localhost", port, address="127.0.0.1", timeout_seconds=3)
    return found, rating.rate(found, now=NOW, roots=[authority.root().certificate])


def reasons(grade: Grade) -> str:
    return "; ".join(f"{letter} {reason}" for letter, reason in grade.caps)


async def test_ssl_2_is_found_and_fails() -> None:
    found, grade = await graded(Old({0x0303: (ECDHE_GCM,)}, ssl2_kinds=b"\x07\x00\xc0\x02\x00\x80"))
    assert found.ssl2_bits == (112, 40)
    assert found.versions == (Version.SSL2, Version.TLS12)
    assert (grade.letter, grade.protocol) == ("F", 50)
    assert "SSL 2.0 is accepted (DROWN)" in reasons(grade)


async def test_a_server_of_ssl_2_alone_fails() -> None:
    found, grade = await graded(Old({}, ssl2_kinds=b"\x01\x00\x80"))
    assert found.versions == (Version.SSL2,)
    assert (grade.letter, grade.score) == ("F", 0)


async def test_ssl_3_alone_fails_and_beside_others_is_capped() -> None:
    _, alone = await graded(Old({0x0300: (RSA_CBC,)}))
    assert alone.letter == "F"
    assert "nothing newer than SSL 3.0" in reasons(alone)
    _, beside = await graded(Old({0x0300: (RSA_CBC,), 0x0303: (ECDHE_GCM,)}))
    assert beside.letter == "C"
    assert "POODLE" in reasons(beside)
    _, stream = await graded(Old({0x0300: (RSA_RC4,), 0x0303: (ECDHE_GCM,)}))
    assert stream.letter == "B"


async def test_export_suites_fail() -> None:
    _, grade = await graded(Old({0x0301: (EXPORT, RSA_CBC)}))
    assert grade.letter == "F"
    assert "export" in reasons(grade)


async def test_compression_is_capped() -> None:
    found, grade = await graded(Old({0x0303: (ECDHE_GCM,)}, compression=True))
    assert found.compression
    assert grade.letter == "C"
    assert "CRIME" in reasons(grade)


async def test_heartbleed_is_found() -> None:
    found, grade = await graded(Old({0x0303: (ECDHE_GCM,)}, bleeds=True))
    assert (found.heartbleed, grade.letter) == (True, "F")
    found, _ = await graded(Old({0x0303: (ECDHE_GCM,)}))
    assert (found.heartbleed, found.early_ccs) == (False, False)


async def test_an_early_change_cipher_spec_is_found() -> None:
    found, grade = await graded(Old({0x0303: (ECDHE_GCM,)}, early_ccs=True))
    assert (found.early_ccs, grade.letter) == (True, "F")


@pytest.mark.parametrize(
    ("bits", "letter", "key"), [(512, "F", 40), (1024, "B", 80), (2048, "B", 90)]
)
async def test_small_groups_are_measured(bits: int, letter: str, key: int) -> None:
    found, grade = await graded(Old({0x0303: (DHE_CBC,)}, dh_bits=bits))
    assert found.dh_bits == bits
    assert (grade.letter, grade.key_exchange) == (letter, key)


async def test_old_renegotiation_costs_the_plus() -> None:
    found, grade = await graded(Old({0x0303: (ECDHE_GCM,)}, secure_renegotiation=False))
    assert found.secure_renegotiation is False
    assert any("renegotiation" in warning for warning in grade.warnings)


async def test_the_chain_and_every_suite_are_read() -> None:
    pair = leaf("localhost", key=rsa_key(2048))
    offered = (ECDHE_GCM, DHE_CBC, RSA_CBC, 0x1301)
    found, _ = await graded(Old({0x0303: offered, 0x0302: (RSA_CBC,)}, pair=pair))
    assert [s.number for s in found.suites[Version.TLS12]] == [RSA_CBC, DHE_CBC, ECDHE_GCM]
    assert [s.number for s in found.suites[Version.TLS11]] == [RSA_CBC]
    assert found.chain is not None
    assert found.chain.pem() == pair.chain


@contextlib.asynccontextmanager
async def silent_for(numbers: range, port: int) -> AsyncIterator[int]:
    """Pass connections on to `port`, but never answer those of `numbers`."""
    count = itertools.count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            if next(count) in numbers:
                await reader.read()
            else:
                there, back = await asyncio.open_connection("127.0.0.1", port)
                await asyncio.gather(_piped(reader, back), _piped(there, writer))
        writer.transport.abort()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def _piped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


async def test_what_a_busy_server_leaves_unanswered_is_asked_again() -> None:
    with servers.nginx() as port:
        async with silent_for(range(6), port) as slow:
            found = await prober.probe("localhost", slow, address="127.0.0.1")
    assert (found.versions, found.notes[1:]) == ((Version.TLS12, Version.TLS13), ())
    assert found.hsts_seconds is not None


async def test_what_is_never_answered_is_said_beside_the_grade() -> None:
    with servers.nginx() as port:
        async with silent_for(range(12, 10_000), port) as slow:
            found = await prober.probe("localhost", slow, address="127.0.0.1", timeout_seconds=0.3)
    assert "were not answered within 0.3 s and count as refused" in found.notes[1]


async def test_nobody_there_and_no_tls_are_said() -> None:
    with pytest.raises(Unavailable, match="cannot connect"):
        await prober.probe("localhost", free_port(), address=None, timeout_seconds=2)
    with pytest.raises(Unavailable, match=r"no host nowhere\.invalid"):
        await prober.probe("nowhere.invalid", timeout_seconds=2)
    with servers.answering({}) as url, pytest.raises(Unavailable, match="not answer as a TLS"):
        await prober.probe("localhost", int(url.rpartition(":")[2]), timeout_seconds=2)


async def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        with pytest.raises(Unavailable, match="not answer as a TLS"):
            await prober.probe("localhost", silent.getsockname()[1], timeout_seconds=0.2)


async def test_a_server_that_never_stops_is_given_up() -> None:
    with socket.socket() as endless:
        endless.bind(("127.0.0.1", 0))
        endless.listen(64)

        def flood() -> None:
            while True:
                try:
                    peer, _ = endless.accept()
                    with peer:
                        peer.sendall((b"\x16\x03\x03\x40\x00" + b"\0" * 16384) * 40)
                except OSError:
                    if endless.fileno() == -1:
                        return

        thread = threading.Thread(target=flood, daemon=True)
        thread.start()
        with pytest.raises(Unavailable):
            await prober.probe("localhost", endless.getsockname()[1], timeout_seconds=1)


# -- bytes ----------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=200), max_size=30))
def test_no_bytes_at_all_break_the_reader(pieces: list[bytes]) -> None:
    flight = Flight()
    for piece in pieces:
        flight.feed(piece)
    assert flight.heard.suite is None or flight.heard.suite < 0x10000


@given(st.binary(min_size=1, max_size=300), st.integers(0, 299), st.binary(min_size=1, max_size=3))
def test_a_damaged_hello_is_a_fault_or_an_answer(noise: bytes, at: int, by: bytes) -> None:
    good = servers._flight(Old({}), 0x0303, ECDHE_GCM, 0, heartbeats=False)
    flight = Flight()
    flight.feed(good[:at] + by + good[at + len(by) :] + noise)
    heard = flight.heard
    assert flight.over or heard.suite is None or not heard.done


@given(st.integers(1, 50))
def test_a_flight_is_read_in_pieces_of_any_size(size: int) -> None:
    good = servers._flight(Old({}), 0x0303, DHE_CBC, 0, heartbeats=False)
    flight = Flight()
    for start in range(0, len(good), size):
        flight.feed(good[start : start + size])
    assert flight.heard.done
    assert (flight.heard.suite, flight.heard.dh_bits) == (DHE_CBC, 2048)
    assert len(flight.heard.certificates) == 2


def test_more_than_allowed_is_not_read() -> None:
    flight = Flight()
    flight.feed(b"\x16\x03\x03\x00\x00" * 60_000)
    assert "more than" in flight.heard.fault


@given(st.binary(max_size=80))
def test_no_bytes_break_the_reader_of_ssl_2(data: bytes) -> None:
    assert hello.ssl2_kinds(data) is None or data[2] == 4


@pytest.mark.parametrize(
    ("number", "bits", "exchange"),
    [
        (0x1302, 256, "TLS13"), (0xC02F, 128, "ECDHE"), (0x0033, 128, "DHE"), (0x0005, 128, "RSA"),
        (0x000A, 112, "RSA"), (0x0003, 40, "RSA"), (0x0009, 56, "RSA"), (0x0001, 0, "RSA"),
        (0xCCA8, 256, "ECDHE"), (0x0018, 128, "DH"), (0x0008, 40, "RSA"), (0x0064, 56, "RSA"),
    ],
)  # fmt: skip
def test_suites_are_understood_by_their_names(number: int, bits: int, exchange: str) -> None:
    suite = suites.by_number(number)
    assert suite is not None
    assert (suite.bits, suite.exchange) == (bits, exchange)


def test_every_suite_of_the_table_is_understood() -> None:
    every = [*suites.numbers(tls13=True), *suites.numbers(tls13=False)]
    assert len(every) == 185
    found = [suites.by_number(number) for number in every]
    assert {s.bits for s in found if s} == {0, 40, 56, 112, 128, 256}
    assert {s.exchange for s in found if s} >= {"RSA", "DHE", "ECDHE", "DH", "ECDH", "TLS13"}
