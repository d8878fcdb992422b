/* Plans of changes: every pair of phases with gates that hold and that do not, confirmation, force,
 * dry runs; and the body of PUT /api/v1/phase. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "controlplane/phase_request.h"

static struct change_facts facts_in(enum phase phase, bool gates_hold)
{
    const struct phase_shares none = {0};
    struct routing_patch patch;
    struct routing_problem problem;
    struct change_facts facts = {
        .since = {.revision = 3, .time_ms = 1700000000000},
        .limits = {.error_percent = 1, .latency_percent = 150, .quiet_minutes = 5}};
    if (gates_hold)
        facts.figures = (struct gate_figures){
            .connected = 1,
            .in_sync = 1,
            .origin_health = {true, 1},
            .target_health = {true, 1},
            .reads = {.is_known = true},
            .origin = {.is_known = true},
            .target = {.is_known = true},
            .shadow = {.is_known = true},
            .are_latencies_known = true,
            .are_failed_writes_known = true,
        };
    routing_defaults(&facts.present);
    assert_true(phase_preset(phase, &facts.present, &none, &patch, &problem));
    (void)routing_apply_patch(&facts.present, &patch);
    assert_int_equal(phase_of(&facts.present), phase);
    return facts;
}

static void test_every_pair(void **state)
{
    (void)state;
    for (int i = 0; i < PHASE_COUNT; i++) {
        for (int j = 0; j < PHASE_COUNT; j++) {
            enum phase from = (enum phase)i, to = (enum phase)j;
            struct phase_move move = phase_move(from, to);
            struct change_plan plan;
            struct change_facts facts = facts_in(from, true);
            struct change_wish wish = {.is_phase = true, .phase = to, .confirm = phase_name(to)};
            bool good = change_plan(&facts, &wish, &plan);
            if (good != move.is_allowed)
                fail_msg("%s to %s: %s", phase_name(from), phase_name(to), plan.problem.detail);
            if (!good) {
                assert_int_equal(plan.problem.status, 409);
                assert_string_equal(plan.problem.pointer, "/phase");
                continue;
            }
            assert_int_equal(phase_of(&plan.next), to);
            assert_int_equal(plan.changes, from != to);
            assert_int_equal(plan.next.revision, facts.present.revision + (from != to));
            assert_int_equal(plan.gates_hold, true);

            /* Confirmation: missing, of another phase, right. */
            wish.confirm = NULL;
            assert_int_equal(change_plan(&facts, &wish, &plan), !move.needs_confirmation);
            wish.confirm = "yes";
            assert_int_equal(change_plan(&facts, &wish, &plan), !move.needs_confirmation);
            if (move.needs_confirmation) {
                assert_int_equal(plan.problem.status, 409);
                assert_string_equal(plan.problem.pointer, "/confirm");
                assert_non_null(strstr(plan.problem.detail, "has seen no writes since 2023-11-14"));
            }
            wish.confirm = phase_name(to);

            /* Gates nobody knows: refused, by the number of them; forced with a reason only. */
            facts = facts_in(from, false);
            good = change_plan(&facts, &wish, &plan);
            assert_int_equal(good, move.gates == 0);
            if (!good) {
                assert_int_equal(plan.problem.status, 409);
                assert_true(plan.is_held_by_gates && plan.check_count > 0);
                wish.force = true;
                assert_false(change_plan(&facts, &wish, &plan));
                assert_int_equal(plan.problem.status, 422);
                assert_string_equal(plan.problem.pointer, "/reason");
                wish.has_reason = true;
                assert_true(change_plan(&facts, &wish, &plan));
                assert_false(plan.gates_hold);
                /* Force does not stand for the confirmation. */
                wish.confirm = NULL;
                assert_int_equal(change_plan(&facts, &wish, &plan), !move.needs_confirmation);
                wish.force = wish.has_reason = false;
            }
            /* A dry run tells of both and insists on neither. */
            wish.confirm = NULL;
            wish.is_dry_run = true;
            assert_true(change_plan(&facts, &wish, &plan));
            assert_int_equal(plan.needs_confirmation, move.needs_confirmation);
            assert_int_equal(plan.gates_hold, move.gates == 0);
        }
    }
}

/* A patch of members moves between the phases in which both clusters get the writes, and nowhere
 * else. */
static void test_patches_between_phases(void **state)
{
    const struct phase_shares none = {0};
    (void)state;
    for (int i = 0; i < PHASE_COUNT; i++) {
        for (int j = 0; j < PHASE_COUNT; j++) {
            struct change_facts facts = facts_in((enum phase)i, false);
            struct phase_move move = phase_move((enum phase)i, (enum phase)j);
            struct change_wish wish = {0};
            struct change_plan plan;
            struct routing_problem problem;
            assert_true(phase_preset((enum phase)j, &facts.present, &none, &wish.patch, &problem));
            bool good = change_plan(&facts, &wish, &plan);
            bool is_end = j == PHASE_PASSTHROUGH || j == PHASE_TARGET_ONLY;
            assert_int_equal(good,
                             i == j || (move.is_allowed && !move.needs_confirmation && !is_end));
            if (!good) {
                assert_int_equal(plan.problem.status, 409);
                assert_int_equal(strstr(plan.problem.detail, "PUT /api/v1/phase") != NULL,
                                 move.is_allowed);
            }
        }
    }
}

static void test_more_canary_reads_are_a_step_forward(void **state)
{
    struct change_facts facts = facts_in(PHASE_CANARY_READ, false);
    struct change_plan plan;
    struct change_wish wish = {
        .is_phase = true,
        .phase = PHASE_CANARY_READ,
        .shares = {.has_canary = true,
                   .canary_read_percent = (uint8_t)(facts.present.canary_read_percent + 1)}};
    (void)state;
    assert_false(change_plan(&facts, &wish, &plan));
    assert_true(plan.is_held_by_gates);
    wish.shares.canary_read_percent = (uint8_t)(facts.present.canary_read_percent - 1);
    assert_true(change_plan(&facts, &wish, &plan));
    wish.shares.canary_read_percent = facts.present.canary_read_percent;
    assert_true(change_plan(&facts, &wish, &plan));
    assert_false(plan.changes);
    facts = facts_in(PHASE_CANARY_READ, true);
    wish.shares.canary_read_percent = 100;
    assert_true(change_plan(&facts, &wish, &plan));
    assert_int_equal(plan.next.canary_read_percent, 100);
}

static void test_the_diff(void **state)
{
    struct change_facts facts = facts_in(PHASE_DUAL_WRITE, true);
    struct routing_state next = facts.present;
    struct dynbuf text;
    struct json_writer writer;
    (void)state;
    next.write_to_target = false;
    next.max_clients = 9;
    next.revision++;
    dynbuf_init(&text, 4096);
    json_writer_init(&writer, &text);
    change_write_diff(&facts.present, &next, &writer);
    assert_string_equal(dynbuf_text(&text),
                        "[{\"member\":\"write_to_target\",\"before\":true,\"after\":false},"
                        "{\"member\":\"max_clients\",\"before\":null,\"after\":9}]");
    dynbuf_fini(&text);
}

static void test_requests(void **state)
{
    static const struct {
        const char *text;
        int status; /* 0: good */
        const char *pointer;
    } cases[] = {
        {"{\"phase\":\"dual_write\"}", 0, ""},
        {"{\"phase\":\"shadow_read\",\"shadow_read_percent\":100,\"reason\":\"r\"}", 0, ""},
        {"{\"phase\":\"target_only\",\"force\":true,\"reason\":\"r\",\"confirm\":\"x\"}", 0, ""},
        {"{\"phase\":\"target_only\",\"force\":false}", 0, ""},
        {"", 400, ""},
        {"{\"phase\":", 400, ""},
        {"[]", 422, ""},
        {"{}", 422, "/phase"},
        {"{\"phase\":\"dual\"}", 422, "/phase"},
        {"{\"phase\":\"dual_write\\u0000\"}", 422, "/phase"},
        {"{\"phase\":\"a phase whose name is longer than any phase has\"}", 422, "/phase"},
        {"{\"phase\":1}", 422, "/phase"},
        {"{\"phase\":null}", 422, "/phase"},
        {"{\"phase\":\"dual_write\",\"shadow_read_percent\":101}", 422, "/shadow_read_percent"},
        {"{\"phase\":\"dual_write\",\"canary_read_percent\":-1}", 422, "/canary_read_percent"},
        {"{\"phase\":\"dual_write\",\"canary_read_percent\":\"5\"}", 422, "/canary_read_percent"},
        {"{\"phase\":\"dual_write\",\"force\":1,\"reason\":\"r\"}", 422, "/force"},
        {"{\"phase\":\"dual_write\",\"force\":true}", 422, "/reason"},
        {"{\"phase\":\"dual_write\",\"reason\":\"\"}", 422, "/reason"},
        {"{\"phase\":\"dual_write\",\"reason\":\" \\n\"}", 422, "/reason"},
        {"{\"phase\":\"dual_write\",\"reason\":7}", 422, "/reason"},
        {"{\"phase\":\"dual_write\",\"confirm\":true}", 422, "/confirm"},
        {"{\"phase\":\"dual_write\",\"Confirm\":\"dual_write\"}", 422, "/Confirm"},
    };
    struct phase_request request;
    struct routing_problem problem;
    char text[PHASE_REASON_MAX + 64];
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        problem = (struct routing_problem){0};
        bool good = phase_request_parse(cases[i].text, strlen(cases[i].text), &request, &problem);
        if (good != (cases[i].status == 0) || problem.status != cases[i].status ||
            strcmp(problem.pointer, cases[i].pointer) != 0)
            fail_msg("%s: %d %s %s", cases[i].text, problem.status, problem.pointer,
                     problem.detail);
    }
    for (int past = 0; past < 2; past++) { /* the longest reason, and one byte more */
        int length = snprintf(text, sizeof text, "{\"phase\":\"dual_write\",\"reason\":\"%0*d\"}",
                              PHASE_REASON_MAX + past, 0);
        assert_int_equal(phase_request_parse(text, (size_t)length, &request, &problem), past == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_pair),
        cmocka_unit_test(test_patches_between_phases),
        cmocka_unit_test(test_more_canary_reads_are_a_step_forward),
        cmocka_unit_test(test_the_diff),
        cmocka_unit_test(test_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
