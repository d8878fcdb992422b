/* Vectors for the statement scanner: every form a driver, a tool or a careless hand may send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/check.h"
#include "common/clock.h"
#include "proto/cql_scan.h"
#include "tests/unit/exact_copy.h"

/* What the last scanned SELECT reads; empty where it names nothing. */
static struct cql_name keyspace, table;

static struct cql_scan scan_bytes(const char *text, size_t length)
{
    char *copy = exact_copy(text, length);
    struct cql_scan scan;
    memset(&scan, 0xa5, sizeof scan);
    cql_scan(copy, length, &scan);
    keyspace = table = (struct cql_name){0};
    if (scan.has_keyspace)
        cql_scan_name(scan.keyspace, &keyspace);
    if (scan.has_table)
        cql_scan_name(scan.table, &table);
    free(copy);
    return scan;
}

static struct cql_scan scan_text(const char *text)
{
    return scan_bytes(text, strlen(text));
}

static void test_statement_kinds(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum cql_statement statement;
    } vectors[] = {
        {"", CQL_STATEMENT_OTHER},
        {"   \t\r\n", CQL_STATEMENT_OTHER},
        {";", CQL_STATEMENT_OTHER},
        {";SELECT * FROM t", CQL_STATEMENT_OTHER},
        {"-- only a comment", CQL_STATEMENT_OTHER},
        {"/* SELECT * FROM t", CQL_STATEMENT_OTHER},
        {"/*", CQL_STATEMENT_OTHER},
        {"/", CQL_STATEMENT_OTHER},
        {"-", CQL_STATEMENT_OTHER},
        {"/*/ SELECT 1", CQL_STATEMENT_OTHER},
        {"/**/SELECT * FROM t", CQL_STATEMENT_SELECT},
        {"/*/*/SELECT * FROM t", CQL_STATEMENT_SELECT},
        {"-- c\nSELECT * FROM t", CQL_STATEMENT_SELECT},
        {"-- c\rSELECT * FROM t", CQL_STATEMENT_SELECT},
        {"// c\n\n  select * from t", CQL_STATEMENT_SELECT},
        {"sElEcT * FROM t", CQL_STATEMENT_SELECT},
        {"SELECT", CQL_STATEMENT_SELECT},
        {"SELECT*FROM t", CQL_STATEMENT_SELECT},
        {"SELECTED * FROM t", CQL_STATEMENT_OTHER},
        {"SELEC", CQL_STATEMENT_OTHER},
        {"\"SELECT\" * FROM t", CQL_STATEMENT_OTHER},
        {"'SELECT' * FROM t", CQL_STATEMENT_OTHER},
        {"(SELECT * FROM t)", CQL_STATEMENT_OTHER},
        {"SELECT * FROM t; SELECT * FROM u", CQL_STATEMENT_SELECT},
        {"insert INTO t (a) VALUES (1)", CQL_STATEMENT_INSERT},
        {"INSERT INTO t JSON '{}'", CQL_STATEMENT_INSERT},
        {"UPDATE t SET a=1 WHERE b=2", CQL_STATEMENT_UPDATE},
        {"DELETE FROM t WHERE a=1", CQL_STATEMENT_DELETE},
        {"BEGIN BATCH INSERT INTO t (a) VALUES (1); APPLY BATCH", CQL_STATEMENT_BATCH},
        {"begin /* x */ unlogged batch APPLY BATCH;", CQL_STATEMENT_BATCH},
        {"BEGIN COUNTER BATCH APPLY BATCH;", CQL_STATEMENT_BATCH},
        {"BEGIN TRANSACTION SELECT 1; COMMIT", CQL_STATEMENT_OTHER},
        {"BEGIN", CQL_STATEMENT_OTHER},
        {"BEGIN \"BATCH\"", CQL_STATEMENT_OTHER},
        {"USE ks", CQL_STATEMENT_USE},
        {"use \"Ks\";", CQL_STATEMENT_USE},
        {"DESCRIBE KEYSPACES", CQL_STATEMENT_DESCRIBE},
        {"desc tables", CQL_STATEMENT_DESCRIBE},
        {"CREATE TABLE IF NOT EXISTS t (a int PRIMARY KEY)", CQL_STATEMENT_OTHER},
        {"TRUNCATE t", CQL_STATEMENT_OTHER},
        {"GRANT SELECT ON t TO u", CQL_STATEMENT_OTHER},
        {"LIST ROLES", CQL_STATEMENT_OTHER},
        {"CALL InsightsRpc.reportInsight('x')", CQL_STATEMENT_OTHER},
        {"g.V().count()", CQL_STATEMENT_OTHER},
        {"\xef\xbb\xbfSELECT 1", CQL_STATEMENT_OTHER},
    };
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        struct cql_scan scan = scan_text(vectors[i].text);
        if (scan.statement != vectors[i].statement)
            fail_msg("%s: statement %d, expected %d", vectors[i].text, scan.statement,
                     vectors[i].statement);
    }
}

/* keyspace NULL: unqualified; table NULL: none found. */
static void test_tables(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *keyspace;
        const char *table;
    } vectors[] = {
        {"SELECT * FROM t", NULL, "t"},
        {"SELECT * FROM ks.t", "ks", "t"},
        {"SELECT * FROM Ks . T;", "ks", "t"},
        {"SELECT * FROM \"Ks\".\"T\"\"x\"", "Ks", "T\"x"},
        {"SELECT * FROM \"System\".local", "System", "local"},
        {"SELECT * FROM SYSTEM.LOCAL", "system", "local"},
        {"SELECT * FROM \"system\".\"local\"", "system", "local"},
        {"SELECT *\nFROM\n\tsystem\n.\npeers_v2", "system", "peers_v2"},
        {"SELECT/**/*/**/FROM/**/a/**/./**/b/**/", "a", "b"},
        {"SELECT * -- FROM wrong.one\nFROM ks.t", "ks", "t"},
        {"SELECT * // FROM wrong.one\r FROM ks.t", "ks", "t"},
        {"SELECT * /* FROM wrong.one */ FROM ks.t", "ks", "t"},
        {"SELECT \"from\", a FROM ks.t", "ks", "t"},
        {"SELECT \"x from y\" FROM ks.t", "ks", "t"},
        {"SELECT \"a\"\" from b.c\" FROM ks.t", "ks", "t"},
        {"SELECT 'x from y.z' FROM ks.t", "ks", "t"},
        {"SELECT 'it''s from y.z' FROM ks.t", "ks", "t"},
        {"SELECT $$ from y.z $ ' $$ FROM ks.t", "ks", "t"},
        {"SELECT a AS from_x, fromage FROM ks.t", "ks", "t"},
        {"SELECT f(a from b) FROM ks.t", "ks", "t"},
        {"SELECT m[from] FROM ks.t", "ks", "t"},
        {"SELECT {from : 1}, [1, from] FROM ks.t", "ks", "t"},
        {"SELECT a.from FROM ks.t", "ks", "t"},
        {"SELECT token(k) FROM t", NULL, "t"},
        {"SELECT k, token(k, \"K2\") AS tk FROM ks.t WHERE token(k) > -9223372036854775808", "ks",
         "t"},
        {"SELECT writetime(c), ttl(c), maxwritetime(c) FROM ks.t", "ks", "t"},
        {"SELECT a.b FROM t", NULL, "t"},
        {"SELECT m['k'] FROM t", NULL, "t"},
        {"SELECT m['from a.b'], m['k'..'l'] FROM t", NULL, "t"},
        {"SELECT a + b * -2 FROM ks.t", "ks", "t"},
        {"SELECT v FROM ks.t ORDER BY v ANN OF [1.0, 2.0] LIMIT 3", "ks", "t"},
        {"SELECT * FROM system.local USING TIMEOUT 30s", "system", "local"},
        {"SELECT * FROM ks.t WHERE a NOT IN (1, 2)", "ks", "t"},
        {"SELECT * FROM ks.t WHERE a BETWEEN 1 AND 2", "ks", "t"},
        {"SELECT * FROM ks.t WHERE expr(idx, '{from: 1}')", "ks", "t"},
        {"SELECT * FROM ks.t BYPASS CACHE", "ks", "t"},
        {"SELECT avg(cast(a as double)) FROM ks.t", "ks", "t"},
        {"SELECT CAST(a AS text) FROM ks.t", "ks", "t"},
        {"SELECT (int)a, (text)'x' FROM ks.t", "ks", "t"},
        {"SELECT call FROM ks.t", "ks", "t"},
        {"SELECT JSON * FROM ks.t", "ks", "t"},
        {"SELECT DISTINCT k FROM ks.t", "ks", "t"},
        {"SELECT count(*) FROM ks.t GROUP BY k PER PARTITION LIMIT 2 ALLOW FILTERING", "ks", "t"},
        {"SELECT count(*), COUNT(1) AS c FROM ks.t", "ks", "t"},
        {"SELECT * FROM ks.t --", "ks", "t"},
        {"SELECT * FROM ks.t -- end without newline", "ks", "t"},
        {"SELECT * FROM ks.t--", "ks", "t"},
        {"SELECT * FROM ks.t;;", "ks", "t"},
        {"SELECT * FROM ks.t; DROP TABLE ks.t", "ks", "t"},
        {"SELECT * FROM ks.t /* open", "ks", "t"},
        {"SELECT * FROM ks.t WHERE a = 'open", "ks", "t"},
        {"SELECT * FROM t WHERE id = 550e8400-e29b-41d4-a716-446655440000", NULL, "t"},
        {"SELECT 550e8400-e29b-41d4-a716-446655440000 FROM t", NULL, "t"},
        {"SELECT a)) FROM ks.t", "ks", "t"},
        {"SELECT ?, :named FROM ks.t", "ks", "t"},
        {"SELECT * FROM \"\"", NULL, ""},
        {"SELECT * FROM caf\xc3\xa9", NULL, "caf\xc3\xa9"},
        {"SELECT * FROM t1_x", NULL, "t1_x"},
        {"SELECT \xff\xfe\x80 FROM ks.t", "ks", "t"},
        /* no table */
        {"SELECT", NULL, NULL},
        {"SELECT * FROM", NULL, NULL},
        {"SELECT * FROM ", NULL, NULL},
        {"SELECT * FROM ?", NULL, NULL},
        {"SELECT * FROM ks.", NULL, NULL},
        {"SELECT * FROM ks.?", NULL, NULL},
        {"SELECT * FROM 'ks'.t", NULL, NULL},
        {"SELECT * FROM \"open", NULL, NULL},
        {"SELECT * FROM ks.\"open", NULL, NULL},
        {"SELECT 'open FROM ks.t", NULL, NULL},
        {"SELECT $$open FROM ks.t", NULL, NULL},
        {"SELECT /* open FROM ks.t", NULL, NULL},
        {"SELECT count( FROM ks.t", NULL, NULL},
        {"SELECT -- FROM ks.t", NULL, NULL},
        {"SELECT FROMAGE ks.t", NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        struct cql_scan scan = scan_text(vectors[i].text);
        print_message("%s\n", vectors[i].text);
        assert_int_equal(scan.statement, CQL_STATEMENT_SELECT);
        assert_int_equal(scan.has_table, vectors[i].table != NULL);
        if (vectors[i].table == NULL)
            continue;
        assert_int_equal(scan.has_keyspace, vectors[i].keyspace != NULL);
        assert_string_equal(table.text, vectors[i].table);
        assert_int_equal(table.length, strlen(vectors[i].table));
        if (vectors[i].keyspace != NULL)
            assert_string_equal(keyspace.text, vectors[i].keyspace);
    }
}

static void test_conditional(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_conditional;
    } vectors[] = {
        {"INSERT INTO t (a) VALUES (1) IF NOT EXISTS", true},
        {"insert into t (a) values (1) if not exists using ttl 3", true},
        {"INSERT INTO t JSON '{\"a\": 1}' IF NOT EXISTS", true},
        {"INSERT INTO t (a) VALUES ('IF NOT EXISTS')", false},
        {"INSERT INTO t (\"if\") VALUES (1)", false},
        {"INSERT INTO t (a) VALUES ($$ IF $$) -- IF NOT EXISTS", false},
        {"INSERT INTO t (a) VALUES (1) /* IF NOT EXISTS */", false},
        {"UPDATE t SET a = 1 WHERE b = 2", false},
        {"UPDATE t SET a = 1 WHERE b = 2 IF EXISTS", true},
        {"UPDATE t SET a = {'if': 1}, b['if'] = f(if) WHERE b = 2", false},
        {"UPDATE t SET a = 1 WHERE b = 2\nIF a = 3", true},
        {"UPDATE t SET \"if\" = 1 WHERE b = 'x if y'", false},
        {"DELETE FROM t WHERE a = 1 IF EXISTS", true},
        {"DELETE FROM t WHERE a = 1 IF/**/b = 3", true},
        {"DELETE FROM t WHERE a = 'it''s' IF b = 3", true},
        {"DELETE iffy FROM t WHERE a = 1", false},
        {"DELETE FROM t WHERE a = 'open IF EXISTS", false},
        {"BEGIN BATCH INSERT INTO t (a) VALUES (1) IF NOT EXISTS; APPLY BATCH", true},
        {"BEGIN BATCH INSERT INTO t (a) VALUES (1); APPLY BATCH", false},
        {"CREATE TABLE IF NOT EXISTS t (a int PRIMARY KEY)", false},
        {"DROP TABLE IF EXISTS t", false},
        {"SELECT * FROM t IF x", false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        print_message("%s\n", vectors[i].text);
        assert_int_equal(scan_text(vectors[i].text).is_conditional, vectors[i].is_conditional);
    }
}

static void test_name_details(void **state)
{
    (void)state;
    struct cql_scan scan = scan_text("SELECT * FROM \"ks\".Tbl");
    assert_true(keyspace.is_quoted);
    assert_false(table.is_quoted);
    assert_string_equal(table.text, "tbl");

    /* The longest name that is kept, and one more. */
    char text[600];
    for (size_t size = CQL_NAME_MAX - 1; size <= CQL_NAME_MAX + 1; size++) {
        int used = snprintf(text, sizeof text, "SELECT * FROM %0*d", (int)size, 0);
        memset(text + 14, 'x', size);
        scan = scan_bytes(text, (size_t)used);
        assert_true(scan.has_table);
        assert_int_equal(table.length, size <= CQL_NAME_MAX ? size : 0);
    }
    /* Doubled quotes count once. */
    char quoted[2 * CQL_NAME_MAX + 20] = "SELECT * FROM \"";
    size_t at = strlen(quoted);
    memset(quoted + at, '"', 2 * CQL_NAME_MAX);
    quoted[at + 2 * CQL_NAME_MAX] = '"';
    scan = scan_bytes(quoted, at + 2 * CQL_NAME_MAX + 1);
    assert_int_equal(table.length, CQL_NAME_MAX);

    /* A NUL is part of a quoted name and no terminator. */
    static const char nul[] = "SELECT * FROM system.\"local\0x\"";
    scan = scan_bytes(nul, sizeof nul - 1);
    assert_int_equal(table.length, 7);
    static const char nul_text[] = "SELECT \0 FROM \0 t";
    scan = scan_bytes(nul_text, sizeof nul_text - 1);
    assert_int_equal(scan.statement, CQL_STATEMENT_SELECT);
    assert_false(scan.has_table);

    cql_scan(NULL, 0, &scan);
    assert_int_equal(scan.statement, CQL_STATEMENT_OTHER);
}

static void test_calls(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool may_call;
    } vectors[] = {
        {"INSERT INTO t (a, b) VALUES (1, now())", true},
        {"INSERT INTO t (a, b) VALUES (1, now( ))", true},
        {"INSERT INTO t (a, b) VALUES (1, now(/* x */))", true},
        {"INSERT INTO t (a, b) VALUES (1, now(-- x\n))", true},
        {"UPDATE t SET a = now() WHERE b = 1 IF c = 2", true},
        {"UPDATE t SET a = 1 WHERE b = 1 IF c = now()", true},
        {"BEGIN BATCH DELETE FROM t WHERE a = now(); APPLY BATCH", true},
        {"UPDATE t SET a = now(", false},
        {"INSERT INTO t (a, b) VALUES (1, 'now()')", false},
        {"INSERT INTO t (a, b) VALUES (1, $$now()$$) -- now()", false},
        {"INSERT INTO t (a, \"now()\") VALUES (1, 2) /* now() */", false},
        {"INSERT INTO t (a, b) VALUES (1, abs(2))", false},
        {"SELECT now() FROM t", false},
        {"CREATE FUNCTION f() RETURNS int", false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        print_message("%s\n", vectors[i].text);
        assert_int_equal(scan_text(vectors[i].text).may_call, vectors[i].may_call);
    }
}

/* No input may make the scan slower than linear: 4 MiB of each nasty byte. */
static void test_linear(void **state)
{
    (void)state;
    static const char *const fills[] = {"(", "\"\"", "'", "--",  "/*",       "$$ $",
                                        "a", "-",    "/", "a1-", "550e8400-"};
    size_t size = 4u << 20;
    char *text = malloc(size);
    assert_non_null(text);
    for (size_t i = 0; i < ARRAY_COUNT(fills); i++) {
        static const char *const heads[] = {"SELECT ", "UPDATE "};
        for (size_t h = 0; h < ARRAY_COUNT(heads); h++) {
            memcpy(text, heads[h], 7);
            size_t width = strlen(fills[i]);
            for (size_t at = 7; at < size; at++)
                text[at] = fills[i][(at - 7) % width];
            struct cql_scan scan;
            uint64_t start = clock_now_ns();
            cql_scan(text, size, &scan);
            assert_true(clock_now_ns() - start < 10 * NS_PER_S);
            assert_false(scan.has_table);
            assert_false(scan.is_conditional);
        }
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statement_kinds), cmocka_unit_test(test_tables),
        cmocka_unit_test(test_conditional),     cmocka_unit_test(test_name_details),
        cmocka_unit_test(test_calls),           cmocka_unit_test(test_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
