"""A tour of CQL: what is sent, in order, and what must come back. A line is `expectation | statement`:

    schema, void, use    that kind of result
    N                    so many rows
    N per P              so many rows, asked for in pages of P
    N~                   so many rows whose values move with time: only names, types and sizes are compared
    0xNNNN               an error of that code

The reads are answered by the origin, so what only newer clusters know is refused by an older one: `A / B` is A where the origin is
3.11, and B where it is 5.0; such a statement is never prepared, which both clusters would have to do. Names without a keyspace are in
that of the run; {ks} is its name.
"""

STATEMENTS = """
use | USE {ks}

schema | CREATE TABLE kinds (k int PRIMARY KEY, a ascii, b bigint, c blob, d boolean, e decimal, f double, g float, h inet, i smallint)
schema | CREATE TABLE more_kinds (k int PRIMARY KEY, a tinyint, b text, c time, d date, e timestamp, f timeuuid, g uuid, h varint, i duration)
schema | CREATE INDEX by_text ON more_kinds (b)
void | INSERT INTO kinds (k, a, b, c, d) VALUES (1, 'ascii', 9223372036854775807, 0xcafe00, true)
void | UPDATE kinds SET e = 12345678901234567890.0987654321, f = 1.5e300, g = -0.25, h = '192.0.2.1', i = -32768 WHERE k = 1
void | INSERT INTO kinds (k, c, f, g, h) VALUES (2, 0x, NaN, Infinity, '2001:db8::1')
void | INSERT INTO kinds (k) VALUES (3)
void | INSERT INTO more_kinds (k, a, b, c, d, e) VALUES (1, -128, 'zwölf € 😀', '23:59:59.999999999', '1969-12-31', '2024-02-29T12:00:00.123Z')
void | UPDATE more_kinds SET f = 50554d6e-29bb-11e5-b345-feff819cdc9f, g = 123e4567-e89b-42d3-a456-426614174000 WHERE k = 1
void | UPDATE more_kinds SET h = -123456789012345678901234567890, i = 1mo2d3h4m5s6ns WHERE k = 1
1 | SELECT * FROM kinds WHERE k = 1
1 | SELECT * FROM kinds WHERE k = 2
1 | SELECT * FROM kinds WHERE k = 3
0 | SELECT * FROM kinds WHERE k = 4
1 | SELECT * FROM more_kinds WHERE k = 1
3 | SELECT k, c FROM kinds WHERE k IN (3, 1, 2)
1 | SELECT k AS "Key", a AS alias FROM kinds WHERE k = 1
1 | SELECT JSON k, a, b, d FROM kinds WHERE k = 1
void | INSERT INTO kinds JSON '{{"k": 5, "a": "from json", "d": false}}'
1 | SELECT a, b, d FROM kinds WHERE k = 5

1 | SELECT count(*), min(k), max(k), sum(k), avg(k) FROM kinds
1 | SELECT count(1) AS n FROM kinds
1 | SELECT cast(b AS text), cast(i AS int) FROM kinds WHERE k = 1
1 | SELECT token(k), toJson(b), bigintAsBlob(b) FROM kinds WHERE k = 1
1 | SELECT toTimestamp(f), toUnixTimestamp(f), toDate(f) FROM more_kinds WHERE k = 1
1 / 0x2200 | SELECT dateOf(f), unixTimestampOf(f) FROM more_kinds WHERE k = 1
4 | SELECT k FROM kinds WHERE token(k) > -9223372036854775808
1~ | SELECT now(), toTimestamp(now()), uuid() FROM kinds WHERE k = 1
0x2200 / 1 | SELECT abs(k) FROM kinds WHERE k = 1
0x2200 / 1 | SELECT mask_default(a) FROM kinds WHERE k = 1

schema | CREATE TABLE held (k int PRIMARY KEY, l list<int>, s set<text>, m map<text, int>, t tuple<int, text>, n frozen<map<int, frozen<list<int>>>>)
void | INSERT INTO held (k, l, s, m, t, n) VALUES (1, [3, 1, 2], {{'b', 'a'}}, {{'x': 1, 'y': 2}}, (7, 'seven'), {{1: [5, 6], 2: []}})
1 | SELECT * FROM held WHERE k = 1
void | UPDATE held SET l = l + [4], s = s + {{'c'}}, m = m + {{'z': 3}} WHERE k = 1
void | UPDATE held SET l = [0] + l, s = s - {{'a'}}, m = m - {{'x'}} WHERE k = 1
void | UPDATE held SET l[1] = 33, m['y'] = 22 WHERE k = 1
void | DELETE l[2], m['z'] FROM held WHERE k = 1
1 | SELECT l, s, m FROM held WHERE k = 1
0x2000 / 1 | SELECT m['y'] FROM held WHERE k = 1
void | UPDATE held SET l = [], s = {{}}, m = null WHERE k = 1
1 | SELECT l, s, m, t, n FROM held WHERE k = 1
0x2200 | UPDATE held SET l[99] = 1 WHERE k = 1
0x2200 | INSERT INTO held (k, t) VALUES (1, (1, 'a', 'too many'))

schema | CREATE TYPE place (street text, number int)
schema | CREATE TABLE people (k int PRIMARY KEY, home place, places list<frozen<place>>)
void | INSERT INTO people (k, home, places) VALUES (1, {{street: 'High St', number: 5}}, [{{street: 'Low St'}}])
void | UPDATE people SET home.number = 6 WHERE k = 1
1 | SELECT home, home.street, places FROM people WHERE k = 1
schema | ALTER TYPE place ADD door text
void | UPDATE people SET home.door = 'left' WHERE k = 1
1 | SELECT * FROM people WHERE k = 1
0x2200 | INSERT INTO people (k, home) VALUES (1, {{nothing: 1}})

schema | CREATE TABLE counted (k int, c int, n counter, PRIMARY KEY (k, c))
void | UPDATE counted SET n = n + 5 WHERE k = 1 AND c = 1
void | UPDATE counted SET n = n - 7 WHERE k = 1 AND c = 1
void | BEGIN COUNTER BATCH UPDATE counted SET n = n + 1 WHERE k = 1 AND c = 2; UPDATE counted SET n = n + 2 WHERE k = 1 AND c = 2; APPLY BATCH
2 | SELECT c, n FROM counted WHERE k = 1
0x2200 | INSERT INTO counted (k, c, n) VALUES (1, 1, 1)
0x2200 | UPDATE counted USING TIMESTAMP 1 SET n = n + 1 WHERE k = 1 AND c = 1

schema | CREATE TABLE wide (k int, c int, s text STATIC, v text, PRIMARY KEY (k, c)) WITH CLUSTERING ORDER BY (c DESC)
void | INSERT INTO wide (k, s) VALUES (1, 'shared')
1 | SELECT * FROM wide WHERE k = 1
void | BEGIN BATCH INSERT INTO wide (k, c, v) VALUES (1, 1, 'a'); INSERT INTO wide (k, c, v) VALUES (1, 2, 'b'); APPLY BATCH
void | BEGIN UNLOGGED BATCH INSERT INTO wide (k, c, v) VALUES (1, 3, 'c'); INSERT INTO wide (k, c, v) VALUES (1, 4, 'd'); APPLY BATCH
void | BEGIN BATCH USING TIMESTAMP 1000 INSERT INTO wide (k, c, v) VALUES (2, 1, 'old'); INSERT INTO wide (k, c, v) VALUES (2, 2, 'old'); APPLY BATCH
4 | SELECT c, s, v FROM wide WHERE k = 1
4 | SELECT c FROM wide WHERE k = 1 ORDER BY c ASC
2 | SELECT c FROM wide WHERE k = 1 AND c > 1 AND c <= 3
2 | SELECT c FROM wide WHERE k = 1 LIMIT 2
2 | SELECT k, c FROM wide PER PARTITION LIMIT 1
2 | SELECT DISTINCT k, s FROM wide
2 | SELECT k, count(c), max(v) FROM wide GROUP BY k
6 per 4 | SELECT k, c, v FROM wide
6 per 1 | SELECT k, c FROM wide WHERE k IN (1, 2)
6 per 100 | SELECT * FROM wide
2 | SELECT c, writetime(v) FROM wide WHERE k = 2
1 | SELECT c FROM wide WHERE v = 'c' ALLOW FILTERING
0x2200 | SELECT c FROM wide WHERE v = 'c'
void | DELETE FROM wide WHERE k = 1 AND c >= 3
void | DELETE v FROM wide WHERE k = 1 AND c = 2
2 | SELECT c, v FROM wide WHERE k = 1
void | DELETE FROM wide WHERE k = 2
1 | SELECT count(*) FROM wide

void | INSERT INTO kinds (k, a) VALUES (10, 'dated') USING TIMESTAMP 123456789 AND TTL 100000
1 | SELECT a, writetime(a) FROM kinds WHERE k = 10
1~ | SELECT ttl(a) FROM kinds WHERE k = 10
void | UPDATE kinds USING TIMESTAMP 123456788 SET a = 'too late' WHERE k = 10
1 | SELECT a FROM kinds WHERE k = 10
void | INSERT INTO kinds (k, a) VALUES (11, 'gone') USING TTL 1 AND TIMESTAMP 1
0x2200 | INSERT INTO kinds (k, a) VALUES (11, 'gone') USING TTL -1

1 | INSERT INTO wide (k, c, v) VALUES (5, 1, 'first') IF NOT EXISTS
1 | INSERT INTO wide (k, c, v) VALUES (5, 1, 'second') IF NOT EXISTS
1 | UPDATE wide SET v = 'third' WHERE k = 5 AND c = 1 IF v = 'first'
1 | UPDATE wide SET v = 'fourth' WHERE k = 5 AND c = 1 IF v = 'first'
1 | UPDATE wide SET v = 'x' WHERE k = 5 AND c = 9 IF EXISTS
1 | UPDATE wide SET v = 'fifth' WHERE k = 5 AND c = 1 IF v IN ('third', 'other') AND s = null
1 | BEGIN BATCH INSERT INTO wide (k, c, v) VALUES (5, 2, 'b') IF NOT EXISTS; INSERT INTO wide (k, c, v) VALUES (5, 3, 'c'); APPLY BATCH
1 | BEGIN BATCH INSERT INTO wide (k, c, v) VALUES (5, 2, 'b') IF NOT EXISTS; INSERT INTO wide (k, c, v) VALUES (5, 4, 'd'); APPLY BATCH
1 | DELETE FROM wide WHERE k = 5 AND c = 1 IF v = 'nothing'
1 | DELETE FROM wide WHERE k = 5 AND c = 1 IF EXISTS
2 | SELECT c, v FROM wide WHERE k = 5
0x2200 | UPDATE wide USING TIMESTAMP 1 SET v = 'x' WHERE k = 5 AND c = 1 IF v = 'x'

1 | SELECT k FROM more_kinds WHERE b = 'zwölf € 😀'
schema | ALTER TABLE kinds ADD extra list<text>
void | UPDATE kinds SET extra = ['new'] WHERE k = 1
1 | SELECT * FROM kinds WHERE k = 1
schema | ALTER TABLE kinds DROP g
0x2200 | SELECT g FROM kinds
1 | SELECT * FROM {ks}.kinds WHERE k = 2
schema | CREATE TABLE "QuotedName" (k int PRIMARY KEY, "a ""column" text)
void | INSERT INTO {ks}."QuotedName" (k, "a ""column") VALUES (1, 'it''s $$fine$$')
void | INSERT INTO "QuotedName" (k, "a ""column") VALUES (2, $$isn't it$$)
2 | SELECT * FROM "QuotedName" /* a comment */
void | TRUNCATE "QuotedName"
0 | SELECT * FROM "QuotedName"

0x2000 | SELEKT * FROM kinds
0x2000 | SELECT * FROM
0x2000 | INSERT INTO kinds (k) VALUES
0x2200 | SELECT * FROM nowhere
0x2200 | SELECT * FROM no_keyspace.kinds
0x2200 | INSERT INTO nowhere (k) VALUES (1)
0x2200 | INSERT INTO kinds (k, nothing) VALUES (1, 1)
0x2200 | INSERT INTO kinds (k, d) VALUES (1, 'not a boolean')
0x2200 | INSERT INTO kinds (a) VALUES ('no key')
0x2200 | SELECT nosuchfunction(k) FROM kinds
0x2200 | UPDATE wide SET v = 'x' WHERE k = 1
0x2400 | CREATE TABLE kinds (k int PRIMARY KEY)
schema | DROP INDEX by_text
schema | DROP TABLE people
schema | DROP TYPE place
0x2200 | SELECT * FROM people
"""


def parsed(ks, origin):
    """(expectation, statement, whether every version takes it alike) of each line, for a keyspace and the origin's version."""
    for line in STATEMENTS.strip().splitlines():
        if line:
            expectation, statement = line.split(" | ", 1)
            old, differs, new = expectation.partition(" / ")
            yield (new if differs and origin != "3.11" else old), statement.format(ks=ks), not differs
