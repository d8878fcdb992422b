/* The merge of two answers, against a table written from the compatible product's rules, and
 * against every order in which the outcomes may come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/merge.h"

#define OUTCOMES 6

/* Rows: the origin's outcome; columns: the target's; both in the order not asked, awaited, ok,
 * error, lost, expired. w: wait; o, t: that cluster's; a: the answerer's; -: nobody was asked. */
static const char rules[OUTCOMES][OUTCOMES + 1] = {
    "-wtttt", /* not asked */
    "wwwwww", /* awaited */
    "owattt", /* ok */
    "owoooo", /* error */
    "owoooo", /* lost */
    "owoooo", /* expired */
};

static const enum outcome outcomes_in_order[OUTCOMES] = {
    OUTCOME_NOT_ASKED, OUTCOME_AWAITED, OUTCOME_OK, OUTCOME_ERROR, OUTCOME_LOST, OUTCOME_EXPIRED,
};

static enum merge_verdict expected(char rule, enum cluster_id answerer)
{
    switch (rule) {
    case 'w':
        return MERGE_WAIT;
    case 'o':
        return MERGE_ANSWER_ORIGIN;
    case 't':
        return MERGE_ANSWER_TARGET;
    default:
        return answerer == CLUSTER_ORIGIN ? MERGE_ANSWER_ORIGIN : MERGE_ANSWER_TARGET;
    }
}

static void test_every_combination(void **state)
{
    int checked = 0;
    (void)state;
    for (int answerer = 0; answerer < CLUSTER_COUNT; answerer++) {
        for (int origin = 0; origin < OUTCOMES; origin++) {
            for (int target = 0; target < OUTCOMES; target++) {
                const enum outcome outcomes[CLUSTER_COUNT] = {outcomes_in_order[origin],
                                                              outcomes_in_order[target]};
                char rule = rules[origin][target];
                if (rule == '-')
                    continue;
                enum merge_verdict verdict = merge_decide(outcomes, (enum cluster_id)answerer);
                if (verdict != expected(rule, (enum cluster_id)answerer))
                    fail_msg("origin %d, target %d, answerer %d: verdict %d", origin, target,
                             answerer, (int)verdict);
                checked++;
            }
        }
    }
    assert_int_equal(checked, 2 * (OUTCOMES * OUTCOMES - 1));
}

static void test_failures(void **state)
{
    (void)state;
    assert_false(outcome_is_failure(OUTCOME_NOT_ASKED));
    assert_false(outcome_is_failure(OUTCOME_AWAITED));
    assert_false(outcome_is_failure(OUTCOME_OK));
    assert_true(outcome_is_failure(OUTCOME_ERROR));
    assert_true(outcome_is_failure(OUTCOME_LOST));
    assert_true(outcome_is_failure(OUTCOME_EXPIRED));
}

/* What may come from a cluster that is awaited. */
static const enum outcome arrivals[] = {OUTCOME_OK, OUTCOME_ERROR, OUTCOME_LOST, OUTCOME_EXPIRED};
#define ARRIVALS (sizeof arrivals / sizeof arrivals[0])

static bool brings_frame(enum outcome outcome)
{
    return outcome == OUTCOME_OK || outcome == OUTCOME_ERROR;
}

/* Whoever merges keeps the first frame only if merge_may_answer says so. Whatever the second
 * outcome is, the frame that is chosen must then be at hand; and a frame that can no longer be
 * chosen is not kept. */
static void test_chosen_frame_is_at_hand(void **state)
{
    int plays = 0;
    (void)state;
    for (int a = 0; a < CLUSTER_COUNT; a++) {
        enum cluster_id answerer = (enum cluster_id)a;
        for (int f = 0; f < CLUSTER_COUNT; f++) {
            enum cluster_id first = (enum cluster_id)f, second = cluster_other(first);
            for (size_t i = 0; i < ARRIVALS; i++) {
                enum outcome outcomes[CLUSTER_COUNT] = {OUTCOME_AWAITED, OUTCOME_AWAITED};
                outcomes[first] = arrivals[i];
                assert_int_equal(merge_decide(outcomes, answerer), MERGE_WAIT);
                bool is_held = brings_frame(arrivals[i]) &&
                               merge_may_answer(first, arrivals[i] == OUTCOME_ERROR, answerer);
                bool is_ever_chosen = false;
                for (size_t j = 0; j < ARRIVALS; j++) {
                    outcomes[second] = arrivals[j];
                    enum merge_verdict verdict = merge_decide(outcomes, answerer);
                    assert_int_not_equal(verdict, MERGE_WAIT);
                    enum cluster_id chosen =
                        verdict == MERGE_ANSWER_ORIGIN ? CLUSTER_ORIGIN : CLUSTER_TARGET;
                    if (chosen == first && brings_frame(outcomes[first])) {
                        is_ever_chosen = true;
                        if (!is_held)
                            fail_msg("answerer %d, first %d brought %d, second %d: frame dropped",
                                     a, f, (int)arrivals[i], (int)arrivals[j]);
                    }
                    plays++;
                }
                if (is_held && !is_ever_chosen)
                    fail_msg("answerer %d, first %d brought %d: kept for nothing", a, f,
                             (int)arrivals[i]);
            }
        }
    }
    assert_int_equal(plays, 2 * 2 * 4 * 4);
}

/* The client never hears "ok" for a request that failed somewhere. */
static void test_no_failure_is_hidden(void **state)
{
    (void)state;
    for (int answerer = 0; answerer < CLUSTER_COUNT; answerer++) {
        for (size_t i = 0; i < ARRIVALS; i++) {
            for (size_t j = 0; j < ARRIVALS; j++) {
                const enum outcome outcomes[CLUSTER_COUNT] = {arrivals[i], arrivals[j]};
                enum merge_verdict verdict = merge_decide(outcomes, (enum cluster_id)answerer);
                enum outcome shown =
                    outcomes[verdict == MERGE_ANSWER_ORIGIN ? CLUSTER_ORIGIN : CLUSTER_TARGET];
                bool is_any_failed =
                    outcome_is_failure(arrivals[i]) || outcome_is_failure(arrivals[j]);
                assert_int_equal(outcome_is_failure(shown), is_any_failed);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_combination),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_chosen_frame_is_at_hand),
        cmocka_unit_test(test_no_failure_is_hidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
