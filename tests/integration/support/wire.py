"""A small synchronous CQL client over a plain socket, for plays about bytes: it sends exactly what it is told and shows exactly
what comes back. Its encoding is its own; a bug of the programs under test must not hide by being here as well."""

import contextlib
import socket
import struct
import time
from collections import namedtuple

OPCODES = {
    "ERROR": 0x00, "STARTUP": 0x01, "READY": 0x02, "AUTHENTICATE": 0x03, "OPTIONS": 0x05, "SUPPORTED": 0x06,
    "QUERY": 0x07, "RESULT": 0x08, "PREPARE": 0x09, "EXECUTE": 0x0A, "REGISTER": 0x0B, "EVENT": 0x0C, "BATCH": 0x0D,
    "AUTH_CHALLENGE": 0x0E, "AUTH_RESPONSE": 0x0F, "AUTH_SUCCESS": 0x10,
}  # fmt: skip
NAMES = {code: name for name, code in OPCODES.items()}

SERVER_ERROR, PROTOCOL_ERROR, BAD_CREDENTIALS = 0x0000, 0x000A, 0x0100
UNAVAILABLE, OVERLOADED, BOOTSTRAPPING, TRUNCATE_ERROR = 0x1000, 0x1001, 0x1002, 0x1003
WRITE_TIMEOUT, READ_TIMEOUT, READ_FAILURE, WRITE_FAILURE = 0x1100, 0x1200, 0x1300, 0x1500
SYNTAX_ERROR, INVALID, ALREADY_EXISTS, UNPREPARED = 0x2000, 0x2200, 0x2400, 0x2500

ONE = 1


class Closed(Exception):
    """The other side ended the connection."""


class ServerError(Exception):
    """An ERROR frame, where a play expected something else."""

    def __init__(self, frame):
        self.code, self.message, self.details = parse_error(frame.body)
        super().__init__(f"0x{self.code:04X} {self.message}")


Frame = namedtuple("Frame", "version flags stream opcode body")


class Frame(Frame):
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
    return struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data


def string_map(pairs):
    return struct.pack(">H", len(pairs)) + b"".join(string(k) + string(v) for k, v in pairs.items())


def int_value(number):
    return struct.pack(">i", number)


def header(opcode, length, stream=0, version=4, flags=0):
    return struct.pack(">BBhBi", version, flags, stream, opcode, length)


def frame_bytes(name, body=b"", stream=0, version=4, flags=0):
    return header(OPCODES[name], len(body), stream, version, flags) + body


def startup_body(**options):
    return string_map({"CQL_VERSION": "3.0.0", **options})


def parameters(values=(), consistency=ONE, skip_metadata=False, page_size=None, paging_state=None):
    flags = (0x01 if values else 0) | (0x02 if skip_metadata else 0)
    flags |= (0x04 if page_size else 0) | (0x08 if paging_state else 0)
    body = struct.pack(">HB", consistency, flags)
    if values:
        body += struct.pack(">H", len(values)) + b"".join(value(v) for v in values)
    if page_size:
        body += struct.pack(">i", page_size)
    if paging_state:
        body += value(paging_state)
    return body


def query_body(text, values=(), **options):
    return long_string(text) + parameters(values, **options)


def execute_body(prepared_id, values=(), **options):
    return short_bytes(prepared_id) + parameters(values, **options)


def batch_body(children, kind=0, consistency=ONE):
    """children: (text or prepared id, values)"""
    body = struct.pack(">BH", kind, len(children))
    for statement, values in children:
        body += b"\0" + long_string(statement) if isinstance(statement, str) else b"\1" + short_bytes(statement)
        body += struct.pack(">H", len(values)) + b"".join(value(v) for v in values)
    return body + struct.pack(">HB", consistency, 0)


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


Result = namedtuple("Result", "kind rows columns keyspace prepared_id table paging_state types")


def parse_error(body):
    reader = Reader(body)
    code, message = reader.unpack("i"), reader.string()
    return code, message, reader.data[reader.at :]


def parse_metadata(reader):
    flags, count = reader.unpack("i"), reader.unpack("i")
    paging_state = reader.bytes() if flags & 0x02 else None
    columns, types, table = [], [], None
    if not flags & 0x04:
        if flags & 0x01:
            table = reader.string(), reader.string()
        for _ in range(count):
            if not flags & 0x01:
                table = reader.string(), reader.string()
            columns.append(reader.string())
            types.append(reader.type())
    return count, columns, types, table, paging_state


def parse_result(body):
    reader = Reader(body)
    kind = {1: "VOID", 2: "ROWS", 3: "SET_KEYSPACE", 4: "PREPARED", 5: "SCHEMA_CHANGE"}[reader.unpack("i")]
    rows = columns = keyspace = prepared_id = table = paging_state = types = None
    if kind == "ROWS":
        count, columns, types, table, paging_state = parse_metadata(reader)
        rows = [[reader.bytes() for _ in range(count)] for _ in range(reader.unpack("i"))]
        assert reader.at == len(body), "bytes after the rows"
    elif kind == "SET_KEYSPACE":
        keyspace = reader.string()
    elif kind == "PREPARED":
        prepared_id = reader.short_bytes()
    return Result(kind, rows, columns, keyspace, prepared_id, table, paging_state, types)


# ---- a connection


class Connection:
    """One socket. Methods with a reply wait for the frame of their stream id; events met on the way are kept in events."""

    def __init__(self, address, port, timeout=10.0, version=4):
        self.timeout, self.version = timeout, version
        self.socket = socket.create_connection((address, port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
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

    def send(self, name, body=b"", stream=0, flags=0):
        self.send_bytes(frame_bytes(name, body, stream, self.version, flags))

    def _fill(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no frame in time")
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            raise TimeoutError("no frame in time") from None
        except ConnectionError as error:
            raise Closed(str(error)) from None
        if not data:
            raise Closed(f"with {len(self.buffer)} bytes of a frame" if self.buffer else "cleanly")
        self.buffer += data

    def receive(self, timeout=None):
        """The next frame, whatever it is. Raises Closed, or TimeoutError."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while len(self.buffer) < 9:
            self._fill(deadline)
        version, flags, stream, opcode, length = struct.unpack(">BBhBi", self.buffer[:9])
        assert version & 0x80, "a request came from the server"
        assert length >= 0
        while len(self.buffer) < 9 + length:
            self._fill(deadline)
        body = bytes(self.buffer[9 : 9 + length])
        del self.buffer[: 9 + length]
        return Frame(version & 0x7F, flags, stream, opcode, body)

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

    def ask(self, name, body=b"", stream=0, flags=0, timeout=None):
        self.send(name, body, stream, flags)
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
        """Up to READY or AUTH_SUCCESS; ServerError when refused."""
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
        return parse_result(frame.body)

    def query(self, text, values=(), stream=0, timeout=None, **options):
        return self.result(self.ask("QUERY", query_body(text, values, **options), stream, timeout=timeout))

    def rows(self, text, values=(), **options):
        return self.query(text, values, **options).rows

    def prepare(self, text, stream=0):
        return self.result(self.ask("PREPARE", long_string(text), stream)).prepared_id

    def execute(self, prepared_id, values=(), stream=0, **options):
        return self.result(self.ask("EXECUTE", execute_body(prepared_id, values, **options), stream))

    def batch(self, children, kind=0, stream=0):
        return self.result(self.ask("BATCH", batch_body(children, kind), stream))

    def error(self, name, body, stream=0, timeout=None):
        """The (code, message, details) of a request that must fail."""
        frame = self.ask(name, body, stream, timeout=timeout)
        assert frame.name == "ERROR", f"expected an error, got {frame.name}"
        return parse_error(frame.body)

    def query_error(self, text, values=(), stream=0, timeout=None, **options):
        return self.error("QUERY", query_body(text, values, **options), stream, timeout)
