/* The audit chain: sealing, what tampering shows, conversion of older logs, reading all of it in
 * pages, and since when a value holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "store_fixture.h"

#define CANONICAL_HASH "969d6fa2c28a56a117445be626ca42435fc2b8e4504ec81b7d5072e2a2689793"

/* A log of count rows: the creation and count - 1 changes. */
static void fill(const struct place *place, unsigned count)
{
    struct routing_state routing;
    struct store *store = place_open(place);
    for (unsigned i = 1; i < count; i++)
        assert_int_equal(place_set_reads(store, i % 2 == 1, NULL, &routing), STORE_CHANGED);
    store_close(store);
}

/* All lines, each with its newline; the caller finishes lines. */
static void read_lines(struct store *store, struct store_audit_cursor cursor, struct dynbuf *lines)
{
    char error[512];
    dynbuf_init(lines, 16 * 1024 * 1024);
    while (!cursor.is_done)
        assert_true(store_audit_page(store, &cursor, lines, error, sizeof error));
    assert_false(lines->failed);
}

static void verify(const struct place *place, const char *expect,
                   struct store_audit_verdict *verdict)
{
    store_audit_verify_file(place->path, expect, verdict);
    if (!verdict->was_read)
        fail_msg("%s", verdict->detail);
}

static void expect_whole(const struct place *place, uint64_t entries)
{
    struct store_audit_verdict verdict;
    verify(place, NULL, &verdict);
    if (!verdict.is_whole)
        fail_msg("%s", verdict.detail);
    assert_int_equal(verdict.entries, entries);
}

static void expect_broken(const struct place *place, const char *expect, const char *words)
{
    struct store_audit_verdict verdict;
    verify(place, expect, &verdict);
    assert_false(verdict.is_whole);
    if (strstr(verdict.detail, words) == NULL)
        fail_msg("\"%s\" should say \"%s\"", verdict.detail, words);
}

static void test_the_canonical_form_is_what_the_document_says(void **state)
{
    /* Made by hand with printf and sha256sum: whoever changes the writer changes the form. */
    static const char line[] =
        "{\"hash\":\"" CANONICAL_HASH "\","
        "\"previous\":\"0000000000000000000000000000000000000000000000000000000000000000\","
        "\"form\":1,\"store\":\"00000000-0000-4000-8000-000000000001\",\"id\":1,"
        "\"time_ms\":1700000000000,\"actor\":\"a \\\"b\\\" \xc3\xa9 \\u0001/\\u000a\","
        "\"user_agent\":\"\",\"request_id\":\"\",\"action\":\"create\",\"revision\":1,"
        "\"phase_before\":null,\"phase_after\":null,\"forced\":false,\"reason\":\"\","
        "\"before\":null,\"after\":{\"revision\":1}}";
    struct place *place = *state;
    struct dynbuf lines;
    store_close(place_open(place));
    place_sql(place->path,
              "DROP TRIGGER audit_unchanged; DROP TRIGGER audit_head_forward;"
              "UPDATE routing SET store_id = '00000000-0000-4000-8000-000000000001';"
              "UPDATE audit SET time_ms = 1700000000000, user_agent = '', phase_after = NULL,"
              " actor = 'a \"b\" ' || char(233, 32, 1) || '/' || char(10),"
              " after = '{\"revision\":1}', hash = '" CANONICAL_HASH "';"
              "UPDATE audit_head SET hash = '" CANONICAL_HASH "'");
    expect_whole(place, 1);
    struct store *store = place_open(place);
    read_lines(store, (struct store_audit_cursor){0}, &lines);
    assert_int_equal(lines.length, strlen(line) + 1);
    assert_memory_equal(lines.data, line, strlen(line));
    dynbuf_fini(&lines);
    store_close(store);
}

static void test_rows_cannot_be_touched(void **state)
{
    static const char *const attempts[] = {
        "UPDATE audit SET actor = 'x' WHERE id = 2",
        "DELETE FROM audit WHERE id = 3",
        "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE id = 2",
        "UPDATE audit_head SET last_id = 1",
        "DELETE FROM audit_head",
    };
    struct place *place = *state;
    sqlite3 *db;
    fill(place, 3);
    assert_int_equal(sqlite3_open(place->path, &db), SQLITE_OK);
    for (size_t i = 0; i < ARRAY_COUNT(attempts); i++) {
        assert_int_not_equal(sqlite3_exec(db, attempts[i], NULL, NULL, NULL), SQLITE_OK);
        assert_non_null(strstr(sqlite3_errmsg(db), "the audit log"));
    }
    sqlite3_close(db);
    expect_whole(place, 3);
}

#define UNLOCK                                                                                     \
    "DROP TRIGGER audit_order; DROP TRIGGER audit_kept; DROP TRIGGER audit_unchanged;"             \
    "DROP TRIGGER audit_head_kept; DROP TRIGGER audit_head_forward;"

static void test_tampering_is_found_at_its_first_row(void **state)
{
    static const struct {
        const char *sql, *words;
    } cases[] = {
        {"UPDATE audit SET actor = 'nobody' WHERE id = 4", "row 4: its hash"},
        {"UPDATE audit SET user_agent = 'x' WHERE id = 1", "row 1: its hash"},
        {"UPDATE audit SET request_id = 'x' WHERE id = 2", "row 2: its hash"},
        {"UPDATE audit SET action = 'adopt' WHERE id = 3", "row 3: its hash"},
        {"UPDATE audit SET time_ms = time_ms + 1 WHERE id = 5", "row 5: its hash"},
        {"UPDATE audit SET revision = 9 WHERE id = 5", "row 5: its hash"},
        {"UPDATE audit SET phase_before = 'x' WHERE id = 5", "row 5: its hash"},
        {"UPDATE audit SET phase_after = 'x' WHERE id = 5", "row 5: its hash"},
        {"UPDATE audit SET forced = 1 WHERE id = 5", "row 5: its hash"},
        {"UPDATE audit SET reason = 'x' WHERE id = 6", "row 6: its hash"},
        {"UPDATE audit SET before = NULL WHERE id = 5", "row 5: its hash"},
        {"UPDATE audit SET after = before WHERE id = 5", "row 5: its hash"},
        {"UPDATE audit SET after = '{' WHERE id = 5", "row 5: it is not one JSON object"},
        {"UPDATE audit SET hash = upper(hash) WHERE id = 5", "line 5 is not"},
        {"UPDATE audit SET hash = replace(hash, substr(hash, 9, 1), 'x') WHERE id = 6", "line 6"},
        {"DELETE FROM audit WHERE id = 3", "row 4: the row before it is missing"},
        {"DELETE FROM audit WHERE id IN (3, 4)", "row 5: the rows before it are missing"},
        {"DELETE FROM audit WHERE id = 1", "row 2"},
        {"DELETE FROM audit WHERE id = 6", "row 6: it is missing"},
        {"DELETE FROM audit WHERE id > 4", "row 5: it is missing, as is all after it; the head says"
                                           " that the log ends with row 6"},
        {"DELETE FROM audit", "row 1: it is missing"},
        {"UPDATE audit SET id = id + 10", "row 11"},
        {"DELETE FROM audit WHERE id = 6; UPDATE audit_head SET last_id = 5", "row 5: the head"},
        {"UPDATE routing SET store_id = replace(store_id, substr(store_id, 1, 1), 'x')", "row 1"},
    };
    struct place *place = *state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        place_empty(place);
        fill(place, 6);
        expect_whole(place, 6);
        place_sql(place->path, UNLOCK);
        expect_whole(place, 6);
        place_sql(place->path, cases[i].sql);
        expect_broken(place, NULL, cases[i].words);
    }
}

/* A thorough forger cuts the tail and sets the head right: only what was noted elsewhere tells. */
static void test_a_head_noted_elsewhere_shows_what_the_file_cannot(void **state)
{
    struct place *place = *state;
    struct store_audit_head head;
    struct store_audit_verdict verdict;
    char noted[100], wrong[100];
    fill(place, 6);
    struct store *store = place_open(place);
    store_audit_head(store, &head);
    assert_int_equal(head.id, 6);
    snprintf(noted, sizeof noted, "%llu:%s", (unsigned long long)head.id, head.hash);
    store_audit_verify(store, noted, &verdict);
    assert_true(verdict.is_whole && verdict.entries == 6);
    store_close(store);
    snprintf(wrong, sizeof wrong, "6:%s", audit_chain_origin);
    expect_broken(place, wrong, "row 6: its hash is not the one noted elsewhere");
    place_sql(place->path,
              UNLOCK "DELETE FROM audit WHERE id = 6; UPDATE audit_head SET last_id = 5,"
                     " hash = (SELECT hash FROM audit WHERE id = 5)");
    expect_whole(place, 5);
    expect_broken(place, noted, "row 6, noted elsewhere, is missing: the log ends with row 5");
    for (const char *const *bad = (const char *const[]){"", "6", "6:", "x:y", "6:00", NULL};
         *bad != NULL; bad++) {
        verify(place, *bad, &verdict);
        assert_true(!verdict.is_whole && strstr(verdict.detail, "ID:HASH") != NULL);
    }
}

/* A forger who also removed the head's row must not stop the control plane. */
static void test_changes_go_on_after_tampering(void **state)
{
    struct place *place = *state;
    struct routing_state routing;
    fill(place, 4);
    place_sql(place->path, UNLOCK "DELETE FROM audit_head; DELETE FROM audit WHERE id = 2");
    struct store *store = place_open(place);
    assert_int_equal(place_set_reads(store, false, NULL, &routing), STORE_CHANGED);
    store_close(store);
    expect_broken(place, NULL, "row 3: the row before it is missing");
}

static void test_an_older_log_is_chained_from_its_first_row(void **state)
{
    struct place *place = *state;
    struct store_audit_head head;
    struct routing_state routing;
    char copy[160], error[256];
    struct store_since since;
    place_schema_2(place->path);
    struct store *store = place_open(place);
    store_audit_head(store, &head);
    assert_int_equal(head.id, 3);
    store_read(store, &routing);
    assert_true(routing.revision == 3 && routing.shadow_read_percent == 20);
    assert_true(store_since(store, "forward_reads_to_target", &since, error, sizeof error));
    assert_true(since.revision == 2 && since.time_ms == 2000);
    assert_true(store_since(store, "shadow_read_percent", &since, error, sizeof error));
    assert_true(since.revision == 3 && since.time_ms == 3000);
    assert_true(
        store_since(store, "forward_system_queries_to_target", &since, error, sizeof error));
    assert_true(since.revision == 1 && since.time_ms == 1000);
    assert_int_equal(place_set_reads(store, false, NULL, &routing), STORE_CHANGED);
    store_close(store);
    expect_whole(place, 4);
    /* The file as it was stands beside it, and would open with the program that wrote it. */
    snprintf(copy, sizeof copy, "%s.schema-2", place->path);
    assert_int_equal(place_number(copy, "SELECT count(*) FROM audit"), 3);
    assert_int_equal(place_number(copy, "PRAGMA user_version"), 2);
    assert_int_equal(place_number(copy, "SELECT journal_mode = 'delete' FROM pragma_journal_mode"),
                     1);
}

static void test_the_log_is_read_in_bounded_pages(void **state)
{
    struct place *place = *state;
    struct store_audit_cursor cursor = {0};
    struct store_audit_verdict verdict;
    struct dynbuf lines, rest;
    struct audit_chain chain;
    char error[512];
    unsigned pages = 0, count = 0;
    fill(place, 450);
    struct store *store = place_open(place);
    audit_chain_init(&chain);
    dynbuf_init(&lines, 2 * AUDIT_LINE_MAX);
    while (!cursor.is_done) {
        dynbuf_reset(&lines);
        assert_true(store_audit_page(store, &cursor, &lines, error, sizeof error));
        pages++;
        for (const char *at = dynbuf_text(&lines), *end; (end = strchr(at, '\n')) != NULL;
             at = end + 1, count++)
            if (!audit_chain_take(&chain, at, (size_t)(end - at), error, sizeof error))
                fail_msg("%s", error);
    }
    assert_true(pages >= 3 && count == 450 && chain.last_id == 450);
    store_audit_verify(store, NULL, &verdict);
    assert_true(verdict.is_whole && verdict.entries == 450);
    assert_string_equal(verdict.head.hash, chain.hash);
    /* From the middle on: the first line continues a row that is not there, which is no fault. */
    audit_chain_init(&chain);
    read_lines(store, (struct store_audit_cursor){.after_id = 448}, &rest);
    const char *newline = strchr(dynbuf_text(&rest), '\n');
    assert_true(audit_chain_take(&chain, dynbuf_text(&rest), (size_t)(newline - dynbuf_text(&rest)),
                                 error, sizeof error));
    assert_true(chain.last_id == 449);
    dynbuf_fini(&rest);
    /* By time: all of it, none of it. */
    assert_true(store_audit_seek(store, 0, &cursor, error, sizeof error) && cursor.after_id == 0);
    assert_true(store_audit_seek(store, INT64_MAX, &cursor, error, sizeof error) &&
                cursor.after_id == 450);
    dynbuf_fini(&lines);
    store_close(store);
}

static void test_since_when_a_value_holds(void **state)
{
    struct place *place = *state;
    struct routing_state routing;
    struct store_since since;
    char error[256];
    struct store *store = place_open(place);
    assert_int_equal(place_set_reads(store, true, NULL, &routing), STORE_CHANGED);
    struct routing_patch patch = {.has_shadow_read_percent = true, .shadow_read_percent = 5};
    struct store_actor actor = {.name = "x", .reason = "because", .request_id = "r1"};
    assert_int_equal(
        store_change(store, &patch, NULL, false, &actor, &routing, error, sizeof error),
        STORE_CHANGED);
    for (int turn = 0; turn < 2; turn++) { /* and the same after a restart */
        assert_true(store_since(store, "forward_reads_to_target", &since, error, sizeof error));
        assert_int_equal(since.revision, 2);
        assert_true(store_since(store, "shadow_read_percent", &since, error, sizeof error));
        assert_int_equal(since.revision, 3);
        assert_true(store_since(store, "phase", &since, error, sizeof error));
        assert_true(since.revision >= 1 && since.time_ms > 0);
        store_close(store);
        store = place_open(place);
    }
    store_close(store);
}

static void test_lines_that_are_no_rows(void **state)
{
    static const char *const lines[] = {
        "",
        "{}",
        "null",
        "{\"hash\":\"00\"}",
        "{\"hash\":\"0000000000000000000000000000000000000000000000000000000000000000\"}",
    };
    struct audit_chain chain;
    char error[256];
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        audit_chain_init(&chain);
        assert_false(audit_chain_take(&chain, lines[i], strlen(lines[i]), error, sizeof error));
        assert_non_null(strstr(error, "line 1"));
    }
}

int main(void)
{
#define ROW(test) cmocka_unit_test_setup_teardown(test, place_set_up, place_tear_down)
    const struct CMUnitTest tests[] = {
        ROW(test_the_canonical_form_is_what_the_document_says),
        ROW(test_rows_cannot_be_touched),
        ROW(test_tampering_is_found_at_its_first_row),
        ROW(test_a_head_noted_elsewhere_shows_what_the_file_cannot),
        ROW(test_changes_go_on_after_tampering),
        ROW(test_an_older_log_is_chained_from_its_first_row),
        ROW(test_the_log_is_read_in_bounded_pages),
        ROW(test_since_when_a_value_holds),
        cmocka_unit_test(test_lines_that_are_no_rows),
    };
#undef ROW
    return cmocka_run_group_tests(tests, NULL, NULL);
}
