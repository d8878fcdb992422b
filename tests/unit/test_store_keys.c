/* Idempotency keys in the store: noted with the change or not at all, answered, forgotten after a
 * day, bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/clock.h"
#include "controlplane/store_keys.h"
#include "store_fixture.h"

static const struct store_key key = {.scope = "token:ci", .text = "one", .digest = {1, 2, 3}};

/* What the store says of a key; text and headers of a kept answer are compared when given. */
static enum store_key_verdict find(struct store *store, const struct store_key *wanted,
                                   const char *headers, const char *body)
{
    char error[512] = "";
    struct dynbuf kept_headers, kept_body;
    dynbuf_init(&kept_headers, 4096);
    dynbuf_init(&kept_body, STORE_KEY_ANSWER_MAX);
    struct store_key_answer answer = {.headers = &kept_headers, .body = &kept_body};
    enum store_key_verdict verdict = store_key_find(store, wanted, &answer, error, sizeof error);
    if (verdict == STORE_KEY_FAILED)
        fail_msg("%s", error);
    if (headers != NULL) {
        assert_int_equal(answer.status, 202);
        assert_string_equal(dynbuf_text(&kept_headers), headers);
        assert_string_equal(dynbuf_text(&kept_body), body);
    }
    dynbuf_fini(&kept_headers);
    dynbuf_fini(&kept_body);
    return verdict;
}

static bool keep(struct store *store, const struct store_key *wanted, const char *headers,
                 const char *body)
{
    char error[512] = "";
    struct dynbuf kept_headers, kept_body;
    dynbuf_init(&kept_headers, 4096);
    dynbuf_init(&kept_body, 1024 * 1024);
    dynbuf_append_text(&kept_headers, headers);
    dynbuf_append_text(&kept_body, body);
    const struct store_key_answer answer = {
        .status = 202, .headers = &kept_headers, .body = &kept_body};
    bool good = store_key_keep(store, wanted, &answer, error, sizeof error);
    assert_true(good || error[0] != '\0');
    dynbuf_fini(&kept_headers);
    dynbuf_fini(&kept_body);
    return good;
}

static enum store_verdict change_with(struct store *store, const struct store_key *with, bool reads)
{
    const struct store_actor actor = {.name = "tester", .user_agent = "", .key = with};
    struct routing_state state;
    struct routing_patch patch = {.has_forward_reads_to_target = true,
                                  .forward_reads_to_target = reads};
    char error[512];
    return store_change(store, &patch, NULL, false, &actor, &state, error, sizeof error);
}

static void test_a_key_is_noted_with_its_change(void **state)
{
    struct place *place = *state;
    struct store *store = place_open(place);
    struct store_key other = key, elsewhere = key;
    other.digest[31] = 1;
    elsewhere.scope = "token:else";
    assert_int_equal(find(store, &key, NULL, NULL), STORE_KEY_NEW);
    assert_int_equal(change_with(store, &key, true), STORE_CHANGED);
    assert_int_equal(find(store, &key, NULL, NULL), STORE_KEY_MADE);
    assert_int_equal(find(store, &other, NULL, NULL), STORE_KEY_OTHER);
    assert_int_equal(find(store, &elsewhere, NULL, NULL), STORE_KEY_NEW);
    store_close(store);
    store = place_open(place);
    assert_int_equal(find(store, &key, NULL, NULL), STORE_KEY_MADE);
    assert_true(keep(store, &key, "ETag: x\r\n", "{}"));
    assert_int_equal(find(store, &key, "ETag: x\r\n", "{}"), STORE_KEY_ANSWERED);
    assert_int_equal(find(store, &other, NULL, NULL), STORE_KEY_OTHER);
    store_close(store);
    store = place_open(place);
    assert_int_equal(find(store, &key, "ETag: x\r\n", "{}"), STORE_KEY_ANSWERED);
    store_close(store);
}

/* What changes nothing has no row in the audit log, and its key one all the same. */
static void test_an_answer_without_a_change(void **state)
{
    struct store *store = place_open(*state);
    assert_int_equal(change_with(store, &key, false), STORE_UNCHANGED);
    assert_int_equal(find(store, &key, NULL, NULL), STORE_KEY_NEW);
    assert_true(keep(store, &key, "", "text"));
    assert_int_equal(find(store, &key, "", "text"), STORE_KEY_ANSWERED);
    store_close(store);
}

static void test_a_change_that_fails_leaves_no_key(void **state)
{
    struct place *place = *state;
    store_close(place_open(place));
    place_sql(place->path, "CREATE TRIGGER full BEFORE INSERT ON request_keys BEGIN"
                           " SELECT RAISE(ABORT, 'no room'); END");
    struct store *store = place_open(place);
    struct routing_state present;
    assert_int_equal(change_with(store, &key, true), STORE_FAILED);
    store_read(store, &present);
    assert_int_equal(present.revision, 1);
    assert_int_equal(find(store, &key, NULL, NULL), STORE_KEY_NEW);
    assert_false(keep(store, &key, "", "text"));
    assert_int_equal(change_with(store, NULL, true), STORE_CHANGED);
    store_close(store);
    assert_int_equal(place_number(place->path, "SELECT count(*) FROM audit"), 2);
}

/* All that are kept are as old as none may be. */
static void age_keys(const struct place *place)
{
    char sql[80];
    snprintf(sql, sizeof sql, "UPDATE request_keys SET time_ms = %lld",
             (long long)(clock_wall_ms() - STORE_KEY_KEPT_MS));
    place_sql(place->path, sql);
}

static void test_a_key_is_forgotten_after_a_day(void **state)
{
    struct place *place = *state;
    struct store *store = place_open(place);
    struct store_key next = key;
    next.text = "two";
    assert_int_equal(change_with(store, &key, true), STORE_CHANGED);
    store_close(store);
    age_keys(place);
    store = place_open(place);
    assert_int_equal(find(store, &key, NULL, NULL), STORE_KEY_NEW);
    assert_int_equal(change_with(store, &next, false), STORE_CHANGED);
    store_close(store);
    assert_int_equal(place_number(place->path, "SELECT count(*) FROM request_keys"), 1);
}

static void test_what_is_kept_is_bounded(void **state)
{
    struct place *place = *state;
    struct store *store = place_open(place);
    struct dynbuf text;
    char sql[200];
    dynbuf_init(&text, 1024 * 1024);
    while (text.length <= STORE_KEY_ANSWER_MAX)
        dynbuf_append_text(&text, "0123456789abcdef");
    assert_true(keep(store, &key, "", dynbuf_text(&text)));
    assert_int_equal(find(store, &key, NULL, NULL), STORE_KEY_MADE);
    dynbuf_fini(&text);
    store_close(store);
    snprintf(sql, sizeof sql,
             "INSERT INTO request_keys (id, scope, text, digest, time_ms)"
             " SELECT %d, 'x', 'x', zeroblob(32), %lld",
             STORE_KEYS_MAX + 1, (long long)clock_wall_ms());
    place_sql(place->path, sql);
    store = place_open(place);
    struct store_key next = key;
    next.text = "two";
    assert_int_equal(find(store, &next, NULL, NULL), STORE_KEY_FULL);
    assert_int_equal(find(store, &key, NULL, NULL), STORE_KEY_MADE);
    store_close(store);
}

/* As many keys as there may be, all of them too old: the next one finds room, and clears them. */
static void test_old_keys_take_no_place(void **state)
{
    struct place *place = *state;
    struct store *store = place_open(place);
    struct store_key next = key;
    char sql[160];
    next.text = "two";
    assert_int_equal(change_with(store, &key, true), STORE_CHANGED);
    store_close(store);
    snprintf(sql, sizeof sql,
             "INSERT INTO request_keys (id, scope, text, digest, time_ms)"
             " SELECT %d, 'x', 'x', zeroblob(32), 1",
             STORE_KEYS_MAX + 1);
    place_sql(place->path, sql);
    age_keys(place);
    store = place_open(place);
    assert_int_equal(find(store, &next, NULL, NULL), STORE_KEY_NEW);
    assert_int_equal(change_with(store, &next, false), STORE_CHANGED);
    assert_int_equal(find(store, &next, NULL, NULL), STORE_KEY_MADE);
    store_close(store);
    assert_int_equal(place_number(place->path, "SELECT count(*) FROM request_keys"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_key_is_noted_with_its_change, place_set_up,
                                        place_tear_down),
        cmocka_unit_test_setup_teardown(test_an_answer_without_a_change, place_set_up,
                                        place_tear_down),
        cmocka_unit_test_setup_teardown(test_a_change_that_fails_leaves_no_key, place_set_up,
                                        place_tear_down),
        cmocka_unit_test_setup_teardown(test_a_key_is_forgotten_after_a_day, place_set_up,
                                        place_tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_kept_is_bounded, place_set_up,
                                        place_tear_down),
        cmocka_unit_test_setup_teardown(test_old_keys_take_no_place, place_set_up, place_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
