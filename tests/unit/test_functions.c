/* Calls of non-deterministic functions: found wherever a term may stand and nowhere else, replaced
 * byte for byte, hidden from the metadata, and filled in at EXECUTE. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/clock.h"
#include "dataplane/function_source.h"
#include "dataplane/functions.h"
#include "proto/cql_response.h"
#include "tests/unit/exact_copy.h"

/* Values that say which one they are: the n-th is n, everywhere. */
static void make_numbered(void *context, enum function_kind kind, struct function_value *value)
{
    static const uint8_t lengths[] = {16, 16, 8, 4, 8};
    uint8_t *next = context;
    memset(value, 0, sizeof *value);
    value->length = lengths[kind];
    if (kind == FUNCTION_DATE)
        value->bytes[0] = 0x80; /* the epoch */
    value->bytes[value->length - 1] = (*next)++;
}

/* In `with`, what stands for the n-th value: T timeuuid, U uuid, S timestamp, D date, C time (of
 * the clock), between braces of the table's own: <T0>. */
static void expand(const char *with, bool is_marker, struct dynbuf *out)
{
    static const char letters[] = "TUSDC";
    for (const char *at = with; *at != '\0'; at++) {
        const char *letter = at[0] == '<' && at[1] != '\0' ? strchr(letters, at[1]) : NULL;
        if (letter == NULL || at[2] < '0' || at[2] > '9') {
            dynbuf_append(out, at, 1);
            continue;
        }
        static const char *const types[] = {"timeuuid", "uuid", "timestamp", "date", "time"};
        int number = at[2] - '0';
        size_t kind = (size_t)(letter - letters);
        if (is_marker)
            dynbuf_printf(out, "(%s):cloudgate_%s_%d", types[kind], types[kind], number);
        else if (kind <= 1)
            dynbuf_printf(out, "(%s)00000000-0000-0000-0000-0000000000%02x", types[kind], number);
        else if (kind == 2)
            dynbuf_printf(out, "(timestamp)%d", number);
        else if (kind == 3)
            dynbuf_printf(out, "(date)'1970-01-%02d'", number + 1);
        else
            dynbuf_printf(out, "(time)'00:00:00.%09d'", number);
        at += 3; /* the loop steps over '>' */
    }
}

static void check(const char *text, const char *with, bool is_marker, uint32_t left)
{
    struct dynbuf want, got;
    struct function_counts counts;
    uint8_t next = 0;
    const struct function_maker maker = {make_numbered, &next};
    size_t length = strlen(text);
    char *copy = exact_copy(text, length);
    dynbuf_init(&want, 1 << 20);
    dynbuf_init(&got, 1 << 20);
    dynbuf_append_text(&got, "before:");
    if (is_marker)
        assert_true(functions_write(copy, length, NULL, &got, &counts));
    else
        assert_true(functions_write(copy, length, &maker, &got, &counts));
    dynbuf_append_text(&want, "before:");
    if (with != NULL)
        expand(with, is_marker, &want);
    if (strcmp(dynbuf_text(&got), dynbuf_text(&want)) != 0)
        fail_msg("%s\n  became  %s\n  not     %s", text, dynbuf_text(&got), dynbuf_text(&want));
    assert_int_equal(functions_any(&counts), with != NULL);
    assert_int_equal(counts.left, left);
    if (with != NULL) {
        assert_true(functions_may_be_in(copy, length));
        /* What was replaced is stable. */
        struct dynbuf again;
        dynbuf_init(&again, 1 << 20);
        const char *body = dynbuf_text(&got) + strlen("before:");
        assert_true(functions_write(body, strlen(body), &maker, &again, &counts));
        assert_true(is_marker || again.length == 0);
        dynbuf_fini(&again);
    }
    dynbuf_fini(&want);
    dynbuf_fini(&got);
    free(copy);
}

/* with NULL: nothing is replaced, in either way. marked NULL: as with. */
static const struct {
    const char *text, *with, *marked;
    uint32_t left; /* by markers */
} vectors[] = {
    /* every function, every spelling */
    {"INSERT INTO t (a) VALUES (now())", "INSERT INTO t (a) VALUES (<T0>)", NULL, 0},
    {"INSERT INTO t (a) VALUES (NOW())", "INSERT INTO t (a) VALUES (<T0>)", NULL, 0},
    {"insert into t (a) values (nOw())", "insert into t (a) values (<T0>)", NULL, 0},
    {"INSERT INTO t (a) VALUES (uuid())", "INSERT INTO t (a) VALUES (<U0>)", NULL, 0},
    {"INSERT INTO t (a) VALUES (currentTimestamp())", "INSERT INTO t (a) VALUES (<S0>)", NULL, 0},
    {"INSERT INTO t (a) VALUES (current_timestamp())", "INSERT INTO t (a) VALUES (<S0>)", NULL, 0},
    {"INSERT INTO t (a) VALUES (CURRENTDATE())", "INSERT INTO t (a) VALUES (<D0>)", NULL, 0},
    {"INSERT INTO t (a) VALUES (current_date())", "INSERT INTO t (a) VALUES (<D0>)", NULL, 0},
    {"INSERT INTO t (a) VALUES (currentTime())", "INSERT INTO t (a) VALUES (<C0>)", NULL, 0},
    {"INSERT INTO t (a) VALUES (Current_Time())", "INSERT INTO t (a) VALUES (<C0>)", NULL, 0},
    {"INSERT INTO t (a) VALUES (currentTimeUUID())", "INSERT INTO t (a) VALUES (<T0>)", NULL, 0},
    {"INSERT INTO t (a) VALUES (current_timeuuid())", "INSERT INTO t (a) VALUES (<T0>)", NULL, 0},
    {"INSERT INTO t (a) VALUES (\"now\"())", "INSERT INTO t (a) VALUES (<T0>)", NULL, 0},
    {"INSERT INTO t (a) VALUES (\"currenttimestamp\"())", "INSERT INTO t (a) VALUES (<S0>)", NULL,
     0},
    {"INSERT INTO t (a) VALUES (\"Now\"())", NULL, NULL, 0},
    {"INSERT INTO t (a) VALUES (\"currentTimestamp\"())", NULL, NULL, 0},
    /* qualified */
    {"INSERT INTO t (a) VALUES (system.now())", "INSERT INTO t (a) VALUES (<T0>)", NULL, 0},
    {"INSERT INTO t (a) VALUES (SYSTEM . now ())", "INSERT INTO t (a) VALUES (<T0>)", NULL, 0},
    {"INSERT INTO t (a) VALUES (\"system\".\"uuid\"())", "INSERT INTO t (a) VALUES (<U0>)", NULL,
     0},
    {"INSERT INTO t (a) VALUES (\"System\".now())", NULL, NULL, 0},
    {"INSERT INTO t (a) VALUES (ks.now())", NULL, NULL, 0},
    {"INSERT INTO t (a) VALUES (ks.system.now())", NULL, NULL, 0},
    {"INSERT INTO t (a) VALUES (systems.now())", NULL, NULL, 0},
    /* blanks and comments within the call */
    {"INSERT INTO t (a) VALUES ( now ( ) )", "INSERT INTO t (a) VALUES ( <T0> )", NULL, 0},
    {"INSERT INTO t (a) VALUES (now\n\t(\r\n))", "INSERT INTO t (a) VALUES (<T0>)", NULL, 0},
    {"INSERT INTO t (a) VALUES (now/* ( */(/* ) */)/* x */)",
     "INSERT INTO t (a) VALUES (<T0>/* x */)", NULL, 0},
    {"INSERT INTO t (a) VALUES (now -- (\n (// )\n))", "INSERT INTO t (a) VALUES (<T0>)", NULL, 0},
    {"INSERT INTO t (a) VALUES (now(--)\n))", "INSERT INTO t (a) VALUES (<T0>)", NULL, 0},
    /* not calls */
    {"INSERT INTO t (a) VALUES ('now()')", NULL, NULL, 0},
    {"INSERT INTO t (a) VALUES ('it''s now()')", NULL, NULL, 0},
    {"INSERT INTO t (a) VALUES ($$now()$$)", NULL, NULL, 0},
    {"INSERT INTO t (a) VALUES (1) -- now()", NULL, NULL, 0},
    {"INSERT INTO t (a) VALUES (1) // now()", NULL, NULL, 0},
    {"INSERT INTO t (a) VALUES (1) /* now() */", NULL, NULL, 0},
    {"/* now() */ INSERT INTO t (a) VALUES (1)", NULL, NULL, 0},
    {"INSERT INTO t (\"now()\") VALUES (1)", NULL, NULL, 0},
    {"INSERT INTO t (now, uuid) VALUES (1, 2)", NULL, NULL, 0},
    {"INSERT INTO now (uuid) VALUES (1)", NULL, NULL, 0},
    {"INSERT INTO t (a) VALUES (now(1))", NULL, NULL, 0},
    {"INSERT INTO t (a) VALUES (now(?))", NULL, NULL, 0},
    {"INSERT INTO t (a) VALUES (snow(), now_(), now1(), nowx())", NULL, NULL, 0},
    {"INSERT INTO t (a) VALUES (f())", NULL, NULL, 0},
    {"INSERT INTO t (a) VALUES (now)", NULL, NULL, 0},
    {"INSERT INTO t (a) VALUES (now(", NULL, NULL, 0},
    {"INSERT INTO t (a) VALUES (now", NULL, NULL, 0},
    {"INSERT INTO t JSON '{\"a\": \"now()\"}'", NULL, NULL, 0},
    {"INSERT INTO t (a) VALUES ('x now()", NULL, NULL, 0},
    {"INSERT INTO t (a) VALUES (/* now()", NULL, NULL, 0},
    /* not writes */
    {"SELECT now() FROM t", NULL, NULL, 0},
    {"SELECT * FROM t WHERE a = now()", NULL, NULL, 0},
    {"CREATE TABLE now (a int)", NULL, NULL, 0},
    {"now()", NULL, NULL, 0},
    {"", NULL, NULL, 0},
    {"BEGIN TRANSACTION INSERT INTO t (a) VALUES (now())", NULL, NULL, 0},
    {"\"insert\" into t (a) values (now())", NULL, NULL, 0},
    /* where a term may stand */
    {"INSERT INTO t (a,b) VALUES (?, now())", "INSERT INTO t (a,b) VALUES (?, <T0>)", NULL, 0},
    {"INSERT INTO t (a,b) VALUES (:x, now()) USING TTL ? AND TIMESTAMP 3",
     "INSERT INTO t (a,b) VALUES (:x, <T0>) USING TTL ? AND TIMESTAMP 3", NULL, 0},
    {"INSERT INTO t (a,b) VALUES (now(), uuid()) IF NOT EXISTS",
     "INSERT INTO t (a,b) VALUES (<T0>, <U1>) IF NOT EXISTS", NULL, 0},
    {"INSERT INTO t (a) VALUES (toTimestamp(now()))",
     "INSERT INTO t (a) VALUES (toTimestamp(<T0>))", NULL, 0},
    {"INSERT INTO t (a) VALUES (f(g(now(), 1), uuid()))",
     "INSERT INTO t (a) VALUES (f(g(<T0>, 1), <U1>))", NULL, 0},
    {"INSERT INTO t (a) VALUES ((timestamp)currentTimestamp())",
     "INSERT INTO t (a) VALUES ((timestamp)<S0>)", NULL, 0},
    {"INSERT INTO t (a) VALUES ((now(), (1, currentdate())))",
     "INSERT INTO t (a) VALUES ((<T0>, (1, <D1>)))", NULL, 0},
    {"UPDATE t SET a=now(),b=currentTime() WHERE k=uuid()AND c IN (now(),now())IF d<currentDate()",
     "UPDATE t SET a=<T0>,b=<C1> WHERE k=<U2> AND c IN (<T3>,<T4>)IF d<<D5>", NULL, 0},
    {"UPDATE t SET m[now()] = uuid(), n = n + 1 WHERE k = 1",
     "UPDATE t SET m[<T0>] = <U1>, n = n + 1 WHERE k = 1", NULL, 0},
    {"UPDATE t SET \"M\"[now()] = 1 WHERE k = 1", "UPDATE t SET \"M\"[<T0>] = 1 WHERE k = 1", NULL,
     0},
    {"UPDATE t SET d = currentDate() - 1d, e=currentTimestamp()-2h WHERE k = 1",
     "UPDATE t SET d = <D0> - 1d, e=<S1>-2h WHERE k = 1", NULL, 0},
    {"DELETE m[now()], b FROM t WHERE k = now() IF x = now()",
     "DELETE m[<T0>], b FROM t WHERE k = <T1> IF x = <T2>", NULL, 0},
    {"BEGIN BATCH INSERT INTO t (a) VALUES (now()); UPDATE t SET a = uuid() WHERE k = 'now()'; "
     "DELETE FROM t WHERE k = now(); APPLY BATCH",
     "BEGIN BATCH INSERT INTO t (a) VALUES (<T0>); UPDATE t SET a = <U1> WHERE k = 'now()'; "
     "DELETE FROM t WHERE k = <T2>; APPLY BATCH",
     NULL, 0},
    {"begin unlogged batch using timestamp 1 insert into t (a) values (now()) apply batch",
     "begin unlogged batch using timestamp 1 insert into t (a) values (<T0>) apply batch", NULL, 0},
    {"BEGIN COUNTER BATCH UPDATE t SET c = c + 1 WHERE k = now() APPLY BATCH",
     "BEGIN COUNTER BATCH UPDATE t SET c = c + 1 WHERE k = <T0> APPLY BATCH", NULL, 0},
    {"-- c\n/* d */ INSERT INTO t (a) VALUES (now());",
     "-- c\n/* d */ INSERT INTO t (a) VALUES (<T0>);", NULL, 0},
    /* offsets are bytes */
    {"INSERT INTO t (a,b) VALUES ('h\xc3\xa9llo \xf0\x9f\x8c\x8d', now())",
     "INSERT INTO t (a,b) VALUES ('h\xc3\xa9llo \xf0\x9f\x8c\x8d', <T0>)", NULL, 0},
    {"/* \xe6\x97\xa5\xe6\x9c\xac */ INSERT INTO \"caf\xc3\xa9\" (a,b) VALUES (now(), '\xff')",
     "/* \xe6\x97\xa5\xe6\x9c\xac */ INSERT INTO \"caf\xc3\xa9\" (a,b) VALUES (<T0>, '\xff')", NULL,
     0},
    {"INSERT INTO t (a) VALUES (\xc3\xa9now())", NULL, NULL, 0},
    /* the words around a call are kept apart from it */
    {"UPDATE t SET a=now()WHERE k=1", "UPDATE t SET a=<T0> WHERE k=1", NULL, 0},
    {"UPDATE t SET a=currentTimestamp()\xc3\xa9", "UPDATE t SET a=<S0> \xc3\xa9", NULL, 0},
    /* collection literals take no markers in Cassandra, so prepared calls within them stay */
    {"INSERT INTO t (a) VALUES ([now()])", "INSERT INTO t (a) VALUES ([<T0>])", "", 1},
    {"INSERT INTO t (a) VALUES ({now(), uuid()})", "INSERT INTO t (a) VALUES ({<T0>, <U1>})", "",
     2},
    {"INSERT INTO t (a) VALUES ({now():toTimestamp(now())})",
     "INSERT INTO t (a) VALUES ({<T0>:toTimestamp(<T1>)})", "", 2},
    {"INSERT INTO t (a) VALUES ({'k':now(),'l' : now()})",
     "INSERT INTO t (a) VALUES ({'k':<T0>,'l' : <T1>})", "", 2},
    {"INSERT INTO t (a) VALUES ({true:now()})", "INSERT INTO t (a) VALUES ({true:<T0>})", "", 1},
    {"INSERT INTO t (a, b) VALUES ([1, [now()], 2], now())",
     "INSERT INTO t (a, b) VALUES ([1, [<T0>], 2], <T1>)",
     "INSERT INTO t (a, b) VALUES ([1, [now()], 2], <T0>)", 1},
    {"UPDATE t SET a = a + {uuid()}, b = [now()] + b, c += [now()], d = now() WHERE k = 1",
     "UPDATE t SET a = a + {<U0>}, b = [<T1>] + b, c += [<T2>], d = <T3> WHERE k = 1",
     "UPDATE t SET a = a + {uuid()}, b = [now()] + b, c += [now()], d = <T0> WHERE k = 1", 3},
    {"UPDATE t SET a[now()] = [now()], b = now() WHERE k = 1",
     "UPDATE t SET a[<T0>] = [<T1>], b = <T2> WHERE k = 1",
     "UPDATE t SET a[<T0>] = [now()], b = <T1> WHERE k = 1", 1},
    /* user types and tuples do, unless they are within one */
    {"INSERT INTO t (a) VALUES ({f:now(), \"G\" : {h : uuid()}, i:(now(), 1)})",
     "INSERT INTO t (a) VALUES ({f:<T0>, \"G\" : {h : <U1>}, i:(<T2>, 1)})", NULL, 0},
    {"INSERT INTO t (a, b) VALUES ([{f: now()}], {f: [now()], g: now()})",
     "INSERT INTO t (a, b) VALUES ([{f: <T0>}], {f: [<T1>], g: <T2>})",
     "INSERT INTO t (a, b) VALUES ([{f: now()}], {f: [now()], g: <T0>})", 2},
    /* names like our markers' */
    {"INSERT INTO t (a,b) VALUES (:cloudgate_timeuuid_0, now())",
     "INSERT INTO t (a,b) VALUES (:cloudgate_timeuuid_0, <T0>)", "", 1},
    {"INSERT INTO t (a,b) VALUES (now(), :CloudGate_x)",
     "INSERT INTO t (a,b) VALUES (<T0>, :CloudGate_x)", "", 1},
    {"INSERT INTO t (a,\"cloudgate_date_1\") VALUES (now(), ?)",
     "INSERT INTO t (a,\"cloudgate_date_1\") VALUES (<T0>, ?)", "", 1},
    {"INSERT INTO cloudgate_ (a) VALUES (now())", "INSERT INTO cloudgate_ (a) VALUES (<T0>)", NULL,
     0},
    /* brackets that do not match are somebody else's worry */
    {"INSERT INTO t (a) VALUES (]now()}, now()", "INSERT INTO t (a) VALUES (]<T0>}, <T1>", NULL, 0},
};

static void test_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        const char *marked = vectors[i].marked == NULL ? vectors[i].with : vectors[i].marked;
        check(vectors[i].text, vectors[i].with, false, 0);
        check(vectors[i].text, marked == NULL || *marked == '\0' ? NULL : marked, true,
              vectors[i].left);
    }
}

static void test_our_markers_in_clients_texts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool has;
    } texts[] = {
        {"INSERT INTO t (a) VALUES ((timeuuid):cloudgate_timeuuid_0)", true},
        {"SELECT * FROM t WHERE a = :cloudgate_x", true},
        {"INSERT INTO t (a) VALUES (:cloudgate)", false},
        {"INSERT INTO t (a) VALUES (:cloud_gate_0)", false},
        {"INSERT INTO t (cloudgate_a) VALUES (?)", false},
        {"INSERT INTO t (a) VALUES (':cloudgate_timeuuid_0')", false},
        {"INSERT INTO t (a) VALUES (?) -- :cloudgate_timeuuid_0", false},
        {"INSERT INTO t (\"a:cloudgate_timeuuid_0\") VALUES (?)", false},
        {"", false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
        assert_int_equal(functions_has_our_marker(texts[i].text, strlen(texts[i].text)),
                         texts[i].has);
    /* Whatever we prepare has one. */
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        struct dynbuf out;
        struct function_counts counts;
        dynbuf_init(&out, 1 << 20);
        assert_true(functions_write(vectors[i].text, strlen(vectors[i].text), NULL, &out, &counts));
        assert_int_equal(functions_has_our_marker(dynbuf_text(&out), out.length),
                         functions_any(&counts));
        dynbuf_fini(&out);
    }
}

static void test_too_many_calls(void **state)
{
    (void)state;
    struct dynbuf text, out;
    struct function_counts counts;
    dynbuf_init(&text, 1 << 20);
    dynbuf_init(&out, 1 << 24);
    for (uint32_t calls = FUNCTIONS_PREPARED_MAX; calls <= FUNCTIONS_PREPARED_MAX + 1; calls++) {
        dynbuf_reset(&text);
        dynbuf_reset(&out);
        dynbuf_append_text(&text, "UPDATE t SET a = 1 WHERE k IN (now()");
        for (uint32_t i = 1; i < calls; i++)
            dynbuf_append_text(&text, ",now()");
        assert_true(functions_write(dynbuf_text(&text), text.length, NULL, &out, &counts));
        bool fits = calls == FUNCTIONS_PREPARED_MAX;
        assert_int_equal(counts.replaced[FUNCTION_TIMEUUID], fits ? calls : 0);
        assert_int_equal(counts.left, fits ? 0 : calls);
        assert_int_equal(out.length > 0, fits);
    }
    /* Literals may be many more, and not endlessly many. */
    for (uint32_t calls = FUNCTIONS_TEXT_MAX; calls <= FUNCTIONS_TEXT_MAX + 1; calls++) {
        uint8_t next = 0;
        const struct function_maker maker = {make_numbered, &next};
        dynbuf_reset(&text);
        dynbuf_reset(&out);
        dynbuf_append_text(&text, "UPDATE t SET a = 1 WHERE k IN (uuid()");
        for (uint32_t i = 1; i < calls; i++)
            dynbuf_append_text(&text, ",uuid()");
        assert_true(functions_write(dynbuf_text(&text), text.length, &maker, &out, &counts));
        bool fits = calls == FUNCTIONS_TEXT_MAX;
        assert_int_equal(counts.replaced[FUNCTION_UUID], fits ? calls : 0);
        assert_int_equal(counts.left, fits ? 0 : calls);
        assert_int_equal(out.length > 0, fits);
    }
    struct dynbuf tiny;
    uint8_t next = 0;
    const struct function_maker maker = {make_numbered, &next};
    dynbuf_init(&tiny, 50);
    assert_false(functions_write("UPDATE t SET a = now(), b = now() WHERE k = 1", 45, &maker, &tiny,
                                 &counts));
    dynbuf_fini(&tiny);
    dynbuf_fini(&text);
    dynbuf_fini(&out);
}

static void test_literals(void **state)
{
    (void)state;
    static const struct {
        enum function_kind kind;
        struct function_value value;
        const char *literal;
    } values[] = {
        {FUNCTION_TIMEUUID,
         {16,
          {0x51, 0x32, 0xb1, 0x30, 0xae, 0x79, 0x11, 0xe4, 0xab, 0x27, 8, 0, 0x20, 0x0c, 0x9a,
           0x66}},
         "(timeuuid)5132b130-ae79-11e4-ab27-0800200c9a66"},
        {FUNCTION_TIMESTAMP, {8, {0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0}}, "(timestamp)1700000000000"},
        {FUNCTION_TIMESTAMP, {8, {0x80}}, "(timestamp)-9223372036854775808"},
        {FUNCTION_DATE, {4, {0x80, 0, 0, 0}}, "(date)'1970-01-01'"},
        {FUNCTION_DATE, {4, {0x7f, 0xff, 0xff, 0xff}}, "(date)'1969-12-31'"},
        {FUNCTION_DATE, {4, {0x80, 0, 0x2b, 0x08}}, "(date)'2000-02-29'"},
        {FUNCTION_DATE, {4, {0x80, 0, 0x51, 0x2c}}, "(date)'2026-11-23'"},
        {FUNCTION_TIME, {8, {0}}, "(time)'00:00:00.000000000'"},
        {FUNCTION_TIME,
         {8, {0, 0, 0x4e, 0x94, 0x91, 0x4e, 0xff, 0xff}},
         "(time)'23:59:59.999999999'"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        char literal[FUNCTION_LITERAL_MAX];
        size_t length = function_literal(values[i].kind, &values[i].value, literal);
        assert_string_equal(literal, values[i].literal);
        assert_int_equal(length, strlen(literal));
    }
    /* Every day of eight hundred years, against the C library. */
    for (int64_t day = -146097; day <= 146097; day++) {
        char literal[FUNCTION_LITERAL_MAX], want[FUNCTION_LITERAL_MAX];
        struct function_value value = {.length = 4};
        time_t seconds = (time_t)day * 86400;
        struct tm parts;
        assert_non_null(gmtime_r(&seconds, &parts));
        strftime(want, sizeof want, "(date)'%Y-%m-%d'", &parts);
        cql_store_u32(value.bytes, (uint32_t)(day + ((int64_t)1 << 31)));
        function_literal(FUNCTION_DATE, &value, literal);
        if (strcmp(literal, want) != 0)
            fail_msg("day %lld: %s", (long long)day, literal);
    }
}

/* ---- the source ---- */

static uint64_t time_of(const uint8_t uuid[16])
{
    return (uint64_t)(cql_load_u16(uuid + 6) & 0x0fff) << 48 |
           (uint64_t)cql_load_u16(uuid + 4) << 32 | cql_load_u32(uuid);
}

static void test_source(void **state)
{
    (void)state;
    struct function_source source;
    struct function_value value, first;
    uint64_t last = 0;
    function_source_seed();
    function_source_seed();
    function_source_init(&source);
    function_source_make(&source, FUNCTION_TIMEUUID, &first);
    int64_t now_ms = clock_wall_ms();
    assert_true(llabs((long long)((time_of(first.bytes) - 0x01B21DD213814000ULL) / 10000) -
                      (long long)now_ms) < 10000);
    for (int i = 0; i < 100000; i++) {
        function_source_make(&source, FUNCTION_TIMEUUID, &value);
        assert_int_equal(value.length, 16);
        assert_int_equal(value.bytes[6] >> 4, 1);
        assert_int_equal(value.bytes[8] >> 6, 2);
        assert_int_equal(value.bytes[10] & 1, 1);
        assert_memory_equal(value.bytes + 8, first.bytes + 8, 8);
        assert_true(time_of(value.bytes) > last);
        last = time_of(value.bytes);
    }
    uint8_t ones[16], zeros[16];
    memset(ones, 0xff, sizeof ones);
    memset(zeros, 0, sizeof zeros);
    struct function_value previous = {0};
    for (int i = 0; i < 10000; i++) {
        function_source_make(&source, FUNCTION_UUID, &value);
        assert_int_equal(value.length, 16);
        assert_int_equal(value.bytes[6] >> 4, 4);
        assert_int_equal(value.bytes[8] >> 6, 2);
        assert_memory_not_equal(value.bytes, previous.bytes, 16);
        for (size_t b = 0; b < 16; b++) {
            ones[b] &= value.bytes[b];
            zeros[b] |= value.bytes[b];
        }
        previous = value;
    }
    /* Every other bit is now one, now the other. */
    for (size_t b = 0; b < 16; b++) {
        assert_int_equal(ones[b], b == 6 ? 0x40 : b == 8 ? 0x80 : 0);
        assert_int_equal(zeros[b], b == 6 ? 0x4f : b == 8 ? 0xbf : 0xff);
    }
    function_source_make(&source, FUNCTION_TIMESTAMP, &value);
    assert_int_equal(value.length, 8);
    int64_t ms =
        (int64_t)((uint64_t)cql_load_u32(value.bytes) << 32 | cql_load_u32(value.bytes + 4));
    assert_true(ms >= now_ms && ms < now_ms + 60000);
    function_source_make(&source, FUNCTION_DATE, &value);
    assert_int_equal(value.length, 4);
    assert_in_range(cql_load_u32(value.bytes) - 0x80000000u, now_ms / 86400000,
                    now_ms / 86400000 + 1);
    function_source_make(&source, FUNCTION_TIME, &value);
    assert_int_equal(value.length, 8);
    assert_true(cql_load_u32(value.bytes) < 86400000000000ULL >> 32 ||
                cql_load_u32(value.bytes) == 86400000000000ULL >> 32);
}

/* ---- prepared statements ---- */

struct test_column {
    const char *name;
    uint16_t type;
};

static void put_text(struct dynbuf *out, const char *text)
{
    cql_put_string(out, text, strlen(text));
}

static void put_columns(struct dynbuf *out, uint8_t version, bool is_global,
                        const struct test_column *columns, int32_t count, const uint16_t *keys,
                        int32_t key_count)
{
    cql_put_i32(out, count > 0 && is_global ? 1 : 0);
    cql_put_i32(out, count);
    if (version >= 4) {
        cql_put_i32(out, key_count);
        for (int32_t i = 0; i < key_count; i++)
            cql_put_u16(out, keys[i]);
    }
    if (count > 0 && is_global) {
        put_text(out, "ks");
        put_text(out, "t");
    }
    for (int32_t i = 0; i < count; i++) {
        if (!is_global) {
            put_text(out, "ks");
            put_text(out, "t");
        }
        put_text(out, columns[i].name);
        cql_put_u16(out, columns[i].type);
        if (columns[i].type == 0x21) { /* map<timeuuid, list<int>> */
            cql_put_u16(out, 0x0f);
            cql_put_u16(out, 0x20);
            cql_put_u16(out, 0x09);
        } else if (columns[i].type == 0) {
            put_text(out, "org.apache.cassandra.db.marshal.LegacyTimeUUIDType");
        }
    }
}

static void put_prepared(struct dynbuf *out, uint8_t version, bool is_global,
                         const struct test_column *columns, int32_t count, const uint16_t *keys,
                         int32_t key_count)
{
    dynbuf_reset(out);
    cql_put_i32(out, CQL_RESULT_PREPARED);
    cql_put_string(out, "0123456789abcdef", 16);
    if (version == 5 || version == 0x42)
        cql_put_string(out, "result metadata!", 16);
    put_columns(out, version, is_global, columns, count, keys, key_count);
    cql_put_i32(out, 4); /* the result's: no metadata */
    cql_put_i32(out, 0);
}

#define COLUMNS_MAX 5

static void test_metadata(void **state)
{
    (void)state;
    static const struct {
        struct test_column columns[COLUMNS_MAX];
        int32_t count;
        uint16_t keys[3];
        int32_t key_count;
        uint32_t expected;
        /* what is left */
        const char *left; /* their numbers */
        uint16_t left_keys[3];
        int32_t left_key_count;
        struct function_slot slots[3];
    } cases[] = {
        /* in the middle, the key before it */
        {{{"k", 9}, {"cloudgate_timeuuid_0", 0x0f}, {"v", 0x0d}},
         3,
         {0},
         1,
         1,
         "02",
         {0},
         1,
         {{1, FUNCTION_TIMEUUID}}},
        /* the last column */
        {{{"k", 9}, {"cloudgate_date_0", 0x11}}, 2, {0}, 1, 1, "0", {0}, 1, {{1, FUNCTION_DATE}}},
        /* before the key: its indices shift */
        {{{"cloudgate_uuid_0", 0x0c}, {"k2", 9}, {"cloudgate_time_1", 0x12}, {"k1", 9}},
         4,
         {3, 1},
         2,
         2,
         "13",
         {1, 0},
         2,
         {{0, FUNCTION_UUID}, {2, FUNCTION_TIME}}},
        /* part of the key: the client is told of none */
        {{{"k1", 9}, {"cloudgate_timeuuid_0", 0x0f}, {"v", 9}},
         3,
         {0, 1},
         2,
         1,
         "02",
         {0},
         0,
         {{1, FUNCTION_TIMEUUID}}},
        /* nothing is left */
        {{{"cloudgate_timeuuid_0", 0}, {"cloudgate_timestamp_1", 0x0b}},
         2,
         {0},
         1,
         2,
         "",
         {0},
         0,
         {{0, FUNCTION_TIMEUUID}, {1, FUNCTION_TIMESTAMP}}},
        /* names that sort anywhere, and types with parts */
        {{{"a", 0x21}, {"zz", 0}, {"cloudgate_timeuuid_0", 0}, {"cloudgate", 9}, {"d", 0x21}},
         5,
         {0},
         0,
         1,
         "0134",
         {0},
         0,
         {{2, FUNCTION_TIMEUUID}}},
    };
    static const uint8_t versions[] = {3, 4, 5, 0x41, 0x42};
    struct dynbuf body, want, got;
    dynbuf_init(&body, 65536);
    dynbuf_init(&want, 65536);
    dynbuf_init(&got, 65536);
    for (size_t c = 0; c < ARRAY_COUNT(cases); c++) {
        for (size_t v = 0; v < 2 * ARRAY_COUNT(versions); v++) {
            uint8_t version = versions[v / 2];
            bool is_global = v % 2 == 0;
            struct test_column left[COLUMNS_MAX];
            int32_t left_count = (int32_t)strlen(cases[c].left);
            struct function_plan *plan;
            for (int32_t i = 0; i < left_count; i++)
                left[i] = cases[c].columns[cases[c].left[i] - '0'];
            put_prepared(&body, version, is_global, cases[c].columns, cases[c].count, cases[c].keys,
                         cases[c].key_count);
            put_prepared(&want, version, is_global, left, left_count, cases[c].left_keys,
                         cases[c].left_key_count);
            dynbuf_reset(&got);
            print_message("case %zu version %u global %d\n", c, version, is_global);
            assert_true(functions_strip_metadata(version, body.data, body.length, cases[c].expected,
                                                 &got, &plan));
            assert_int_equal(got.length, want.length);
            assert_memory_equal(got.data, want.data, want.length);
            assert_int_equal(plan->count, cases[c].expected);
            for (size_t i = 0; i < plan->count; i++) {
                assert_int_equal(plan->slots[i].position, cases[c].slots[i].position);
                assert_int_equal(plan->slots[i].kind, cases[c].slots[i].kind);
            }
            free(plan);
            /* Another number of our markers than was asked for, or a body cut short. */
            assert_false(functions_strip_metadata(version, body.data, body.length,
                                                  cases[c].expected + 1, &got, &plan));
            assert_null(plan);
            assert_false(functions_strip_metadata(version, body.data, body.length,
                                                  cases[c].expected - 1, &got, &plan));
            assert_null(plan);
            for (size_t length = 0; length < body.length - 8; length++) {
                uint8_t *cut = malloc(length + (length == 0));
                memcpy(cut, body.data, length);
                dynbuf_reset(&got);
                assert_false(
                    functions_strip_metadata(version, cut, length, cases[c].expected, &got, &plan));
                assert_null(plan);
                free(cut);
            }
        }
    }
    dynbuf_fini(&body);
    dynbuf_fini(&want);
    dynbuf_fini(&got);
}

struct edits {
    const struct dynbuf *from;
    size_t at;
    struct dynbuf out;
};

static bool apply(void *context, size_t offset, size_t removed, const void *bytes, size_t length)
{
    struct edits *edits = context;
    assert_true(offset >= edits->at && offset + removed <= edits->from->length);
    dynbuf_append(&edits->out, edits->from->data + edits->at, offset - edits->at);
    dynbuf_append(&edits->out, bytes, length);
    edits->at = offset + removed;
    return true;
}

/* Values as letters: an upper case letter is a value of that byte, 't' one of ours (its number
 * counts up), 'n' null, 'x' not set. */
static void put_values(struct dynbuf *out, const char *values, bool is_named)
{
    uint8_t number = 0;
    cql_put_u16(out, (uint16_t)strlen(values));
    for (const char *at = values; *at != '\0'; at++) {
        char name[32];
        snprintf(name, sizeof name, *at == 't' ? "cloudgate_timeuuid_%u" : "name%c",
                 *at == 't' ? (unsigned)number : (unsigned)*at);
        if (is_named)
            put_text(out, name);
        if (*at == 't') {
            uint8_t uuid[16] = {0};
            uuid[15] = number++;
            cql_put_i32(out, 16);
            dynbuf_append(out, uuid, 16);
        } else if (*at == 'n' || *at == 'x') {
            cql_put_i32(out, *at == 'n' ? -1 : -2);
        } else {
            cql_put_i32(out, 1);
            dynbuf_append(out, at, 1);
        }
    }
}

static void test_values(void **state)
{
    (void)state;
    static const struct {
        const char *given, *positions, *want, *named;
    } cases[] = {
        {"A", "1", "At", "At"},
        {"A", "0", "tA", "At"},
        {"AB", "1", "AtB", "ABt"},
        {"AB", "03", "tABt", "ABtt"},
        {"AB", "12", "AttB", "ABtt"},
        {"", "0", "t", "t"},
        {"", "01", "tt", "tt"},
        {"AnxB", "024", "tAtntxB", "AnxBttt"},
        /* too few or too many values: the cluster will say so */
        {"", "1", "t", "t"},
        {"A", "3", "At", "At"},
        {"ABC", "0", "tABC", "ABCt"},
    };
    struct dynbuf body, want;
    dynbuf_init(&body, 65536);
    dynbuf_init(&want, 65536);
    for (size_t c = 0; c < 2 * ARRAY_COUNT(cases); c++) {
        bool is_named = c % 2 == 1;
        size_t slots = strlen(cases[c / 2].positions);
        struct function_plan *plan = malloc(sizeof *plan + slots * sizeof plan->slots[0]);
        struct function_counts counts;
        uint8_t next = 0;
        const struct function_maker maker = {make_numbered, &next};
        struct edits edits = {.from = &body};
        plan->count = (uint16_t)slots;
        for (size_t i = 0; i < slots; i++)
            plan->slots[i] = (struct function_slot){
                .position = (uint16_t)(cases[c / 2].positions[i] - '0'), .kind = FUNCTION_TIMEUUID};
        dynbuf_reset(&body);
        dynbuf_reset(&want);
        dynbuf_init(&edits.out, 65536);
        dynbuf_append_text(&body, "head");
        dynbuf_append_text(&want, "head");
        put_values(&body, cases[c / 2].given, is_named);
        put_values(&want, is_named ? cases[c / 2].named : cases[c / 2].want, is_named);
        struct cql_cursor values = cql_cursor_over(body.data + 4, body.length - 4);
        print_message("case %zu named %d\n", c / 2, is_named);
        assert_true(functions_insert_values(plan, body.data, values, false, is_named, &maker, apply,
                                            &edits, &counts));
        dynbuf_append(&edits.out, body.data + edits.at, body.length - edits.at);
        assert_int_equal(edits.out.length, want.length);
        assert_memory_equal(edits.out.data, want.data, want.length);
        assert_int_equal(counts.replaced[FUNCTION_TIMEUUID], slots);

        /* Cut short anywhere: refused. */
        for (size_t length = 4; length < body.length; length++) {
            uint8_t *cut = malloc(length);
            memcpy(cut, body.data, length);
            struct dynbuf from = {.data = cut, .length = length};
            struct edits scrap = {.from = &from};
            dynbuf_init(&scrap.out, 65536);
            assert_false(functions_insert_values(plan, cut, cql_cursor_over(cut + 4, length - 4),
                                                 false, is_named, &maker, apply, &scrap, &counts));
            dynbuf_fini(&scrap.out);
            free(cut);
        }

        /* A request that says it has no values. */
        if (cases[c / 2].given[0] == '\0') {
            struct edits absent = {.from = &want};
            dynbuf_reset(&want);
            dynbuf_append_text(&want, "headtail");
            dynbuf_init(&absent.out, 65536);
            next = 0;
            assert_true(functions_insert_values(plan, want.data, cql_cursor_over(want.data + 4, 4),
                                                true, is_named, &maker, apply, &absent, &counts));
            dynbuf_append(&absent.out, want.data + absent.at, want.length - absent.at);
            dynbuf_append_text(&edits.out, "tail");
            assert_int_equal(absent.out.length, edits.out.length);
            assert_memory_equal(absent.out.data, edits.out.data, edits.out.length);
            dynbuf_fini(&absent.out);
        }
        dynbuf_fini(&edits.out);
        free(plan);
    }
    dynbuf_fini(&body);
    dynbuf_fini(&want);
}

/* The search that every QUERY pays for: nothing but a look at the parentheses. */
static void test_quick_search(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool may_be_in;
    } texts[] = {
        {"", false},
        {"SELECT * FROM t", false},
        {"INSERT INTO t (a, b) VALUES (?, ?)", false},
        {"INSERT INTO t (a, b) VALUES (-1, (1))", false},
        {"f(", false},
        {"f( ", false},
        {"f()", true},
        {"f( \t\r\n)", true},
        {"f(/**/)", true},
        {"f(-- x\n)", true},
        {"f(-", false},
        {"((((()", true},
    };
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
        assert_int_equal(functions_may_be_in(texts[i].text, strlen(texts[i].text)),
                         texts[i].may_be_in);
    assert_false(functions_may_be_in(NULL, 0));

    size_t size = 4u << 20;
    char *text = malloc(size);
    static const char *const fills[] = {"(",       "( ",  "now(", "now (/*",
                                        "system.", "{a:", "[",    "now()"};
    for (size_t i = 0; i < ARRAY_COUNT(fills); i++) {
        struct dynbuf out;
        struct function_counts counts;
        memcpy(text, "UPDATE ", 7);
        for (size_t at = 7; at < size; at++)
            text[at] = fills[i][(at - 7) % strlen(fills[i])];
        dynbuf_init(&out, 64u << 20);
        uint64_t start = clock_now_ns();
        functions_may_be_in(text, size);
        assert_true(functions_write(text, size, NULL, &out, &counts));
        assert_true(clock_now_ns() - start < 10 * NS_PER_S);
        dynbuf_fini(&out);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_too_many_calls),
        cmocka_unit_test(test_our_markers_in_clients_texts),
        cmocka_unit_test(test_literals),
        cmocka_unit_test(test_source),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_quick_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
