"""A DNS server on loopback, UDP and TCP, with good and bad answers by name."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

Answer = Callable[[dns.message.Message, str], bytes | None]
"""Returns the answer to a query over `udp` or `tcp`; None stays silent."""


def _rrset(name: str, ttl: int, kind: dns.rdatatype.RdataType, *rdata: str) -> dns.rrset.RRset:
    return dns.rrset.from_text(name, ttl, dns.rdataclass.IN, kind, *rdata)


def quoted(record: bytes) -> str:
    """Return a record in strings of at most 255 bytes, as zone files have them."""
    parts = [record[start : start + 255] for start in range(0, len(record) or 1, 255)]
    return " ".join('"' + "".join(f"\\{byte:03d}" for byte in part) + '"' for part in parts)


def txt(*records: bytes, ttl: int = 300, name: str | None = None, is_signed: bool = False) -> Answer:
    """Return TXT records, of another name than was asked if there is one; truncated over UDP."""

    def answer(query: dns.message.Message, transport: str) -> bytes:
        response = dns.message.make_response(query)
        asked = name or str(query.question[0].name)
        if records:
            response.answer = [_rrset(asked, ttl, dns.rdatatype.TXT, *map(quoted, records))]
        if is_signed:
            response.flags |= dns.flags.AD
        wire = response.to_wire(max_size=65535)
        if transport == "udp" and len(wire) > 1232:
            return truncated(query, transport)
        return wire

    return answer


def truncated(query: dns.message.Message, _transport: str) -> bytes:
    """Answer that the answer is too long."""
    response = dns.message.make_response(query)
    response.flags |= dns.flags.TC
    return response.to_wire()


def code(rcode: dns.rcode.Rcode) -> Answer:
    """Return answers with a response code and nothing else."""

    def answer(query: dns.message.Message, _transport: str) -> bytes:
        response = dns.message.make_response(query)
        response.set_rcode(rcode)
        return response.to_wire()

    return answer


def silent(_query: dns.message.Message, _transport: str) -> None:
    """Stay silent."""


def over_tcp_alone(tcp: Answer) -> Answer:
    """Return truncated answers over UDP."""
    return lambda query, way: tcp(query, way) if way == "tcp" else truncated(query, way)


def chain(length: int, *records: bytes, is_loop: bool = False) -> Answer:
    """Return a chain of CNAMEs, and at its end TXT records or its beginning."""

    def answer(query: dns.message.Message, transport: str) -> bytes:
        response = dns.message.make_response(query)
        names = [str(query.question[0].name), *(f"c{i}.chain.test." for i in range(length))]
        if is_loop:
            names.append(names[0])
        for name, target in pairwise(names):
            response.answer.append(_rrset(name, 300, dns.rdatatype.CNAME, target))
        if not is_loop:
            response.answer.append(_rrset(names[-1], 30, dns.rdatatype.TXT, *map(quoted, records)))
        wire = response.to_wire(max_size=65535)
        return wire if transport == "tcp" or len(wire) <= 1232 else truncated(query, transport)

    return answer


def of_another_question(*records: bytes) -> Answer:
    """Return answers to a question that nobody asked."""

    def answer(query: dns.message.Message, transport: str) -> bytes | None:
        other = dns.message.make_query(
            "_email-verification.other.test.", dns.rdatatype.TXT, id=query.id
        )
        return txt(*records)(other, transport)

    return answer


def garbage(_query: dns.message.Message, _transport: str) -> bytes:
    """Return bytes that are no message."""
    return b"\xff" * 40


def cut_short(*records: bytes) -> Answer:
    """Return the first half of a message."""

    def answer(query: dns.message.Message, transport: str) -> bytes:
        wire = txt(*records)(query, "tcp")
        assert wire is not None
        return wire[: len(wire) // 2]

    return answer


class DnsServer:
    """The server.

    Attributes:
        zones: the answer to queries of a name, without the dot at its end; NXDOMAIN otherwise.
        queries: the names of queries, each with the transport.
        drip: seconds before each byte over TCP.
        port: of UDP and TCP.
    """

    def __init__(self) -> None:
        self.zones: dict[str, Answer] = {}
        self.queries: list[tuple[str, str]] = []
        self.drip = 0.0
        self.stopping = threading.Event()
        self.port = 0

    def put(self, domain: str, answer: Answer) -> None:
        """Put the record of an email's domain."""
        self.zones[f"_email-verification.{domain}"] = answer

    def asked_for(self, domain: str) -> list[str]:
        """Return the transports of queries for an email's domain."""
        return [kind for name, kind in self.queries if name == f"_email-verification.{domain}"]

    def answer(self, wire: bytes, transport: str) -> bytes | None:
        """Return the answer to a query."""
        query = dns.message.from_wire(wire)
        name = str(query.question[0].name).rstrip(".")
        self.queries.append((name, transport))
        return self.zone(name)(query, transport)

    def zone(self, name: str) -> Answer:
        """Return the answer to queries of a name."""
        return self.zones.get(name, code(dns.rcode.NXDOMAIN))


class _Datagrams(socketserver.BaseRequestHandler):
    """Answers a query over UDP."""

    subject: DnsServer

    def handle(self) -> None:
        wire, reply = self.request
        answer = self.subject.answer(wire, "udp")
        if answer is not None:
            reply.sendto(answer, self.client_address)


class _Streams(socketserver.BaseRequestHandler):
    """Answers a query over TCP."""

    subject: DnsServer

    def handle(self) -> None:
        with contextlib.suppress(OSError, struct.error):
            [size] = struct.unpack(">H", self.request.recv(2))
            answer = self.subject.answer(self.request.recv(size), "tcp")
            if answer is None:
                self.subject.stopping.wait(30)
            else:
                self._send(struct.pack(">H", len(answer)) + answer)

    def _send(self, wire: bytes) -> None:
        if not self.subject.drip:
            self.request.sendall(wire)
            return
        for byte in wire:
            self.request.sendall(bytes([byte]))
            if self.subject.stopping.wait(self.subject.drip):
                return


@contextlib.contextmanager
def dns_server(subject: DnsServer | None = None, port: int = 0) -> Iterator[DnsServer]:
    """Serve DNS on loopback, at any free port or a given one."""
    subject = subject or DnsServer()
    handlers = [type("Handler", (each,), {"subject": subject}) for each in (_Datagrams, _Streams)]
    with _bound(port, *handlers) as servers:
        subject.port = servers[0].server_address[1]
        threads = [
            threading.Thread(target=each.serve_forever, kwargs={"poll_interval": 0.02})
            for each in servers
        ]
        for thread in threads:
            thread.start()
        try:
            yield subject
        finally:
            subject.stopping.set()
            for server in servers:
                server.shutdown()
            for thread in threads:
                thread.join(5)


@contextlib.contextmanager
def _bound(
    port: int,
    datagrams: type[socketserver.BaseRequestHandler],
    streams: type[socketserver.BaseRequestHandler],
) -> Iterator[tuple[socketserver.ThreadingUDPServer, socketserver.ThreadingTCPServer]]:
    """Bind UDP and TCP to one port, which another program may hold for one of them."""
    for _ in range(20):
        udp = socketserver.ThreadingUDPServer(("127.0.0.1", port), datagrams)
        try:
            tcp = socketserver.ThreadingTCPServer(("127.0.0.1", udp.server_address[1]), streams)
        except OSError:
            udp.server_close()
            continue
        with udp, tcp:
            yield udp, tcp
        return
    raise OSError("no port is free for UDP and TCP")


@contextlib.contextmanager
def unanswered_port() -> Iterator[int]:
    """Bind a UDP port at which nothing answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]
