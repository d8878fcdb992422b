/* Statement classes: vectors of texts under session keyspaces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/classify.h"

#define READ     REQUEST_READ, VIRTUAL_NONE, WRITE_SIMPLE
#define SYSTEM   REQUEST_SYSTEM_READ, VIRTUAL_NONE, WRITE_SIMPLE
#define LOCAL    REQUEST_VIRTUAL, VIRTUAL_LOCAL, WRITE_SIMPLE
#define PEERS    REQUEST_VIRTUAL, VIRTUAL_PEERS, WRITE_SIMPLE
#define PEERS2   REQUEST_VIRTUAL, VIRTUAL_PEERS_V2, WRITE_SIMPLE
#define SIMPLE   REQUEST_WRITE, VIRTUAL_NONE, WRITE_SIMPLE
#define CAS      REQUEST_WRITE, VIRTUAL_NONE, WRITE_CAS
#define BATCH    REQUEST_WRITE, VIRTUAL_NONE, WRITE_BATCH
#define UNLOGGED REQUEST_WRITE, VIRTUAL_NONE, WRITE_UNLOGGED_BATCH
#define COUNTER  REQUEST_WRITE, VIRTUAL_NONE, WRITE_COUNTER
#define USE      REQUEST_USE, VIRTUAL_NONE, WRITE_SIMPLE

static const struct {
    const char *keyspace;
    const char *text;
    enum request_class class;
    enum virtual_table table;
    enum write_type write_type;
} vectors[] = {
    {"", "SELECT * FROM ks.t", READ},
    {"", "select * from t", READ},
    {"ks", "SELECT * FROM t WHERE k = 'FROM system.local'", READ},
    {"", "SELECT now()", READ},
    {"", "SELECT JSON * FROM ks.t WHERE a NOT IN (1) ORDER BY v ANN OF [1] LIMIT 3", READ},
    {"", "-- first\nSELECT /* x */ token(k) FROM ks.t", READ},
    {"", "SELECT a.b, m['k'] FROM ks.t USING TIMEOUT 5s", READ},
    {"", "SELECT * FROM ks.local", READ},
    {"", "SELECT * FROM ks.peers", READ},
    {"", "SELECT * FROM local", READ},
    /* System keyspaces: by qualifier, in any case unless quoted, or by USE. */
    {"", "SELECT * FROM system.size_estimates", SYSTEM},
    {"", "SELECT * FROM SYSTEM.compaction_history", SYSTEM},
    {"", "SELECT * FROM system_schema.tables", SYSTEM},
    {"", "SELECT * FROM \"system_schema\".\"tables\"", SYSTEM},
    {"", "SELECT * FROM system_auth.roles", SYSTEM},
    {"", "SELECT * FROM system_", READ},
    {"", "SELECT * FROM system_.t", SYSTEM},
    {"", "SELECT * FROM dse_insights.tokens", SYSTEM},
    {"system", "SELECT * FROM size_estimates", SYSTEM},
    {"system_schema", "SELECT * FROM keyspaces", SYSTEM},
    {"dse_system", "SELECT * FROM x", SYSTEM},
    {"system_schema", "SELECT * FROM local", SYSTEM},
    {"system", "SELECT * FROM ks.local", READ},
    /* Not system keyspaces, however much they look like some. */
    {"", "SELECT * FROM \"System\".local", READ},
    {"", "SELECT * FROM \"SYSTEM\".peers", READ},
    {"System", "SELECT * FROM local", READ},
    {"", "SELECT * FROM systems.t", READ},
    {"", "SELECT * FROM my_system.t", READ},
    {"", "SELECT * FROM dse.t", READ},
    {"", "SELECT * FROM \"Dse_x\".t", READ},
    {"systems", "SELECT * FROM local", READ},
    /* The tables the proxy answers. */
    {"", "SELECT * FROM system.local", LOCAL},
    {"", "SELECT * FROM SYSTEM.LOCAL WHERE key = 'local'", LOCAL},
    {"", "SELECT * FROM \"system\".\"local\"", LOCAL},
    {"", "SELECT * FROM system . local", LOCAL},
    {"", "SELECT peer FROM system.peers;", PEERS},
    {"", "SELECT * FROM system.peers_v2", PEERS2},
    {"system", "SELECT * FROM local", LOCAL},
    {"system", "SELECT * FROM peers", PEERS},
    {"system", "SELECT * FROM Peers_V2", PEERS2},
    {"ks", "SELECT * FROM system.local", LOCAL},
    {"", "SELECT * FROM system.\"Local\"", SYSTEM},
    {"", "SELECT * FROM system.peers_v3", SYSTEM},
    {"", "SELECT * FROM system.locals", SYSTEM},
    /* Writes. */
    {"", "INSERT INTO ks.t (k) VALUES (1)", SIMPLE},
    {"", "INSERT INTO system_auth.roles (role) VALUES ('x')", SIMPLE},
    {"", "INSERT INTO ks.t (k) VALUES ('IF NOT EXISTS')", SIMPLE},
    {"", "INSERT INTO ks.\"if\" (k) VALUES (1)", SIMPLE},
    {"", "UPDATE ks.t SET v = 1 WHERE k = 1", SIMPLE},
    {"", "DELETE FROM ks.t WHERE k = 1 /* IF v = 1 */", SIMPLE},
    {"", "INSERT INTO ks.t (k) VALUES (1) IF NOT EXISTS", CAS},
    {"", "update ks.t set v = 1 where k = 1 if v = 2", CAS},
    {"", "DELETE FROM ks.t WHERE k = 1 IF EXISTS", CAS},
    {"", "BEGIN BATCH INSERT INTO ks.t (k) VALUES (1); APPLY BATCH", BATCH},
    {"", "begin unlogged batch delete from t where k = 1 apply batch", UNLOGGED},
    {"", "BEGIN COUNTER BATCH UPDATE t SET c = c + 1 WHERE k = 1; APPLY BATCH", COUNTER},
    {"system", "DELETE FROM local WHERE key = 'local'", SIMPLE},
    /* Everything else goes to both. */
    {"", "CREATE TABLE IF NOT EXISTS ks.t (k int PRIMARY KEY)", SIMPLE},
    {"", "DROP KEYSPACE IF EXISTS ks", SIMPLE},
    {"", "TRUNCATE ks.t", SIMPLE},
    {"", "GRANT SELECT ON ks.t TO someone", SIMPLE},
    {"", "LIST ROLES", SIMPLE},
    {"", "CREATE MATERIALIZED VIEW v AS SELECT * FROM system.local", SIMPLE},
    {"", "", SIMPLE},
    {"", ";", SIMPLE},
    {"", "\xff\xfe garbage", SIMPLE},
    {"", "\"SELECT\" * FROM system.local", SIMPLE},
    {"", "/* SELECT * FROM system.local", SIMPLE},
    {"", "USE ks", USE},
    {"", "use \"Ks\";", USE},
    {"", "DESCRIBE KEYSPACES", SYSTEM},
    {"", "desc table ks.t", SYSTEM},
};

static void test_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        /* A block of the text's exact length: nothing behind it may be read. */
        size_t length = strlen(vectors[i].text);
        char *text = malloc(length);
        assert_true(length == 0 || text != NULL);
        if (length > 0)
            memcpy(text, vectors[i].text, length);
        struct statement_class got = classify_statement(text, length, vectors[i].keyspace);
        free(text);
        if (got.class != vectors[i].class || got.table != vectors[i].table ||
            got.write_type != vectors[i].write_type)
            fail_msg("[%s] %s: class %d, table %d, write type %d", vectors[i].keyspace,
                     vectors[i].text, (int)got.class, (int)got.table, (int)got.write_type);
    }
}

static void test_write_type_names(void **state)
{
    (void)state;
    assert_string_equal(write_type_name(WRITE_SIMPLE), "SIMPLE");
    assert_string_equal(write_type_name(WRITE_BATCH), "BATCH");
    assert_string_equal(write_type_name(WRITE_UNLOGGED_BATCH), "UNLOGGED_BATCH");
    assert_string_equal(write_type_name(WRITE_COUNTER), "COUNTER");
    assert_string_equal(write_type_name(WRITE_CAS), "CAS");
}

/* Which writes the proxy may stamp. */
static const struct {
    bool takes_timestamp;
    const char *text;
} stamps[] = {
    {true, "INSERT INTO t (k) VALUES (1)"},
    {true, "INSERT INTO t (k) VALUES (1) USING TTL 60"},
    {true, "INSERT INTO t JSON '{\"k\": 1}'"},
    {true, "INSERT INTO t (timestamp, using_it) VALUES (1, 'USING TIMESTAMP 5')"},
    {true, "UPDATE t USING TTL ? SET timestamp = ? WHERE k = 1 AND timestamp = 2"},
    {true, "UPDATE t SET v = 1 /* USING TIMESTAMP 1 */ WHERE k = 1"},
    {true, "UPDATE t SET \"using\" = \"timestamp\" WHERE k = 1"},
    {true, "UPDATE t SET c = c + 1 WHERE k = 1"},
    {true, "DELETE v FROM t WHERE k = 1"},
    {true, "DELETE FROM t USING"},
    {true, "BEGIN BATCH INSERT INTO t (k) VALUES (1) USING TIMESTAMP 5; APPLY BATCH"},
    {true, "BEGIN UNLOGGED BATCH INSERT INTO t (k) VALUES (1); APPLY BATCH"},
    {false, "INSERT INTO t (k) VALUES (1) USING TIMESTAMP 5"},
    {false, "INSERT INTO t (k) VALUES (1) USING TTL 5 AND TIMESTAMP 6"},
    {false, "insert into t (k) values (1) using ttl :a and timestamp :b"},
    {false, "UPDATE t USING TIMESTAMP ? AND TTL ? SET v = 1 WHERE k = 1"},
    {false, "UPDATE t USING TTL -1 AND TIMESTAMP -2 SET v = 1 WHERE k = 1"},
    {false, "DELETE FROM t USING TIMESTAMP 1 WHERE k = 1"},
    {false, "BEGIN BATCH USING TIMESTAMP 5 INSERT INTO t (k) VALUES (1); APPLY BATCH"},
    {false, "BEGIN UNLOGGED BATCH USING TIMESTAMP ? INSERT INTO t (k) VALUES (1); APPLY BATCH"},
    {false, "BEGIN COUNTER BATCH UPDATE t SET c = c + 1 WHERE k = 1; APPLY BATCH"},
    {false, "INSERT INTO t (k) VALUES (1) IF NOT EXISTS"},
    {false, "INSERT INTO t (k) VALUES (1) IF NOT EXISTS USING TTL 5"},
    {false, "UPDATE t SET v = 1 WHERE k = 1 IF v = 2"},
    {false, "BEGIN BATCH DELETE FROM t WHERE k = 1 IF EXISTS; APPLY BATCH"},
    {false, "CREATE TABLE t (k int PRIMARY KEY)"},
    {false, "TRUNCATE t"},
    {false, "USE ks"},
    {false, "SELECT * FROM t"},
    {false, "SELECT * FROM system.local"},
    {false, "DESCRIBE TABLES"},
    {false, "GRANT SELECT ON t TO r"},
    {false, ""},
};

static void test_which_writes_take_a_timestamp(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof stamps / sizeof stamps[0]; i++) {
        struct statement_class got = classify_statement(stamps[i].text, strlen(stamps[i].text), "");
        if (got.takes_timestamp != stamps[i].takes_timestamp)
            fail_msg("%s: %d", stamps[i].text, got.takes_timestamp);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_write_type_names),
        cmocka_unit_test(test_which_writes_take_a_timestamp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
