/* Rules of the routing state: patches, entity tags, snapshots. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "controlplane/routing.h"

static struct routing_state example(void)
{
    struct routing_state state;
    routing_defaults(&state);
    snprintf(state.store_id, sizeof state.store_id, "11111111-2222-4333-8444-555555555555");
    state.revision = 12;
    return state;
}

static void test_patches(void **state)
{
    struct routing_patch patch;
    struct routing_problem problem;
    struct routing_state routing = example();
    static const char both[] =
        "{\"forward_reads_to_target\":true,\"forward_system_queries_to_target\":true}";
    (void)state;
    assert_false(routing.forward_reads_to_target);
    assert_true(routing.forward_system_queries_to_target);
    assert_true(
        routing_parse_patch(both, sizeof both - 1, ROUTING_GROUP_ROUTING, &patch, &problem));
    assert_true(patch.has_forward_reads_to_target && patch.has_forward_system_queries_to_target);
    assert_true(routing_apply_patch(&routing, &patch));
    assert_int_equal(routing.revision, 13);
    assert_false(routing_apply_patch(&routing, &patch));
    assert_int_equal(routing.revision, 13);
    assert_true(routing_parse_patch("{}", 2, ROUTING_GROUP_ROUTING, &patch, &problem));
    assert_false(routing_apply_patch(&routing, &patch));
}

static void test_problems(void **state)
{
    static const struct {
        const char *text;
        int status;
        const char *pointer;
    } cases[] = {
        {"", 400, ""},
        {"{\"a\"", 400, ""},
        {"[]", 422, ""},
        {"\"x\"", 422, ""},
        {"{\"forward_reads_to_target\":null}", 422, "/forward_reads_to_target"},
        {"{\"forward_reads_to_target\":\"yes\"}", 422, "/forward_reads_to_target"},
        {"{\"forward_system_queries_to_target\":0}", 422, "/forward_system_queries_to_target"},
        {"{\"revision\":5}", 422, "/revision"},
        {"{\"phase\":\"dual_write\"}", 422, "/phase"},
        {"{\"shadow_read_percent\":101}", 422, "/shadow_read_percent"},
        {"{\"canary_read_percent\":-1}", 422, "/canary_read_percent"},
        {"{\"canary_read_percent\":null}", 422, "/canary_read_percent"},
        {"{\"write_to_origin\":1}", 422, "/write_to_origin"},
        {"{\"max_clients\":5}", 422, "/max_clients"},
        {"{\"a/b~c\\u0007\":5}", 422, "/a~1b~0c?"},
        {"{\"forward_reads_to_targe\":true}", 422, "/forward_reads_to_targe"},
        {"{\"forward_reads_to_target\\u0000\":true}", 422, "/forward_reads_to_target?"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct routing_patch patch;
        struct routing_problem problem;
        assert_false(routing_parse_patch(cases[i].text, strlen(cases[i].text),
                                         ROUTING_GROUP_ROUTING, &patch, &problem));
        assert_int_equal(problem.status, cases[i].status);
        assert_string_equal(problem.pointer, cases[i].pointer);
        assert_true(problem.detail[0] != '\0');
    }
}

/* Live settings: each value at its limits and past them, and null. */
static void test_settings(void **state)
{
    static const struct {
        const char *text;
        bool good;
    } cases[] = {
        {"{\"request_timeout_ms\":1}", true},
        {"{\"request_timeout_ms\":3600000}", true},
        {"{\"request_timeout_ms\":0}", false},
        {"{\"request_timeout_ms\":3600001}", false},
        {"{\"request_timeout_ms\":1.5}", false},
        {"{\"request_timeout_ms\":\"5\"}", false},
        {"{\"request_timeout_ms\":null}", true},
        {"{\"max_clients\":1}", true},
        {"{\"max_clients\":1000000}", true},
        {"{\"max_clients\":0}", false},
        {"{\"max_clients\":1000001}", false},
        {"{\"replace_cql_functions\":true}", true},
        {"{\"replace_cql_functions\":false}", true},
        {"{\"replace_cql_functions\":null}", true},
        {"{\"replace_cql_functions\":1}", false},
        {"{\"stamp_timestamps\":\"true\"}", false},
        {"{\"log_level\":\"DEBUG\"}", true},
        {"{\"log_level\":\"ERROR\"}", true},
        {"{\"log_level\":\"debug\"}", false},
        {"{\"log_level\":\"DEBUG\\u0000\"}", false},
        {"{\"log_level\":\"\"}", false},
        {"{\"log_level\":4}", false},
        {"{\"log_level\":null}", true},
        {"{\"forward_reads_to_target\":true}", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct routing_patch patch;
        struct routing_problem problem = {0};
        bool good = routing_parse_patch(cases[i].text, strlen(cases[i].text),
                                        ROUTING_GROUP_SETTINGS, &patch, &problem);
        if (good != cases[i].good)
            fail_msg("%s: %s", cases[i].text, problem.detail);
        if (!good)
            assert_true(problem.status == 422 && problem.pointer[0] == '/');
    }
}

/* Every member is set by a patch, seen in the state, in the JSON and in the snapshot, and taken
 * back by null. */
static void test_every_member(void **state)
{
    static const char set[] = "{\"request_timeout_ms\":2500,\"max_clients\":7,"
                              "\"replace_cql_functions\":false,\"stamp_timestamps\":true,"
                              "\"log_level\":\"WARN\"}";
    static const char unset[] = "{\"request_timeout_ms\":null,\"max_clients\":null,"
                                "\"replace_cql_functions\":null,\"stamp_timestamps\":null,"
                                "\"log_level\":null}";
    struct routing_state routing = example();
    const struct routing_state before = routing;
    struct routing_patch patch;
    struct routing_problem problem;
    struct ctl_snapshot snapshot, plain;
    struct dynbuf text;
    struct json_writer writer;
    (void)state;
    routing_snapshot(&routing, 1, false, &plain);
    assert_true(routing_parse_patch(set, sizeof set - 1, ROUTING_GROUP_SETTINGS, &patch, &problem));
    assert_true(routing_apply_patch(&routing, &patch));
    routing.canary_read_percent = 9;
    routing.write_to_target = false;
    routing_snapshot(&routing, 1, false, &snapshot);
    assert_int_equal(snapshot.request_timeout_ms, 2500);
    assert_int_equal(snapshot.max_clients, 7);
    assert_string_equal(snapshot.replace_cql_functions, "false");
    assert_string_equal(snapshot.stamp_timestamps, "true");
    assert_string_equal(snapshot.log_level, "WARN");
    assert_int_equal(snapshot.canary_read_percent, 9);
    assert_true(snapshot.skip_target && !snapshot.skip_origin);
    dynbuf_init(&text, 4096);
    json_writer_init(&writer, &text);
    routing_write_all(&routing, &writer);
    assert_string_equal(
        dynbuf_text(&text),
        "{\"revision\":13,\"forward_reads_to_target\":false,"
        "\"forward_system_queries_to_target\":true,\"shadow_read_percent\":0,"
        "\"canary_read_percent\":9,\"write_to_origin\":true,\"write_to_target\":false,"
        "\"request_timeout_ms\":2500,\"max_clients\":7,\"replace_cql_functions\":false,"
        "\"stamp_timestamps\":true,\"log_level\":\"WARN\"}");
    dynbuf_fini(&text);
    routing.canary_read_percent = 0;
    routing.write_to_target = true;
    assert_true(
        routing_parse_patch(unset, sizeof unset - 1, ROUTING_GROUP_SETTINGS, &patch, &problem));
    assert_true(routing_apply_patch(&routing, &patch));
    for (size_t i = 0; i < routing_member_count; i++)
        assert_int_equal(routing_get(&routing, &routing_members[i]),
                         routing_get(&before, &routing_members[i]));
    routing.revision = before.revision;
    routing_snapshot(&routing, 1, false, &snapshot);
    assert_string_equal(snapshot.digest, plain.digest); /* defaults stay out of the digest */
}

static void test_entity_tags(void **state)
{
#define TAG "\"11111111-2222-4333-8444-555555555555.12\""
    static const struct {
        const char *header;
        bool matches;
    } cases[] = {
        {NULL, true},
        {"*", true},
        {TAG, true},
        {" " TAG " ", true},
        {"\"x\", " TAG, true},
        {TAG ",\"x\"", true},
        {"\"x\" ," TAG " , \"y\"", true},
        {"W/\"x\", " TAG, true},
        {"\"a,b\"," TAG, true},
        {"", false},
        {"W/" TAG, false},
        {"\"x\"", false},
        {"12", false},
        {TAG "x", false},
        {"\"11111111-2222-4333-8444-555555555555.1\"", false},
        {"\"11111111-2222-4333-8444-555555555555.120\"", false},
        {"\"" TAG, false},
        {"\"unterminated", false},
        {",,,", false},
        {"x*", false},
        {" * ", true},
        {"**", false},
        {"*x", false},
        {"\"x\", *", false},
        {"\"x\" *", false},
        {"\"x\"" TAG, false},
        {"W", false},
        {"/", false},
    };
    struct routing_state routing = example();
    char etag[ROUTING_ETAG_SIZE];
    (void)state;
    routing_etag(&routing, etag);
    assert_string_equal(etag, TAG);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        if (routing_matches(&routing, cases[i].header) != cases[i].matches)
            fail_msg("If-Match: %s", cases[i].header == NULL ? "(none)" : cases[i].header);
}

static void test_snapshot(void **state)
{
    struct routing_state routing = example();
    struct ctl_snapshot snapshot;
    char digest[CTL_DIGEST_HEX + 1];
    (void)state;
    routing_snapshot(&routing, 5, true, &snapshot);
    assert_int_equal(snapshot.nonce, 5);
    assert_int_equal(snapshot.revision, 12);
    assert_true(snapshot.adopt && snapshot.forward_system_queries_to_target &&
                !snapshot.forward_reads_to_target);
    assert_string_equal(snapshot.store_id, routing.store_id);
    ctl_snapshot_digest(&snapshot, digest);
    assert_string_equal(snapshot.digest, digest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patches),     cmocka_unit_test(test_problems),
        cmocka_unit_test(test_settings),    cmocka_unit_test(test_every_member),
        cmocka_unit_test(test_entity_tags), cmocka_unit_test(test_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
