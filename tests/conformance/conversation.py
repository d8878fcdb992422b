"""The words of the conformance table: what can be asked, and what can be expected. A Talk is one connection on which a case is
held; {ks} and {unique} in texts are its keyspace and a number no other case uses."""

import itertools
import re
from dataclasses import dataclass, field

from support import wire

ANY = object()
_unique = itertools.count(1)


class Talk:
    def __init__(self, server, version, keyspace):
        self.server, self.version, self.keyspace = server, version, keyspace
        self.unique = next(_unique) + 1_000_000
        self.connection = server.connect(version)
        self.prepared = {}
        self.paging_state = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def fill(self, text):
        return text.replace("{ks}", self.keyspace).replace("{unique}", str(self.unique))

    def values(self, values):
        if isinstance(values, dict):
            return {name: self.value(value) for name, value in values.items()}
        return [self.value(value) for value in values]

    def value(self, value):
        return {"unique": wire.int_value(self.unique), "unset": wire.UNSET}.get(value, value) if isinstance(value, str) else value

    def options(self, options):
        """Those of the body, with this talk's words in them, and those of the frame."""
        body = {**options, "version": self.version}
        frame = {}
        if body.pop("tracing", False):
            frame["flags"] = wire.TRACING
        if "payload" in body:
            frame["payload"] = body.pop("payload")
        if body.get("paging_state") == "last":
            body["paging_state"] = self.paging_state
        if body.get("keyspace"):
            body["keyspace"] = self.fill(body["keyspace"])
        return body, frame

    def start(self):
        if not self.connection.is_started:
            self.connection.startup(self.server.user, self.server.password)


# ---- what is asked: each returns the frame that answered


@dataclass
class Options:
    def ask(self, talk):
        return talk.connection.ask("OPTIONS")


class Startup:
    def __init__(self, **options):
        self.options = options

    def ask(self, talk):
        connection = talk.connection
        frame = connection.ask("STARTUP", wire.startup_body(**self.options))
        if frame.name == "AUTHENTICATE":
            frame = connection.ask("AUTH_RESPONSE", wire.value(wire.plain_token(talk.server.user, talk.server.password)))
        return frame


class Register:
    def __init__(self, *events):
        self.events = events

    def ask(self, talk):
        talk.start()
        return talk.connection.ask("REGISTER", len(self.events).to_bytes(2, "big") + b"".join(map(wire.string, self.events)))


class Query:
    def __init__(self, text, values=(), times=1, stream=0, before_startup=False, **options):
        self.text, self.values, self.options = text, values, options
        self.times, self.stream, self.before_startup = times, stream, before_startup

    def ask(self, talk):
        if not self.before_startup:
            talk.start()
        options, frame = talk.options(self.options)
        body = wire.query_body(talk.fill(self.text), talk.values(self.values), **options)
        for stream in range(self.stream, self.stream + self.times):
            talk.connection.send("QUERY", body, stream, **frame)
        frames = [talk.connection.receive_for(stream) for stream in range(self.stream, self.stream + self.times)]
        assert len({frame.body for frame in frames}) == 1, "the same question, different answers"
        return frames[0]


class Prepare:
    def __init__(self, name, text, keyspace=None):
        self.name, self.text, self.keyspace = name, text, keyspace

    def ask(self, talk):
        talk.start()
        keyspace = self.keyspace and talk.fill(self.keyspace)
        frame = talk.connection.ask("PREPARE", wire.prepare_body(talk.fill(self.text), keyspace, talk.version))
        if frame.name == "RESULT":
            talk.prepared[self.name] = wire.parse_result(frame.body, talk.version)
        return frame


class Execute:
    def __init__(self, name, values, **options):
        self.name, self.values, self.options = name, values, options

    def ask(self, talk):
        talk.start()
        options, frame = talk.options(self.options)
        if isinstance(self.name, bytes):
            prepared_id, metadata_id = self.name, b"m" * 16
        else:
            prepared_id, metadata_id = talk.prepared[self.name].prepared_id, talk.prepared[self.name].metadata_id
        body = wire.execute_body(prepared_id, talk.values(self.values), metadata_id, **options)
        return talk.connection.ask("EXECUTE", body, **frame)


class Batch:
    """Children: (text, ":name" of a prepared statement or an id, values)."""

    def __init__(self, children, kind=0, **options):
        self.children, self.kind, self.options = children, kind, options

    def ask(self, talk):
        talk.start()

        def statement(word):
            if isinstance(word, bytes):
                return word
            return talk.prepared[word[1:]].prepared_id if word.startswith(":") else talk.fill(word)

        options, frame = talk.options(self.options)
        children = [(statement(word), talk.values(values)) for word, values in self.children]
        return talk.connection.ask("BATCH", wire.batch_body(children, self.kind, **options), **frame)


@dataclass
class RawFrame:
    opcode: object
    body: bytes
    after_ready: bool = False
    version_change: bool = False

    def ask(self, talk):
        if self.after_ready:
            talk.start()
        version = talk.version
        if self.version_change:
            version = 3 if version != 3 else 4
        opcode = wire.OPCODES.get(self.opcode, self.opcode)
        talk.connection.send_frames(wire.header(opcode, len(self.body), 0, version) + self.body)
        try:
            return talk.connection.receive()
        except wire.Closed:
            return None


# ---- what is expected


@dataclass
class Ready:
    def check(self, talk, frame):
        assert frame.name in ("READY", "AUTH_SUCCESS"), frame


class Supported:
    def __init__(self, *keys):
        self.keys = keys

    def check(self, talk, frame):
        assert frame.name == "SUPPORTED"
        supported = wire.Reader(frame.body).multimap()
        assert set(self.keys) <= set(supported), supported


class Error:
    """One of these codes; text: a pattern the message has; details: what follows the message."""

    def __init__(self, *codes, details=None, is_closed_allowed=False):
        self.codes = [code for code in codes if isinstance(code, int)]
        self.texts = [text for text in codes if isinstance(text, str)]
        self.details, self.is_closed_allowed = details, is_closed_allowed

    def check(self, talk, frame):
        if frame is None and self.is_closed_allowed:
            return
        assert frame is not None and frame.name == "ERROR", frame
        code, message, details = wire.parse_error(frame.body)
        assert code in self.codes, f"{code:#06x} {message}"
        assert message != "" and all(re.search(text, message) for text in self.texts), message
        expected = self.details
        if isinstance(expected, str):
            expected = b"".join(wire.string(talk.fill(part)) for part in expected.split("+"))
        assert expected is None or details == expected, details


@dataclass
class Void:
    warned: bool = False

    def check(self, talk, frame):
        assert frame.name == "RESULT", wire.parse_error(frame.body)
        assert wire.parse_result(frame.body, talk.version).kind == "VOID"
        assert bool(frame.warnings) == self.warned, frame.warnings


def kind_of(type_):
    return type_[0] if isinstance(type_, tuple) else type_


@dataclass
class Rows:
    rows: object
    columns: list = None
    types: list = None
    more: bool = None
    any_order: bool = False
    new_metadata: bool = None
    traced: bool = False

    def check(self, talk, frame):
        assert frame.name == "RESULT", wire.parse_error(frame.body)
        result = wire.parse_result(frame.body, talk.version)
        assert result.kind == "ROWS"
        if self.rows is not ANY:
            wanted = [list(row) for row in self.rows]
            assert (sorted(result.rows) == sorted(wanted)) if self.any_order else (result.rows == wanted), result.rows
        assert self.columns is None or result.columns == self.columns, result.columns
        assert self.types is None or [kind_of(type_) for type_ in result.types] == self.types, result.types
        assert self.more is None or (result.paging_state is not None) == self.more
        assert self.new_metadata is None or (result.metadata_id is not None) == self.new_metadata
        assert not self.traced or frame.tracing_id, "no trace id"
        talk.paging_state = result.paging_state


@dataclass
class Prepared:
    markers: list
    types: list = None
    result: list = None
    partition_key: list = None
    same_id: str = None
    frame: object = field(default=None, repr=False)

    def check(self, talk, frame):
        assert frame.name == "RESULT", wire.parse_error(frame.body)
        result = wire.parse_result(frame.body, talk.version)
        assert result.kind == "PREPARED"
        assert [name for name, _ in result.bound] == self.markers, result.bound
        assert self.types is None or [kind_of(type_) for _, type_ in result.bound] == self.types, result.bound
        assert self.result is None or result.columns == self.result, result.columns
        assert self.same_id is None or result.prepared_id == talk.prepared[self.same_id].prepared_id
        assert self.partition_key is None or self.key_indexes(talk, frame) == self.partition_key

    @staticmethod
    def key_indexes(talk, frame):
        reader = wire.Reader(frame.body)
        reader.unpack("i")
        reader.short_bytes()
        if wire.has_metadata_ids(talk.version):
            reader.short_bytes()
        reader.unpack("i"), reader.unpack("i")
        return [reader.unpack("H") for _ in range(reader.unpack("i"))]


@dataclass
class SetKeyspace:
    name: str

    def check(self, talk, frame):
        assert frame.name == "RESULT", wire.parse_error(frame.body)
        result = wire.parse_result(frame.body, talk.version)
        assert (result.kind, result.keyspace) == ("SET_KEYSPACE", talk.fill(self.name))


class Schema:
    def __init__(self, *words):
        self.words = words

    def check(self, talk, frame):
        assert frame.name == "RESULT", wire.parse_error(frame.body)
        reader = wire.Reader(frame.body)
        assert reader.unpack("i") == 5, "no schema change"
        assert [reader.string() for _ in self.words] == [talk.fill(word) for word in self.words]


class Event(Schema):
    """The next event on this connection."""

    def check(self, talk, frame):
        connection = talk.connection
        frame = connection.events.pop(0) if connection.events else connection.receive()
        assert (frame.name, frame.stream) == ("EVENT", -1)
        reader = wire.Reader(frame.body)
        assert [reader.string() for _ in self.words] == [talk.fill(word) for word in self.words]


def hold(talk, case):
    for number, (question, expectation) in enumerate(case.steps):
        try:
            expectation.check(talk, question.ask(talk) if question is not None else None)
        except AssertionError as error:
            raise AssertionError(f"step {number + 1}, {type(question).__name__}: {error}") from error
