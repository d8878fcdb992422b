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
    assert_true(routing_parse_patch(both, sizeof both - 1, &patch, &problem));
    assert_true(patch.has_forward_reads_to_target && patch.has_forward_system_queries_to_target);
    assert_true(routing_apply_patch(&routing, &patch));
    assert_int_equal(routing.revision, 13);
    assert_false(routing_apply_patch(&routing, &patch));
    assert_int_equal(routing.revision, 13);
    assert_true(routing_parse_patch("{}", 2, &patch, &problem));
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
        {"{\"a/b~c\\u0007\":5}", 422, "/a~1b~0c?"},
        {"{\"forward_reads_to_targe\":true}", 422, "/forward_reads_to_targe"},
        {"{\"forward_reads_to_target\\u0000\":true}", 422, "/forward_reads_to_target?"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct routing_patch patch;
        struct routing_problem problem;
        assert_false(routing_parse_patch(cases[i].text, strlen(cases[i].text), &patch, &problem));
        assert_int_equal(problem.status, cases[i].status);
        assert_string_equal(problem.pointer, cases[i].pointer);
        assert_true(problem.detail[0] != '\0');
    }
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
        cmocka_unit_test(test_patches),
        cmocka_unit_test(test_problems),
        cmocka_unit_test(test_entity_tags),
        cmocka_unit_test(test_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
