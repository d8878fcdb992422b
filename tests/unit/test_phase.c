/* Phases: of every state, every preset, every pair of phases. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "controlplane/gate.h"
#include "controlplane/phase.h"

/* All combinations of the members that matter, with the shares at 0 and above. */
#define STATES 64

static struct routing_state state_of(unsigned number)
{
    struct routing_state state;
    routing_defaults(&state);
    state.forward_reads_to_target = number & 1;
    state.forward_system_queries_to_target = number & 2;
    state.write_to_origin = number & 4;
    state.write_to_target = number & 8;
    state.shadow_read_percent = number & 16 ? 30 : 0;
    state.canary_read_percent = number & 32 ? 5 : 0;
    return state;
}

static void test_rules_and_phases_of_all_states(void **unused)
{
    unsigned valid[PHASE_COUNT] = {0};
    (void)unused;
    for (unsigned number = 0; number < STATES; number++) {
        struct routing_state state = state_of(number);
        struct routing_problem problem = {0};
        bool reads = state.forward_reads_to_target;
        bool system = state.forward_system_queries_to_target;
        bool both = state.write_to_origin && state.write_to_target;
        bool shares = state.shadow_read_percent > 0 || state.canary_read_percent > 0;
        bool expected = both                    ? !(reads && state.canary_read_percent > 0)
                        : state.write_to_origin ? !reads && !system && !shares
                        : state.write_to_target ? reads && system && !shares
                                                : false;
        bool good = phase_check_state(&state, &problem);
        if (good != expected)
            fail_msg("state %u: %s", number, problem.detail);
        if (!good) {
            assert_int_equal(problem.status, 422);
            assert_true(problem.pointer[0] == '/' && problem.detail[0] != '\0');
        } else {
            valid[phase_of(&state)]++;
        }
    }
    assert_int_equal(valid[PHASE_PASSTHROUGH], 1);
    assert_int_equal(valid[PHASE_DUAL_WRITE], 2); /* system queries on either side */
    assert_int_equal(valid[PHASE_SHADOW_READ], 2);
    assert_int_equal(valid[PHASE_CANARY_READ], 4);
    assert_int_equal(valid[PHASE_TARGET_PRIMARY], 4);
    assert_int_equal(valid[PHASE_TARGET_ONLY], 1);
}

static void test_names(void **unused)
{
    enum phase phase;
    (void)unused;
    for (int i = 0; i < PHASE_COUNT; i++) {
        assert_true(phase_parse(phase_name((enum phase)i), &phase));
        assert_int_equal(phase, i);
        assert_true(strlen(phase_meaning((enum phase)i)) > 10);
    }
    assert_false(phase_parse("", &phase));
    assert_false(phase_parse("dual_writes", &phase));
    assert_false(phase_parse("DUAL_WRITE", &phase));
}

/* From every valid state, every phase's preset makes a valid state of exactly that phase. */
static void test_presets(void **unused)
{
    const struct phase_shares none = {0};
    (void)unused;
    for (unsigned number = 0; number < STATES; number++) {
        struct routing_state present = state_of(number);
        struct routing_problem problem;
        if (!phase_check_state(&present, &problem))
            continue;
        for (int to = 0; to < PHASE_COUNT; to++) {
            struct routing_state next = present;
            struct routing_patch patch;
            assert_true(phase_preset((enum phase)to, &present, &none, &patch, &problem));
            (void)routing_apply_patch(&next, &patch);
            assert_true(phase_check_state(&next, &problem));
            assert_int_equal(phase_of(&next), to);
            if (phase_of(&present) == (enum phase)to) { /* a share stays as long as the phase */
                assert_int_equal(next.shadow_read_percent, present.shadow_read_percent);
                assert_int_equal(next.canary_read_percent, present.canary_read_percent);
            }
        }
    }
}

static void test_shares(void **unused)
{
    /* least and most of each phase; most 0: it has no such share */
    static const struct {
        uint8_t shadow_least, shadow_most, canary_least, canary_most;
    } allowed[PHASE_COUNT] = {
        [PHASE_SHADOW_READ] = {1, 100, 0, 0},
        [PHASE_CANARY_READ] = {0, 100, 1, 100},
        [PHASE_TARGET_PRIMARY] = {0, 100, 0, 0},
    };
    struct routing_state present;
    (void)unused;
    routing_defaults(&present);
    for (int to = 0; to < PHASE_COUNT; to++) {
        for (unsigned share = 0; share <= 101; share++) {
            struct phase_shares shadow = {.has_shadow = true,
                                          .shadow_read_percent = (uint8_t)share};
            struct phase_shares canary = {.has_canary = true,
                                          .canary_read_percent = (uint8_t)share};
            struct routing_patch patch;
            struct routing_problem problem;
            bool good = phase_preset((enum phase)to, &present, &shadow, &patch, &problem);
            assert_int_equal(good,
                             share >= allowed[to].shadow_least && share <= allowed[to].shadow_most);
            if (good)
                assert_int_equal(patch.shadow_read_percent, share);
            else
                assert_string_equal(problem.pointer, "/shadow_read_percent");
            good = phase_preset((enum phase)to, &present, &canary, &patch, &problem);
            assert_int_equal(good,
                             share >= allowed[to].canary_least && share <= allowed[to].canary_most);
            if (good)
                assert_int_equal(patch.canary_read_percent, share);
            else
                assert_string_equal(problem.pointer, "/canary_read_percent");
        }
    }
}

static bool is_end(enum phase phase)
{
    return phase == PHASE_PASSTHROUGH || phase == PHASE_TARGET_ONLY;
}

/* Back is always allowed; forward by one step, with shadow and canary reads to be skipped. */
static void test_every_pair(void **unused)
{
    (void)unused;
    for (int i = 0; i < PHASE_COUNT; i++) {
        for (int j = 0; j < PHASE_COUNT; j++) {
            enum phase from = (enum phase)i, to = (enum phase)j;
            struct phase_move move = phase_move(from, to);
            bool expected = to <= from || to == from + 1 ||
                            (from >= PHASE_DUAL_WRITE && to <= PHASE_TARGET_PRIMARY);
            if (move.is_allowed != expected)
                fail_msg("%s to %s", phase_name(from), phase_name(to));
            if (!expected) {
                struct dynbuf text;
                dynbuf_init(&text, 1024);
                phase_explain_refusal(from, to, &text);
                assert_non_null(strstr(dynbuf_text(&text), phase_name(from)));
                assert_non_null(strstr(dynbuf_text(&text), "one can go to"));
                dynbuf_fini(&text);
                continue;
            }
            assert_int_equal(move.needs_confirmation, from != to && is_end(from));
            assert_int_equal(move.is_forward, to > from);
            if (to > from) /* no step forward without anybody looking */
                assert_int_equal(move.gates & GATES_FLEET, GATES_FLEET);
            if (to < from && from != PHASE_TARGET_ONLY)
                assert_int_equal(move.gates, 0); /* whoever must go back, must go back now */
            if (from == to)
                assert_true(move.gates == 0 && !move.needs_confirmation);
        }
    }
}

static void test_warnings(void **unused)
{
    const struct phase_since since = {.revision = 41, .time_ms = 1700000000000};
    (void)unused;
    for (int i = 0; i < PHASE_COUNT; i++) {
        for (int j = 0; j < PHASE_COUNT; j++) {
            enum phase from = (enum phase)i, to = (enum phase)j;
            struct dynbuf text;
            dynbuf_init(&text, 2048);
            phase_warn(from, to, &since, &text);
            assert_int_equal(text.length > 0, from != to && (is_end(from) || is_end(to)));
            if (from != to && is_end(from)) {
                const char *idle = from == PHASE_PASSTHROUGH ? "The target has seen no writes"
                                                             : "The origin has seen no writes";
                assert_non_null(strstr(dynbuf_text(&text), idle));
                assert_non_null(strstr(dynbuf_text(&text), "2023-11-14T22:13:20Z (revision 41)"));
            }
            dynbuf_fini(&text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules_and_phases_of_all_states),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_presets),
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_every_pair),
        cmocka_unit_test(test_warnings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
