"""The conformance table: what a server of the CQL native protocol must answer, whoever it is. Each case is a short conversation; the
same expectation holds for a real Cassandra node and for the proxy between two clusters.

A case is a name, the protocol versions it holds for, and steps. A step is what is asked (see conversation.py) and what must come back."""

from collections import namedtuple

from conversation import (
    ANY, Batch, Error, Event, Execute, Options, Prepare, Prepared, Query, RawFrame, Ready, Register, Rows, Schema, SetKeyspace,
    Startup, Supported, Void,
)  # fmt: skip

Case = namedtuple("Case", "name versions steps")

KEYSPACE = "conformance"
V3, V4, V5 = 3, 4, 5
ALL, FROM4, ONLY5 = (V3, V4, V5), (V4, V5), (V5,)
CASES = []


def case(name, versions, *steps):
    assert all(name != other.name for other in CASES), f"two cases called {name}"
    CASES.append(Case(name, versions, steps))


# ---- values of every type, in and out

# type, literal, its bytes, the code of the type on the wire
TYPES = [
    ("ascii", "'plain'", b"plain".hex(), 0x01),
    ("bigint", "-9223372036854775808", "8000000000000000", 0x02),
    ("blob", "0x00ff10", "00ff10", 0x03),
    ("boolean", "true", "01", 0x04),
    ("decimal", "-12.345", "00000003cfc7", 0x06),
    ("double", "0.5", "3fe0000000000000", 0x07),
    ("float", "-2.25", "c0100000", 0x08),
    ("int", "2147483647", "7fffffff", 0x09),
    ("timestamp", "1700000000123", "0000018bcfe5687b", 0x0B),
    ("uuid", "123e4567-e89b-42d3-a456-426614174000", "123e4567e89b42d3a456426614174000", 0x0C),
    ("text", "'gr\u00fc\u00dfe \u2713'", "gr\u00fc\u00dfe \u2713".encode().hex(), 0x0D),
    ("varint", "-128", "80", 0x0E),
    ("timeuuid", "50554d6e-29bb-11e5-b345-feff819cdc9f", "50554d6e29bb11e5b345feff819cdc9f", 0x0F),
    ("inet", "'10.1.2.3'", "0a010203", 0x10),
    ("list<int>", "[1, 2]", "00000002" "0000000400000001" "0000000400000002", 0x20),
    ("map<text, int>", "{'a': 1}", "00000001" "0000000161" "0000000400000001", 0x21),
    ("set<int>", "{3, 1}", "00000002" "0000000400000001" "0000000400000003", 0x22),
    ("tuple<int, text>", "(7, 'x')", "0000000400000007" "0000000178", 0x31),
    ("frozen<list<text>>", "['a']", "00000001" "0000000161", 0x20),
]
# These came with version 4 of the protocol.
TYPES_FROM4 = [
    ("date", "'2026-11-23'", "8000512c", 0x11),
    ("time", "'12:34:56.000000789'", "000029324bfd6315", 0x12),
    ("smallint", "-2", "fffe", 0x13),
    ("tinyint", "-3", "fd", 0x14),
]


def table_of(type_):
    return "of_" + "".join(letter if letter.isalnum() else "_" for letter in type_)


for versions, types in ((ALL, TYPES), (FROM4, TYPES_FROM4)):
    for type_, literal, data, code in types:
        table, data = table_of(type_), bytes.fromhex(data)
        read = Query(f"SELECT v FROM {{ks}}.{table} WHERE k = ?", [b"\0\0\0\1"])
        case(f"{type_}: a literal comes back as bytes", versions,
             (Query(f"INSERT INTO {{ks}}.{table} (k, v) VALUES (1, {literal})"), Void()),
             (read, Rows([[data]], columns=["v"], types=[code])))  # fmt: skip
        case(f"{type_}: bound bytes come back unchanged", versions,
             (Query(f"INSERT INTO {{ks}}.{table} (k, v) VALUES (?, ?)", [b"\0\0\0\1", data]), Void()),
             (read, Rows([[data]], columns=["v"], types=[code])))  # fmt: skip
        case(f"{type_}: prepared, with metadata, null and back", versions,
             (Prepare("write", f"INSERT INTO {{ks}}.{table} (k, v) VALUES (?, ?)"), Prepared(["k", "v"], types=[0x09, code])),
             (Prepare("read", f"SELECT v FROM {{ks}}.{table} WHERE k = ?"), Prepared(["k"], types=[0x09], result=["v"])),
             (Execute("write", [b"\0\0\0\2", data]), Void()),
             (Execute("read", [b"\0\0\0\2"]), Rows([[data]], columns=["v"])),
             (Execute("write", [b"\0\0\0\2", None]), Void()),
             (Execute("read", [b"\0\0\0\2"]), Rows([[None]] if "<" not in type_ or "frozen" in type_ or "tuple" in type_ else ANY)),
             )  # fmt: skip

TABLES = [f"CREATE TABLE {{ks}}.{table_of(row[0])} (k int PRIMARY KEY, v {row[0]})" for row in TYPES + TYPES_FROM4]
TABLES += [
    "CREATE TABLE {ks}.kv (k int PRIMARY KEY, v text)",
    "CREATE TABLE {ks}.wide (p int, c int, v text, s text static, PRIMARY KEY (p, c))",
    "CREATE TABLE {ks}.counts (k int PRIMARY KEY, n counter)",
    "CREATE TABLE {ks}.two_keys (a int, b text, c int, PRIMARY KEY ((a, b), c))",
]


def number(value):
    return value.to_bytes(4, "big", signed=True)


# ---- before and around the handshake

case("OPTIONS before STARTUP names what is on offer", ALL,
     (Options(), Supported("CQL_VERSION", "COMPRESSION")), (Startup(), Ready()))  # fmt: skip
case("OPTIONS after READY too", ALL, (Startup(), Ready()), (Options(), Supported("CQL_VERSION")))
case("a second STARTUP is refused", ALL, (Startup(), Ready()), (Startup(), Error(0x000A)))
case("QUERY before STARTUP is refused", ALL, (Query("SELECT key FROM system.local", before_startup=True), Error(0x000A)))
case("an unknown compression is refused", (V3, V4), (Startup(COMPRESSION="zip"), Error(0x000A, "(?i)compression")))
case("a body that is no string map is refused", ALL, (RawFrame("STARTUP", b"\0\1\0\5ab"), Error(0x000A)))
case("an unknown opcode is refused", ALL, (RawFrame(0x77, b""), Error(0x000A)))
case("a response from a client is refused", ALL, (RawFrame("RESULT", b"\0\0\0\1"), Error(0x000A)))

# ---- QUERY

case("SELECT of a row that is not there", ALL, (Query("SELECT v FROM {ks}.kv WHERE k = 404"), Rows([], columns=["v"], types=[0x0D])))
case("SELECT * names the columns in order", ALL,
     (Query("INSERT INTO {ks}.kv (k, v) VALUES (1, 'one')"), Void()),
     (Query("SELECT * FROM {ks}.kv WHERE k = 1"), Rows([[number(1), b"one"]], columns=["k", "v"], types=[0x09, 0x0D])))  # fmt: skip
case("an alias names the column", ALL, (Query("SELECT v AS w FROM {ks}.kv WHERE k = 404"), Rows([], columns=["w"])))
case("count(*) is a bigint", ALL, (Query("SELECT count(*) FROM {ks}.kv WHERE k = 404"), Rows([[b"\0" * 8]], columns=["count"], types=[0x02])))
case("skip_metadata leaves the columns out", ALL,
     (Query("SELECT v FROM {ks}.kv WHERE k = 404", skip_metadata=True), Rows([], columns=[])))  # fmt: skip
case("named values find their columns", ALL,
     (Query("INSERT INTO {ks}.kv (k, v) VALUES (:a, :b)", {"b": b"named", "a": number(5)}), Void()),
     (Query("SELECT v FROM {ks}.kv WHERE k = 5"), Rows([[b"named"]])))  # fmt: skip
case("too few values are INVALID", ALL, (Query("INSERT INTO {ks}.kv (k, v) VALUES (?, ?)", [number(1)]), Error(0x2200)))
case("too many values are INVALID", ALL, (Query("SELECT v FROM {ks}.kv WHERE k = ?", [number(1), b"x"]), Error(0x2200)))
case("a value of the wrong length is INVALID", ALL, (Query("SELECT v FROM {ks}.kv WHERE k = ?", [b"\0\1"]), Error(0x2200)))
case("a null key is INVALID", ALL, (Query("INSERT INTO {ks}.kv (k, v) VALUES (?, 'x')", [None]), Error(0x2200)))
case("a statement that is none is a SYNTAX_ERROR", ALL, (Query("SELEKT v FROM {ks}.kv"), Error(0x2000)))
case("the empty statement is a SYNTAX_ERROR", ALL, (Query(""), Error(0x2000)))
case("an unknown table is INVALID", ALL, (Query("SELECT v FROM {ks}.nothing"), Error(0x2200)))
case("an unknown keyspace is INVALID", ALL, (Query("SELECT v FROM no_such_keyspace.kv"), Error(0x2200)))
case("an unknown column is INVALID", ALL, (Query("SELECT nothing FROM {ks}.kv"), Error(0x2200)))
case("no keyspace at all is INVALID", ALL, (Query("SELECT v FROM kv"), Error(0x2200, "(?i)keyspace")))
case("a WHERE that needs filtering is INVALID", ALL, (Query("SELECT k FROM {ks}.kv WHERE v = 'x'"), Error(0x2200)))
case("a write timestamp of the client wins", ALL,
     (Query("DELETE FROM {ks}.kv USING TIMESTAMP 900 WHERE k = 6"), Void()),
     (Query("INSERT INTO {ks}.kv (k, v) VALUES (6, 'late')", timestamp=2000), Void()),
     (Query("INSERT INTO {ks}.kv (k, v) VALUES (6, 'early')", timestamp=1000), Void()),
     (Query("SELECT v, writetime(v) FROM {ks}.kv WHERE k = 6"), Rows([[b"late", (2000).to_bytes(8, "big")]])))  # fmt: skip
case("USING TIMESTAMP goes before the client's", ALL,
     (Query("INSERT INTO {ks}.kv (k, v) VALUES (7, 'x') USING TIMESTAMP 3000", timestamp=4000), Void()),
     (Query("SELECT writetime(v) FROM {ks}.kv WHERE k = 7"), Rows([[(3000).to_bytes(8, "big")]])))  # fmt: skip
case("TTL and its absence", ALL,
     (Query("INSERT INTO {ks}.kv (k, v) VALUES (8, 'x')"), Void()),
     (Query("SELECT ttl(v) FROM {ks}.kv WHERE k = 8"), Rows([[None]])))  # fmt: skip
case("a long text is one value", ALL,
     (Query("INSERT INTO {ks}.kv (k, v) VALUES (?, ?)", [number(9), b"L" * 300_000]), Void()),
     (Query("SELECT v FROM {ks}.kv WHERE k = 9"), Rows([[b"L" * 300_000]])))  # fmt: skip
case("LWT: applied, then not, with what is there", ALL,
     (Query("DELETE FROM {ks}.kv WHERE k = 10"), Void()),
     (Query("INSERT INTO {ks}.kv (k, v) VALUES (10, 'first') IF NOT EXISTS"), Rows([[b"\1"]], columns=["[applied]"], types=[0x04])),
     (Query("INSERT INTO {ks}.kv (k, v) VALUES (10, 'second') IF NOT EXISTS"),
      Rows([[b"\0", number(10), b"first"]], columns=["[applied]", "k", "v"])),
     (Query("UPDATE {ks}.kv SET v = 'third' WHERE k = 10 IF v = 'first'", serial_consistency=9), Rows([[b"\1"]])))  # fmt: skip
case("a serial consistency that is none is refused", ALL,
     (Query("UPDATE {ks}.kv SET v = 'x' WHERE k = 10 IF v = 'y'", serial_consistency=1), Error(0x2200, 0x000A)))  # fmt: skip
case("counters count", ALL,
     (Query("UPDATE {ks}.counts SET n = n + 2 WHERE k = {unique}"), Void()),
     (Query("UPDATE {ks}.counts SET n = n - 1 WHERE k = {unique}"), Void()),
     (Query("SELECT n FROM {ks}.counts WHERE k = {unique}"), Rows([[(1).to_bytes(8, "big")]], types=[0x05])))  # fmt: skip
case("comments and odd letters do not matter", ALL,
     (Query("-- one\n/* two */ sElEcT v /* three */ FROM {ks}.kv // four\n WHERE k = 404;"), Rows([])))  # fmt: skip
case("truncated QUERY bodies are refused", ALL,
     *[(RawFrame("QUERY", b"\0\0\0\x20SELECT"[:cut], after_ready=True), Error(0x000A, 0x2000, 0)) for cut in (0, 3, 4, 10)])  # fmt: skip

# ---- paging

PAGES = [(Query(f"INSERT INTO {{ks}}.wide (p, c, v) VALUES ({{unique}}, {c}, 'x')"), Void()) for c in range(5)]
case("pages end where they say", ALL, *PAGES,
     (Query("SELECT c FROM {ks}.wide WHERE p = {unique}", page_size=2), Rows([[number(0)], [number(1)]], more=True)),
     (Query("SELECT c FROM {ks}.wide WHERE p = {unique}", page_size=2, paging_state="last"), Rows([[number(2)], [number(3)]], more=True)),
     (Query("SELECT c FROM {ks}.wide WHERE p = {unique}", page_size=2, paging_state="last"), Rows([[number(4)]], more=False)))  # fmt: skip
case("prepared pages", ALL, *PAGES,
     (Prepare("scan", "SELECT c FROM {ks}.wide WHERE p = ?"), Prepared(["p"])),
     (Execute("scan", ["unique"], page_size=3), Rows(ANY, more=True)),
     (Execute("scan", ["unique"], page_size=3, paging_state="last"), Rows([[number(3)], [number(4)]], more=False)))  # fmt: skip
case("a page as large as the rest", ALL, *PAGES,
     (Query("SELECT c FROM {ks}.wide WHERE p = {unique}", page_size=100), Rows([[number(c)] for c in range(5)], more=False)))  # fmt: skip
case("a paging state that is none is refused", ALL,
     (Query("SELECT c FROM {ks}.wide", page_size=2, paging_state=b"\xff\xfe nonsense"), Error(0x000A, 0x2200)))  # fmt: skip

# ---- PREPARE and EXECUTE

case("PREPARE of nonsense is a SYNTAX_ERROR", ALL, (Prepare("x", "PREPARE me"), Error(0x2000)))
case("PREPARE of an unknown table is INVALID", ALL, (Prepare("x", "SELECT v FROM {ks}.nothing"), Error(0x2200)))
case("EXECUTE of an unknown id is UNPREPARED with the id", ALL, (Execute(b"no such id 12345", []), Error(0x2500, details=b"\0\x10no such id 12345")))
case("EXECUTE with too few values is refused", ALL,
     (Prepare("read", "SELECT v FROM {ks}.kv WHERE k = ?"), Prepared(["k"])), (Execute("read", []), Error(0x2200)))  # fmt: skip
case("a statement without markers", ALL,
     (Prepare("read", "SELECT v FROM {ks}.kv WHERE k = 404"), Prepared([], result=["v"])), (Execute("read", []),
      Rows([], columns=["v"])))  # fmt: skip
case("the same text has the same id", ALL,
     (Prepare("one", "SELECT v FROM {ks}.kv WHERE k = ?"), Prepared(["k"])), (Prepare("two", "SELECT v FROM {ks}.kv WHERE k = ?"),
      Prepared(["k"], same_id="one")))  # fmt: skip
case("bind markers tell the partition key", FROM4,
     (Prepare("one", "INSERT INTO {ks}.two_keys (c, b, a) VALUES (?, ?, ?)"), Prepared(["c", "b", "a"], partition_key=[2, 1])),
     (Prepare("two", "SELECT c FROM {ks}.two_keys WHERE c = ? AND a = ? AND b = ?"), Prepared(["c", "a", "b"], partition_key=[1, 2])),
     (Prepare("none", "SELECT c FROM {ks}.two_keys WHERE a = ? AND b = 'x'"), Prepared(["a"], partition_key=[])))  # fmt: skip
case("named markers of a prepared statement", ALL,
     (Prepare("write", "INSERT INTO {ks}.kv (k, v) VALUES (:key, :val)"), Prepared(["key", "val"])),
     (Execute("write", [number(11), b"by position"]), Void()),
     (Query("SELECT v FROM {ks}.kv WHERE k = 11"), Rows([[b"by position"]])),
     (Execute("write", {"val": b"by name", "key": number(11)}), Void()),
     (Query("SELECT v FROM {ks}.kv WHERE k = 11"), Rows([[b"by name"]])))  # fmt: skip
case("a value that is not set leaves the column alone", FROM4,
     (Query("INSERT INTO {ks}.kv (k, v) VALUES (12, 'kept')"), Void()),
     (Prepare("write", "INSERT INTO {ks}.kv (k, v) VALUES (?, ?)"), Prepared(["k", "v"])),
     (Execute("write", [number(12), "unset"]), Void()),
     (Query("SELECT v FROM {ks}.kv WHERE k = 12"), Rows([[b"kept"]])))  # fmt: skip
case("skip_metadata with EXECUTE", ALL,
     (Query("INSERT INTO {ks}.kv (k, v) VALUES (13, 'x')"), Void()),
     (Prepare("read", "SELECT v FROM {ks}.kv WHERE k = ?"), Prepared(["k"], result=["v"])),
     (Execute("read", [number(13)], skip_metadata=True), Rows([[b"x"]], columns=[])))  # fmt: skip
case("EXECUTE carries a client's timestamp", ALL,
     (Prepare("write", "INSERT INTO {ks}.kv (k, v) VALUES (?, ?)"), Prepared(["k", "v"])),
     (Execute("write", [number(14), b"x"], timestamp=5000), Void()),
     (Query("SELECT writetime(v) FROM {ks}.kv WHERE k = 14"), Rows([[(5000).to_bytes(8, "big")]])))  # fmt: skip
case("truncated EXECUTE bodies are refused", ALL,
     *[(RawFrame("EXECUTE", b"\0\x10abcdefgh"[:cut], after_ready=True), Error(0x000A, 0)) for cut in (0, 1, 2, 6)])  # fmt: skip

# ---- BATCH

case("a logged batch of texts", ALL,
     (Batch([("INSERT INTO {ks}.kv (k, v) VALUES (20, 'a')", []), ("INSERT INTO {ks}.kv (k, v) VALUES (?, ?)", [number(21), b"b"])]), Void()),
     (Query("SELECT v FROM {ks}.kv WHERE k = 20"), Rows([[b"a"]])), (Query("SELECT v FROM {ks}.kv WHERE k = 21"), Rows([[b"b"]])))  # fmt: skip
case("a batch of prepared and text children", ALL,
     (Prepare("write", "INSERT INTO {ks}.kv (k, v) VALUES (?, ?)"), Prepared(["k", "v"])),
     (Batch([(":write", [number(22), b"p"]), ("DELETE FROM {ks}.kv WHERE k = 20", []), (":write", [number(23), None])]), Void()),
     (Query("SELECT v FROM {ks}.kv WHERE k = 22"), Rows([[b"p"]])), (Query("SELECT v FROM {ks}.kv WHERE k = 20"), Rows([])))  # fmt: skip
case("an unlogged batch", ALL, (Batch([("INSERT INTO {ks}.kv (k, v) VALUES (24, 'u')", [])], kind=1), Void()),
     (Query("SELECT v FROM {ks}.kv WHERE k = 24"), Rows([[b"u"]])))  # fmt: skip
case("a counter batch", ALL, (Batch([("UPDATE {ks}.counts SET n = n + 3 WHERE k = {unique}", [])], kind=2), Void()),
     (Query("SELECT n FROM {ks}.counts WHERE k = {unique}"), Rows([[(3).to_bytes(8, "big")]])))  # fmt: skip
case("an empty batch", ALL, (Batch([]), Void()))
case("a batch with a client's timestamp", ALL,
     (Batch([("INSERT INTO {ks}.kv (k, v) VALUES (25, 't')", [])], timestamp=6000), Void()),
     (Query("SELECT writetime(v) FROM {ks}.kv WHERE k = 25"), Rows([[(6000).to_bytes(8, "big")]])))  # fmt: skip
case("a conditional batch answers with rows", ALL,
     (Query("DELETE FROM {ks}.wide WHERE p = {unique}"), Void()),
     (Batch([("INSERT INTO {ks}.wide (p, c, v) VALUES ({unique}, 1, 'x') IF NOT EXISTS", [])]), Rows([[b"\1"]], columns=["[applied]"])))  # fmt: skip
case("a batch with an unknown id is UNPREPARED", ALL, (Batch([(b"no such id 12345", [])]), Error(0x2500, details=b"\0\x10no such id 12345")))
case("a SELECT in a batch is INVALID", ALL, (Batch([("SELECT v FROM {ks}.kv WHERE k = 1", [])]), Error(0x2200)))
case("a batch type that is none is refused", ALL, (RawFrame("BATCH", b"\x09\0\0\0\1\0", after_ready=True), Error(0x000A, 0)))
case("a child kind that is none is refused", ALL, (RawFrame("BATCH", b"\0\0\1\7\0\0\0\1\0", after_ready=True), Error(0x000A, 0)))
case("a text batch", ALL,
     (Query("BEGIN BATCH INSERT INTO {ks}.kv (k, v) VALUES (26, 'a'); UPDATE {ks}.kv SET v = 'b' WHERE k = 27; APPLY BATCH"), Void()),
     (Query("SELECT v FROM {ks}.kv WHERE k IN (26, 27)"), Rows([[b"a"], [b"b"]], any_order=True)))  # fmt: skip

# ---- keyspaces and schema

case("USE answers with the keyspace", ALL, (Query("USE {ks}"), SetKeyspace("{ks}")), (Query("SELECT v FROM kv WHERE k = 404"), Rows([])))
case("USE of an unknown keyspace is INVALID", ALL, (Query("USE no_such_keyspace"), Error(0x2200)))
case("USE by EXECUTE", ALL, (Prepare("use", "USE {ks}"), Prepared([])), (Execute("use", []), SetKeyspace("{ks}")))
case("CREATE and DROP TABLE tell the change", ALL,
     (Query("CREATE TABLE {ks}.t{unique} (k int PRIMARY KEY)"), Schema("CREATED", "TABLE", "{ks}", "t{unique}")),
     (Query("ALTER TABLE {ks}.t{unique} ADD v text"), Schema("UPDATED", "TABLE", "{ks}", "t{unique}")),
     (Query("DROP TABLE {ks}.t{unique}"), Schema("DROPPED", "TABLE", "{ks}", "t{unique}")))  # fmt: skip
case("CREATE TYPE tells the change", ALL,
     (Query("CREATE TYPE {ks}.u{unique} (a int)"), Schema("CREATED", "TYPE", "{ks}", "u{unique}")),
     (Query("DROP TYPE {ks}.u{unique}"), Schema("DROPPED", "TYPE", "{ks}", "u{unique}")))  # fmt: skip
case("a table that is there ALREADY_EXISTS", ALL, (Query("CREATE TABLE {ks}.kv (k int PRIMARY KEY)"), Error(0x2400, details="{ks}+kv")))
case("a keyspace that is there ALREADY_EXISTS", ALL,
     (Query("CREATE KEYSPACE {ks} WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"), Error(0x2400)))  # fmt: skip
case("TRUNCATE", ALL, (Query("TRUNCATE {ks}.of_int"), Void()), (Query("SELECT k FROM {ks}.of_int"), Rows([])))
case("a schema event reaches who has registered", ALL,
     (Register("SCHEMA_CHANGE"), Ready()),
     (Query("CREATE TABLE {ks}.e{unique} (k int PRIMARY KEY)"), Schema("CREATED", "TABLE", "{ks}", "e{unique}")),
     (None, Event("SCHEMA_CHANGE", "CREATED", "TABLE", "{ks}", "e{unique}")),
     (Query("DROP TABLE {ks}.e{unique}"), Schema("DROPPED", "TABLE", "{ks}", "e{unique}")))  # fmt: skip
case("REGISTER for what is no event is refused", ALL, (Register("NOTHING"), Error(0x000A, 0)))

# ---- version 5

case("QUERY names its keyspace", ONLY5, (Query("SELECT v FROM kv WHERE k = 404", keyspace="{ks}"), Rows([])))
case("PREPARE names its keyspace", ONLY5,
     (Prepare("read", "SELECT v FROM kv WHERE k = ?", keyspace="{ks}"), Prepared(["k"])), (Execute("read", [number(404)]), Rows([])))  # fmt: skip
case("BATCH names its keyspace", ONLY5,
     (Batch([("INSERT INTO kv (k, v) VALUES (30, 'k')", [])], keyspace="{ks}"), Void()),
     (Query("SELECT v FROM {ks}.kv WHERE k = 30"), Rows([[b"k"]])))  # fmt: skip
case("now_in_seconds decides what has expired", ONLY5,
     (Query("INSERT INTO {ks}.kv (k, v) VALUES (31, 'x') USING TTL 1000", now_in_seconds=1_000_000_000), Void()),
     (Query("SELECT v FROM {ks}.kv WHERE k = 31", now_in_seconds=1_000_000_500), Rows([[b"x"]])),
     (Query("SELECT v FROM {ks}.kv WHERE k = 31", now_in_seconds=1_000_002_000), Rows(ANY)))  # fmt: skip
case("a changed table brings new metadata", ONLY5,
     (Query("CREATE TABLE {ks}.m{unique} (k int PRIMARY KEY, v text)"), Schema("CREATED", "TABLE", "{ks}", "m{unique}")),
     (Query("INSERT INTO {ks}.m{unique} (k, v) VALUES (1, 'x')"), Void()),
     (Prepare("old", "SELECT * FROM {ks}.m{unique} WHERE k = 1"), Prepared([], result=["k", "v"])),
     (Execute("old", [], skip_metadata=True), Rows([[number(1), b"x"]], columns=[])),
     (Query("ALTER TABLE {ks}.m{unique} ADD w int"), Schema("UPDATED", "TABLE", "{ks}", "m{unique}")),
     (Prepare("new", "SELECT * FROM {ks}.m{unique} WHERE k = 1"), Prepared([], result=["k", "v", "w"], same_id="old")),
     (Execute("old", [], skip_metadata=True), Rows([[number(1), b"x", None]], columns=["k", "v", "w"], new_metadata=True)),
     (Execute("new", [], skip_metadata=True), Rows([[number(1), b"x", None]], columns=[])),
     (Query("DROP TABLE {ks}.m{unique}"), Schema("DROPPED", "TABLE", "{ks}", "m{unique}")))  # fmt: skip

# ---- the frame

case("many requests at once, each answered on its stream", ALL, (Query("SELECT v FROM {ks}.kv WHERE k = 404", times=200), Rows([])))
case("the highest stream id", ALL, (Query("SELECT v FROM {ks}.kv WHERE k = 404", stream=32767), Rows([])))
case("a custom payload is taken", FROM4, (Query("SELECT v FROM {ks}.kv WHERE k = 404", payload={"note": b"hello"}), Rows([])))
case("tracing is answered with a trace id", ALL, (Query("SELECT v FROM {ks}.kv WHERE k = 404", tracing=True), Rows([], traced=True)))
case("a large unlogged batch over partitions warns", FROM4,
     (Batch([(f"INSERT INTO {{ks}}.kv (k, v) VALUES ({k}, 'w')", []) for k in range(100, 130)], kind=1), Void(warned=True)))  # fmt: skip
case("another version on the same connection ends it", ALL,
     (RawFrame("OPTIONS", b"", after_ready=True, version_change=True), Error(0x000A, is_closed_allowed=True)))  # fmt: skip
