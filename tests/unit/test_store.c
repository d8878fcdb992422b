/* The store: seeding, changes with their audit rows, refusal of foreign files, and death at any
 * moment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <signal.h>
#include <cmocka.h>

#include "store_fixture.h"

static const struct store_actor tester = {.name = "tester", .user_agent = "unit \"test\""};

/* The audit log as JSON; the caller frees the document. */
static struct json_document *audit(struct store *store, unsigned limit)
{
    struct dynbuf text;
    struct json_writer writer;
    struct json_error problem;
    char error[256];
    dynbuf_init(&text, 1024 * 1024);
    json_writer_init(&writer, &text);
    json_begin_array(&writer);
    assert_true(store_write_audit(store, limit, 0, &writer, error, sizeof error));
    json_end_array(&writer);
    struct json_document *document = json_parse(dynbuf_text(&text), text.length, 100000, &problem);
    assert_non_null(document);
    dynbuf_fini(&text);
    return document;
}

static void test_creation_and_reopening(void **state)
{
    struct place *place = *state;
    struct routing_state first, second;
    struct store *store = place_open(place);
    store_read(store, &first);
    assert_int_equal(first.revision, 1);
    assert_int_equal(strlen(first.store_id), 36);
    store_close(store);
    store = place_open(place);
    store_read(store, &second);
    assert_string_equal(first.store_id, second.store_id);
    assert_int_equal(second.revision, 1);
    store_close(store);
}

static void test_changes_and_their_audit(void **state)
{
    struct place *place = *state;
    struct routing_state routing;
    char etag[ROUTING_ETAG_SIZE];
    struct store *store = place_open(place);
    store_read(store, &routing);
    routing_etag(&routing, etag);
    assert_int_equal(place_set_reads(store, true, etag, &routing), STORE_CHANGED);
    assert_int_equal(routing.revision, 2);
    assert_int_equal(place_set_reads(store, true, NULL, &routing), STORE_UNCHANGED);
    assert_int_equal(place_set_reads(store, false, etag, &routing), STORE_STALE);
    assert_true(routing.forward_reads_to_target && routing.revision == 2);
    struct json_document *document = audit(store, 10);
    const struct json_value *entry = json_first(json_root(document));
    bool was = true, is = false;
    assert_string_equal(json_text(json_member(entry, "actor"), NULL), "tester");
    assert_string_equal(json_text(json_member(entry, "user_agent"), NULL), "unit \"test\"");
    assert_true(
        json_bool(json_member(json_member(entry, "before"), "forward_reads_to_target"), &was) &&
        !was);
    assert_true(
        json_bool(json_member(json_member(entry, "after"), "forward_reads_to_target"), &is) && is);
    entry = json_next(entry);
    assert_string_equal(json_text(json_member(entry, "action"), NULL), "create");
    assert_null(json_next(entry));
    json_free(document);
    store_close(store);
}

/* Every member survives a restart, whatever its kind, and so does "as configured". */
static void test_every_member_is_kept(void **state)
{
    struct place *place = *state;
    char error[512];
    for (unsigned turn = 0; turn < 2; turn++) {
        struct routing_patch patch = {0};
        struct routing_state routing, again;
        struct store *store = place_open(place);
        for (size_t i = 0; i < routing_member_count; i++) {
            const struct routing_member *member = &routing_members[i];
            bool is_setting = member->group == ROUTING_GROUP_SETTINGS;
            routing_patch_set(&patch, member, turn == 0 ? 1 : is_setting ? 0 : 1);
        }
        patch.max_clients = turn == 0 ? 1000000 : 0;
        patch.stamp_timestamps = turn == 0 ? ROUTING_ON : ROUTING_AS_CONFIGURED;
        patch.log_level = turn == 0 ? ROUTING_LEVEL_DEBUG : ROUTING_LEVEL_AS_CONFIGURED;
        patch.write_to_origin = turn == 0;
        patch.canary_read_percent = 100;
        enum store_verdict verdict =
            store_change(store, &patch, NULL, false, &tester, &routing, error, sizeof error);
        if (verdict != STORE_CHANGED)
            fail_msg("%s", error);
        store_close(store);
        store = place_open(place);
        store_read(store, &again);
        for (size_t i = 0; i < routing_member_count; i++) {
            uint32_t wanted;
            assert_true(routing_patch_get(&patch, &routing_members[i], &wanted));
            assert_int_equal(routing_get(&again, &routing_members[i]), wanted);
        }
        store_close(store);
    }
}

/* The file itself refuses what no change may bring about. */
static void test_the_file_refuses_states_without_writes(void **state)
{
    struct place *place = *state;
    struct routing_patch patch = {.has_write_to_origin = true, .has_write_to_target = true};
    struct routing_state routing;
    char error[512] = "";
    struct store *store = place_open(place);
    assert_int_equal(
        store_change(store, &patch, NULL, false, &tester, &routing, error, sizeof error),
        STORE_FAILED);
    assert_true(routing.revision == 1 && routing.write_to_origin && routing.write_to_target);
    store_close(store);
}

static void test_seeding_happens_once(void **state)
{
    struct place *place = *state;
    struct routing_state routing;
    struct routing_patch values = {.has_forward_reads_to_target = true,
                                   .forward_reads_to_target = true};
    char error[256];
    bool seeded;
    struct store *store = place_open(place);
    assert_int_equal(store_seed(store, &values, "first", &seeded, &routing, error, sizeof error),
                     STORE_CHANGED);
    assert_true(seeded && routing.forward_reads_to_target && routing.revision == 2);
    values.forward_reads_to_target = false;
    assert_int_equal(store_seed(store, &values, "second", &seeded, &routing, error, sizeof error),
                     STORE_UNCHANGED);
    assert_true(!seeded && routing.forward_reads_to_target && routing.revision == 2);
    store_close(store);
    store = place_open(place);
    assert_int_equal(store_seed(store, &values, "third", &seeded, &routing, error, sizeof error),
                     STORE_UNCHANGED);
    assert_false(seeded);
    store_close(store);
}

static void test_the_same_values_are_a_seed_without_a_revision(void **state)
{
    struct place *place = *state;
    struct routing_state routing;
    struct routing_patch values = {.has_forward_reads_to_target = true,
                                   .forward_reads_to_target = false};
    char error[256];
    bool seeded;
    struct store *store = place_open(place);
    assert_int_equal(store_seed(store, &values, "first", &seeded, &routing, error, sizeof error),
                     STORE_UNCHANGED);
    assert_true(seeded && routing.revision == 1);
    values.forward_reads_to_target = true;
    assert_int_equal(store_seed(store, &values, "second", &seeded, &routing, error, sizeof error),
                     STORE_UNCHANGED);
    assert_false(seeded);
    store_close(store);
}

static void expect_refusal(const struct place *place, const char *word)
{
    char error[512] = "";
    assert_null(store_open(place->path, error, sizeof error));
    if (strstr(error, word) == NULL || strstr(error, place->path) == NULL)
        fail_msg("the error should name the file and say \"%s\": %s", word, error);
}

#define MIGRATION(version, ...)      NEWEST_SCHEMA_##version = version,
#define MIGRATION_WITH(version, ...) NEWEST_SCHEMA_##version = version,
enum {
#include "controlplane/migrations.def"
    AFTER_NEWEST_SCHEMA
};
#undef MIGRATION
#undef MIGRATION_WITH

static void test_a_newer_schema_is_refused(void **state)
{
    struct place *place = *state;
    char sql[64];
    store_close(place_open(place));
    snprintf(sql, sizeof sql, "PRAGMA user_version = %d", AFTER_NEWEST_SCHEMA);
    place_sql(place->path, sql);
    expect_refusal(place, "newer");
    snprintf(sql, sizeof sql, "PRAGMA user_version = %d", AFTER_NEWEST_SCHEMA - 1);
    place_sql(place->path, sql);
    store_close(place_open(place));
}

static void test_foreign_and_damaged_files_are_refused(void **state)
{
    struct place *place = *state;
    place_sql(place->path, "CREATE TABLE somebody_elses (x)");
    expect_refusal(place, "not a Cloud-Gate");
    unlink(place->path);
    FILE *file = fopen(place->path, "w");
    assert_non_null(file);
    for (int i = 0; i < 4096; i++)
        fputc('x', file);
    fclose(file);
    expect_refusal(place, "not a database");
}

static void test_a_second_opener_is_refused(void **state)
{
    struct place *place = *state;
    struct store *store = place_open(place);
    /* The lock is per process, so the second opener must be one. */
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char error[512] = "";
        struct store *second = store_open(place->path, error, sizeof error);
        _exit(second == NULL && strstr(error, "another") != NULL ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    store_close(store);
}

/* A child toggles and reports each revision it was told is stored; it is killed in the middle of
 * that. What was reported must be there, each revision with its audit row, and at most one more. */
static void test_killed_at_any_moment(void **state)
{
    struct place *place = *state;
    uint64_t reported = 1;
    store_close(place_open(place));
    for (unsigned round = 0; round < 15; round++) {
        int pipe_ends[2];
        assert_int_equal(pipe(pipe_ends), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            char error[512];
            struct routing_state routing;
            struct store *store = store_open(place->path, error, sizeof error);
            if (store == NULL)
                _exit(1);
            store_read(store, &routing);
            for (;;) {
                if (place_set_reads(store, !routing.forward_reads_to_target, NULL, &routing) !=
                        STORE_CHANGED ||
                    write(pipe_ends[1], &routing.revision, sizeof routing.revision) !=
                        sizeof routing.revision)
                    _exit(2);
            }
        }
        close(pipe_ends[1]);
        uint64_t revision;
        unsigned seen = 0;
        while (read(pipe_ends[0], &revision, sizeof revision) == sizeof revision) {
            assert_true(revision == reported + 1 || (seen == 0 && revision == reported + 2));
            reported = revision;
            if (++seen == 3 + round)
                kill(child, SIGKILL);
        }
        close(pipe_ends[0]);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

        struct store *store = place_open(place);
        struct routing_state routing;
        store_read(store, &routing);
        assert_true(routing.revision == reported || routing.revision == reported + 1);
        struct json_document *document = audit(store, 1000);
        uint64_t expected = routing.revision;
        for (const struct json_value *entry = json_first(json_root(document)); entry != NULL;
             entry = json_next(entry)) {
            uint64_t number = 0;
            assert_true(json_u64(json_member(entry, "revision"), &number));
            assert_int_equal(number, expected--);
        }
        assert_int_equal(expected, 0);
        json_free(document);
        store_close(store);
    }
}

/* A file that cannot grow: the change is refused, nothing of it remains, and the next one works. */
static void test_a_failed_write_changes_nothing(void **state)
{
    struct place *place = *state;
    struct routing_state routing;
    store_close(place_open(place));
    place_sql(place->path, "CREATE TRIGGER no BEFORE INSERT ON audit WHEN NEW.actor = 'tester'"
                           " BEGIN SELECT RAISE(ABORT, 'disk says no'); END");
    struct store *store = place_open(place);
    char error[256] = "";
    struct routing_patch patch = {.has_forward_reads_to_target = true,
                                  .forward_reads_to_target = true};
    assert_int_equal(
        store_change(store, &patch, NULL, false, &tester, &routing, error, sizeof error),
        STORE_FAILED);
    assert_non_null(strstr(error, "disk says no"));
    assert_true(routing.revision == 1 && !routing.forward_reads_to_target);
    struct store_actor other = {.name = "other", .user_agent = ""};
    assert_int_equal(
        store_change(store, &patch, NULL, false, &other, &routing, error, sizeof error),
        STORE_CHANGED);
    assert_int_equal(routing.revision, 2);
    store_close(store);
    store = place_open(place);
    store_read(store, &routing);
    assert_int_equal(routing.revision, 2);
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_creation_and_reopening, place_set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_changes_and_their_audit, place_set_up,
                                        place_tear_down),
        cmocka_unit_test_setup_teardown(test_every_member_is_kept, place_set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_the_file_refuses_states_without_writes, place_set_up,
                                        place_tear_down),
        cmocka_unit_test_setup_teardown(test_seeding_happens_once, place_set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_the_same_values_are_a_seed_without_a_revision,
                                        place_set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_a_newer_schema_is_refused, place_set_up,
                                        place_tear_down),
        cmocka_unit_test_setup_teardown(test_foreign_and_damaged_files_are_refused, place_set_up,
                                        place_tear_down),
        cmocka_unit_test_setup_teardown(test_a_second_opener_is_refused, place_set_up,
                                        place_tear_down),
        cmocka_unit_test_setup_teardown(test_killed_at_any_moment, place_set_up, place_tear_down),
        cmocka_unit_test_setup_teardown(test_a_failed_write_changes_nothing, place_set_up,
                                        place_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
