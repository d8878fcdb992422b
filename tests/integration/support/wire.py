"""A small synchronous CQL client over a plain socket, for plays about bytes: it sends exactly what it is told and shows exactly
what comes back: v3, v4, v5 and DSE's two, compressed or not, over TLS or not. Its encoding is its own; a bug of the programs under
test must not hide by being here as well."""

import contextlib
import socket
import ssl
import struct
import time
from collections import namedtuple

from . import wire_framing

OPCODES = {
    "ERROR": 0x00, "STARTUP": 0x01, "READY": 0x02, "AUTHENTICATE": 0x03, "OPTIONS": 0x05, "SUPPORTED": 0x06,
    "QUERY": 0x07, "RESULT": 0x08, "PREPARE": 0x09, "EXECUTE": 0x0A, "REGISTER": 0x0B, "EVENT": 0x0C, "BATCH": 0x0D,
    "AUTH_CHALLENGE": 0x0E, "AUTH_RESPONSE": 0x0F, "AUTH_SUCCESS": 0x10, "REVISE_REQUEST": 0xFF,
}  # fmt: skip
NAMES = {code: name for name, code in OPCODES.items()}

SERVER_ERROR, PROTOCOL_ERROR, BAD_CREDENTIALS = 0x0000, 0x000A, 0x0100
UNAVAILABLE, OVERLOADED, BOOTSTRAPPING, TRUNCATE_ERROR = 0x1000, 0x1001, 0x1002, 0x1003
WRITE_TIMEOUT, READ_TIMEOUT, READ_FAILURE, WRITE_FAILURE = 0x1100, 0x1200, 0x1300, 0x1500
SYNTAX_ERROR, INVALID, ALREADY_EXISTS, UNPREPARED = 0x2000, 0x2200, 0x2400, 0x2500

ONE, SERIAL, LOCAL_SERIAL = 1, 8, 9
DSE1, DSE2 = 0x41, 0x42
COMPRESSED, TRACING, PAYLOAD, WARNING, BETA = 0x01, 0x02, 0x04, 0x08, 0x10  # flags of a frame
UNSET = object()  # as a value: leave the column alone


class Closed(Exception):
    """The other side ended the connection."""


class ServerError(Exception):
    """An ERROR frame, where a play expected something else."""

    def __init__(self, frame):
        self.code, self.message, self.details = parse_error(frame.body)
        super().__init__(f"0x{self.code:04X} {self.message}")


Frame = namedtuple("Frame", "version flags stream opcode body tracing_id warnings payload", defaults=(None, (), None))


class Frame(Frame):
    """An answer; what may come before its body (by flags) is taken off it."""

    @property
    def name(self):
        return NAMES.get(self.opcode, hex(self.opcode))


# ---- encoding


def short_bytes(data):
    return struct.pack(">H", len(data)) + data


def string(text):
    return short_bytes(text.encode())


def long_string(text):
    data = text.encode()
    return struct.pack(">i", len(data)) + data


def value(data):
    if data is None or data is UNSET:
        return struct.pack(">i", -1 if data is None else -2)
    return struct.pack(">i", len(data)) + data


def string_map(pairs):
    return struct.pack(">H", len(pairs)) + b"".join(string(k) + string(v) for k, v in pairs.items())


def bytes_map(pairs):
    return struct.pack(">H", len(pairs)) + b"".join(string(k) + value(v) for k, v in pairs.items())


def int_value(number):
    return struct.pack(">i", number)


def header(opcode, length, stream=0, version=4, flags=0):
    return struct.pack(">BBhBi", version, flags, stream, opcode, length)


def frame_bytes(name, body=b"", stream=0, version=4, flags=0):
    return header(OPCODES[name], len(body), stream, version, flags) + body


def startup_body(**options):
    return string_map({"CQL_VERSION": "3.0.0", **options})


def has_int_flags(version):
    return version >= 5


def has_metadata_ids(version):
    """Also: a keyspace with each request, flags in PREPARE."""
    return version in (5, DSE2)


def flags_bytes(flags, version):
    return struct.pack(">I" if has_int_flags(version) else ">B", flags)


def values_bytes(values):
    """Values by position, or by name when they are a dict."""
    if isinstance(values, dict):
        return struct.pack(">H", len(values)) + b"".join(string(k) + value(v) for k, v in values.items())
    return struct.pack(">H", len(values)) + b"".join(value(v) for v in values)


def common_parameters(serial_consistency, timestamp, keyspace, now_in_seconds):
    """What ends QUERY, EXECUTE and BATCH alike: its flags and its bytes."""
    flags, body = 0, b""
    if serial_consistency is not None:
        flags, body = flags | 0x10, body + struct.pack(">H", serial_consistency)
    if timestamp is not None:
        flags, body = flags | 0x20, body + struct.pack(">q", timestamp)
    if keyspace is not None:
        flags, body = flags | 0x80, body + string(keyspace)
    if now_in_seconds is not None:
        flags, body = flags | 0x100, body + struct.pack(">i", now_in_seconds)
    return flags, body


def parameters(values=(), consistency=ONE, skip_metadata=False, page_size=None, paging_state=None, serial_consistency=None,
               timestamp=None, keyspace=None, now_in_seconds=None, continuous=None, version=4):  # fmt: skip
    """continuous (DSE): (most pages, pages a second), in v2 with the pages to send ahead as third."""
    flags, rest = common_parameters(serial_consistency, timestamp, keyspace, now_in_seconds)
    flags |= (0x01 if values else 0) | (0x02 if skip_metadata else 0) | (0x40 if isinstance(values, dict) and values else 0)
    flags |= (0x04 if page_size else 0) | (0x08 if paging_state else 0) | (0x80000000 if continuous else 0)
    body = struct.pack(">H", consistency) + flags_bytes(flags, version)
    if values:
        body += values_bytes(values)
    if page_size:
        body += struct.pack(">i", page_size)
    if paging_state:
        body += value(paging_state)
    return body + rest + b"".join(struct.pack(">i", number) for number in continuous or ())


def query_body(text, values=(), **options):
    return long_string(text) + parameters(values, **options)


def prepare_body(text, keyspace=None, version=4):
    body = long_string(text)
    if has_metadata_ids(version):
        body += struct.pack(">I", 0 if keyspace is None else 1) + (b"" if keyspace is None else string(keyspace))
    return body


def execute_body(prepared_id, values=(), metadata_id=None, version=4, **options):
    body = short_bytes(prepared_id)
    if has_metadata_ids(version):
        body += short_bytes(metadata_id or b"")
    return body + parameters(values, version=version, **options)


def batch_body(children, kind=0, consistency=ONE, serial_consistency=None, timestamp=None, keyspace=None, now_in_seconds=None,
               version=4):  # fmt: skip
    """children: (text or prepared id, values)"""
    body = struct.pack(">BH", kind, len(children))
    for statement, values in children:
        body += b"\0" + long_string(statement) if isinstance(statement, str) else b"\1" + short_bytes(statement)
        body += values_bytes(values)
    flags, rest = common_parameters(serial_consistency, timestamp, keyspace, now_in_seconds)
    return body + struct.pack(">H", consistency) + flags_bytes(flags, version) + rest


def plain_token(user, password, authorization_id=""):
    return f"{authorization_id}\0{user}\0{password}".encode()


# ---- decoding


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        assert 0 <= count <= len(self.data) - self.at, "the body is shorter than it says"
        self.at += count
        return self.data[self.at - count : self.at]

    def unpack(self, format_):
        return struct.unpack(">" + format_, self.take(struct.calcsize(">" + format_)))[0]

    def string(self):
        return self.take(self.unpack("H")).decode()

    def short_bytes(self):
        return self.take(self.unpack("H"))

    def bytes(self):
        length = self.unpack("i")
        return None if length < 0 else self.take(length)

    def strings(self):
        return [self.string() for _ in range(self.unpack("H"))]

    def bytes_map(self):
        return {self.string(): self.bytes() for _ in range(self.unpack("H"))}

    def multimap(self):
        return {self.string(): [self.string() for _ in range(self.unpack("H"))] for _ in range(self.unpack("H"))}

    def type(self):
        kind = self.unpack("H")
        if kind == 0:
            return self.string()
        if kind in (0x20, 0x22):
            return (kind, self.type())
        if kind == 0x21:
            return (kind, self.type(), self.type())
        if kind == 0x30:
            names = self.string(), self.string()
            return (kind, names, [(self.string(), self.type()) for _ in range(self.unpack("H"))])
        if kind == 0x31:
            return (kind, [self.type() for _ in range(self.unpack("H"))])
        return kind


Result = namedtuple(
    "Result",
    "kind rows columns keyspace prepared_id table paging_state types metadata_id bound frame pages",
    defaults=(None,) * 4,
)  # fmt: skip
Metadata = namedtuple("Metadata", "count columns types table paging_state metadata_id page is_last")


def parse_error(body):
    reader = Reader(body)
    code, message = reader.unpack("i"), reader.string()
    return code, message, reader.data[reader.at :]


def parse_metadata(reader, has_key_indexes=False):
    """Of rows, or of a prepared statement's markers, which from v4 on say where the partition key is."""
    flags, count = reader.unpack("I"), reader.unpack("i")
    if has_key_indexes:
        reader.take(2 * reader.unpack("i"))
    paging_state = reader.bytes() if flags & 0x02 else None
    metadata_id = reader.short_bytes() if flags & 0x08 else None
    page = reader.unpack("i") if flags & 0x40000000 else None
    columns, types, table = [], [], None
    if not flags & 0x04:
        if flags & 0x01:
            table = reader.string(), reader.string()
        for _ in range(count):
            if not flags & 0x01:
                table = reader.string(), reader.string()
            columns.append(reader.string())
            types.append(reader.type())
    return Metadata(count, columns, types, table, paging_state, metadata_id, page, bool(flags & 0x80000000))


def parse_result(body, version=4):
    """metadata_id: the new one with rows, that of the result with PREPARED; bound: names and types of the markers; pages: of
    continuous paging, (number, whether it is the last)."""
    reader = Reader(body)
    kind = {1: "VOID", 2: "ROWS", 3: "SET_KEYSPACE", 4: "PREPARED", 5: "SCHEMA_CHANGE"}[reader.unpack("i")]
    result = dict.fromkeys(Result._fields)
    result["kind"] = kind
    if kind == "PREPARED":
        result["prepared_id"] = reader.short_bytes()
        result["metadata_id"] = reader.short_bytes() if has_metadata_ids(version) else None
        bound = parse_metadata(reader, has_key_indexes=version >= 4)
        result["bound"] = list(zip(bound.columns, bound.types))
    if kind in ("ROWS", "PREPARED"):
        metadata = parse_metadata(reader)
        result.update(columns=metadata.columns, types=metadata.types, table=metadata.table)
    if kind == "ROWS":
        result.update(paging_state=metadata.paging_state, metadata_id=metadata.metadata_id)
        if metadata.page is not None:
            result["pages"] = metadata.page, metadata.is_last
        result["rows"] = [[reader.bytes() for _ in range(metadata.count)] for _ in range(reader.unpack("i"))]
    elif kind == "SET_KEYSPACE":
        result["keyspace"] = reader.string()
    if kind != "SCHEMA_CHANGE":
        assert reader.at == len(body), f"bytes after the {kind}"
    return Result(**result)


# ---- a connection


class Connection:
    """One socket. Methods with a reply wait for the frame of their stream id; events met on the way are kept in events.

    tls: an ssl.SSLContext, server_name what it checks and sends. compression: lz4 or snappy, asked for by startup(). segment_limit:
    payload of the segments that are sent."""

    def __init__(self, address, port, timeout=10.0, version=4, tls=None, server_name=None, compression=None):
        self.timeout, self.version, self.compression = timeout, version, compression
        self.socket = socket.create_connection((address, port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            try:
                self.socket = tls.wrap_socket(self.socket, server_hostname=server_name or address)
            except BaseException:
                self.close()
                raise
        self.buffer = bytearray()  # as it came
        self.plain = bytearray()  # frames out of segments
        self.is_started = self.is_segmented = False
        self.segment_limit = wire_framing.MAX_PAYLOAD
        self.segments_seen = []  # (length of the payload, whether self-contained)
        self.metadata_ids = {}
        self.events = []
        self.waiting = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.close()

    def send_bytes(self, data):
        self.socket.settimeout(self.timeout)
        self.socket.sendall(data)

    def encoded(self, name, body=b"", stream=0, flags=0, payload=None):
        """The bytes of a frame as they go into a segment, or over the wire without segments."""
        if payload is not None:
            flags, body = flags | PAYLOAD, bytes_map(payload) + body
        if self.compression and self.is_started and not self.is_segmented and not flags & COMPRESSED:
            flags, body = flags | COMPRESSED, wire_framing.deflate(self.compression, body)
        return frame_bytes(name, body, stream, self.version, flags)

    def send_frames(self, *frames):
        """Frames of encoded(), as many to a segment as fit."""
        if not self.is_segmented:
            self.send_bytes(b"".join(frames))
            return
        together = b"".join(frames)
        if len(together) <= self.segment_limit:
            self.send_bytes(wire_framing.segment(together, compression=self.compression))
        else:
            self.send_bytes(b"".join(wire_framing.segments(f, self.compression, self.segment_limit) for f in frames))

    def send(self, name, body=b"", stream=0, flags=0, payload=None):
        self.send_frames(self.encoded(name, body, stream, flags, payload))

    def _fill(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no frame in time")
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            raise TimeoutError("no frame in time") from None
        except (ConnectionError, ssl.SSLError) as error:
            raise Closed(str(error)) from None
        if not data:
            left_over = len(self.buffer) + len(self.plain)
            raise Closed(f"with {left_over} bytes of a frame" if left_over else "cleanly")
        self.buffer += data

    def _take_segment(self):
        taken = wire_framing.take_segment(self.buffer, self.compression)
        if taken is None:
            return False
        used, payload, is_self_contained = taken
        del self.buffer[:used]
        if self.plain:
            assert not is_self_contained and not self.segments_seen[-1][1], "a self-contained segment held a part of a frame"
        self.plain += payload
        self.segments_seen.append((len(payload), is_self_contained))
        return True

    def _take_frame(self):
        if not self.is_segmented:
            return self._parse_frame(self.buffer)
        while (frame := self._parse_frame(self.plain)) is None:
            if not self._take_segment():
                return None
        return frame

    def _parse_frame(self, source):
        """Takes a frame off the bytes; None while it is not all there."""
        if len(source) < 9:
            return None
        version, flags, stream, opcode, length = struct.unpack(">BBhBi", source[:9])
        assert version & 0x80, "a request came from the server"
        assert length >= 0
        if len(source) < 9 + length:
            return None
        body = bytes(source[9 : 9 + length])
        del source[: 9 + length]
        if flags & COMPRESSED and not self.is_segmented:
            body = wire_framing.inflate(self.compression, body)
        reader = Reader(body)
        tracing_id = reader.take(16) if flags & TRACING else None
        warnings = reader.strings() if flags & WARNING else ()
        payload = reader.bytes_map() if flags & PAYLOAD else None
        return Frame(version & 0x7F, flags, stream, opcode, body[reader.at :], tracing_id, warnings, payload)

    def receive(self, timeout=None):
        """The next frame, whatever it is. Raises Closed, or TimeoutError."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while (frame := self._take_frame()) is None:
            self._fill(deadline)
        if frame.name in ("READY", "AUTHENTICATE"):
            self.is_started = True
            self.is_segmented = frame.version == 5
        return frame

    def receive_for(self, stream, timeout=None):
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while stream not in self.waiting:
            frame = self.receive(max(0.001, deadline - time.monotonic()))
            if frame.stream == -1:
                self.events.append(frame)
            else:
                assert frame.stream not in self.waiting, f"two answers for stream {frame.stream}"
                self.waiting[frame.stream] = frame
        return self.waiting.pop(stream)

    def ask(self, name, body=b"", stream=0, flags=0, timeout=None, payload=None):
        self.send(name, body, stream, flags, payload)
        return self.receive_for(stream, timeout)

    def is_closed(self, timeout=0.0):
        """True once the other side has ended the connection; frames that still come are dropped."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.receive(max(0.001, deadline - time.monotonic()))
            except TimeoutError:
                return False
            except Closed:
                return True

    # -- conversations

    def startup(self, user=None, password=None, **options):
        """Up to READY or AUTH_SUCCESS; ServerError when refused. options: of STARTUP."""
        if self.compression:
            options.setdefault("COMPRESSION", self.compression)
        frame = self.ask("STARTUP", startup_body(**options))
        if frame.name == "AUTHENTICATE":
            assert user is not None, "the server wants credentials"
            frame = self.ask("AUTH_RESPONSE", value(plain_token(user, password)))
        if frame.name == "ERROR":
            raise ServerError(frame)
        assert frame.name in ("READY", "AUTH_SUCCESS"), frame
        return self

    def result(self, frame):
        if frame.name == "ERROR":
            raise ServerError(frame)
        assert frame.name == "RESULT", frame
        return parse_result(frame.body, self.version)._replace(frame=frame)

    def ask_result(self, name, body, stream=0, flags=0, timeout=None, payload=None):
        return self.result(self.ask(name, body, stream, flags, timeout, payload))

    def query(self, text, values=(), stream=0, timeout=None, flags=0, payload=None, **options):
        """flags, payload: of the frame; options: those of parameters(), as everywhere below."""
        body = query_body(text, values, version=self.version, **options)
        return self.ask_result("QUERY", body, stream, flags, timeout, payload)

    def rows(self, text, values=(), **options):
        return self.query(text, values, **options).rows

    def pages(self, text, values=(), page_size=100, **options):
        """The rows of each page, as they are asked for."""
        state, first = None, True
        while first or state is not None:
            result = self.query(text, values, page_size=page_size, paging_state=state, **options)
            state, first = result.paging_state, False
            yield result.rows

    def prepared(self, text, stream=0, keyspace=None):
        """The whole answer to PREPARE."""
        result = self.ask_result("PREPARE", prepare_body(text, keyspace, self.version), stream)
        self.metadata_ids[result.prepared_id] = result.metadata_id
        return result

    def prepare(self, text, stream=0, **options):
        return self.prepared(text, stream, **options).prepared_id

    def execute(self, prepared_id, values=(), stream=0, timeout=None, flags=0, payload=None, **options):
        options.setdefault("metadata_id", self.metadata_ids.get(prepared_id))
        body = execute_body(prepared_id, values, version=self.version, **options)
        return self.ask_result("EXECUTE", body, stream, flags, timeout, payload)

    def batch(self, children, kind=0, stream=0, flags=0, payload=None, **options):
        return self.ask_result("BATCH", batch_body(children, kind, version=self.version, **options), stream, flags, None, payload)

    def error(self, name, body, stream=0, timeout=None):
        """The (code, message, details) of a request that must fail."""
        frame = self.ask(name, body, stream, timeout=timeout)
        assert frame.name == "ERROR", f"expected an error, got {frame.name}"
        return parse_error(frame.body)

    def query_error(self, text, values=(), stream=0, timeout=None, **options):
        return self.error("QUERY", query_body(text, values, version=self.version, **options), stream, timeout)
