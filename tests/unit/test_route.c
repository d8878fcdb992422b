/* Plans: where each class of request goes under each routing state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/route.h"

/* Under (reads to target, system queries to target): "o" and "t" are a single cluster, which also
 * answers; "O" and "T" both clusters, answered by that one. */
static const struct {
    enum request_class class;
    bool is_prepare;
    char plans[2][2];
} vectors[] = {
    {REQUEST_READ, false, {{'o', 'o'}, {'t', 't'}}},
    {REQUEST_SYSTEM_READ, false, {{'o', 't'}, {'o', 't'}}},
    {REQUEST_WRITE, false, {{'O', 'O'}, {'T', 'T'}}},
    {REQUEST_USE, false, {{'O', 'O'}, {'T', 'T'}}},
    {REQUEST_CONTROL, false, {{'O', 'O'}, {'T', 'T'}}},
    {REQUEST_CONTROL, true, {{'O', 'O'}, {'O', 'O'}}},
};

static void test_plans(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        for (int reads = 0; reads < 2; reads++) {
            for (int system = 0; system < 2; system++) {
                const struct snapshot snapshot = {.forward_reads_to_target = reads == 1,
                                                  .forward_system_queries_to_target = system == 1};
                char want = vectors[i].plans[reads][system];
                struct plan plan =
                    route_plan(vectors[i].class, vectors[i].is_prepare, &snapshot, 0);
                enum cluster_id answerer =
                    want == 'o' || want == 'O' ? CLUSTER_ORIGIN : CLUSTER_TARGET;
                bool is_both = want == 'O' || want == 'T';
                if (plan.answerer != answerer || !plan.sends[answerer] ||
                    plan.sends[cluster_other(answerer)] != is_both)
                    fail_msg("vector %zu, reads %d, system %d: sends %d %d, answerer %s", i, reads,
                             system, plan.sends[CLUSTER_ORIGIN], plan.sends[CLUSTER_TARGET],
                             cluster_name(plan.answerer));
            }
        }
    }
}

/* A cluster that is not written is sent nothing, and the other one answers; reads go as ever. Each
 * row: class, PREPARE, reads on the target, idle cluster, the plan as above. */
static void test_idle_clusters(void **state)
{
    static const struct {
        enum request_class class;
        bool is_prepare, reads_on_target;
        enum cluster_id idle;
        char want;
    } rows[] = {
        {REQUEST_WRITE, false, false, CLUSTER_TARGET, 'o'},
        {REQUEST_WRITE, false, true, CLUSTER_ORIGIN, 't'},
        {REQUEST_USE, false, false, CLUSTER_TARGET, 'o'},
        {REQUEST_USE, false, true, CLUSTER_ORIGIN, 't'},
        {REQUEST_CONTROL, true, false, CLUSTER_TARGET, 'o'},
        {REQUEST_CONTROL, true, true, CLUSTER_ORIGIN, 't'},
        {REQUEST_READ, false, false, CLUSTER_TARGET, 'o'},
        {REQUEST_READ, false, true, CLUSTER_ORIGIN, 't'},
        {REQUEST_SYSTEM_READ, false, false, CLUSTER_TARGET, 'o'},
        {REQUEST_SYSTEM_READ, false, true, CLUSTER_ORIGIN, 't'},
        /* Against the rules, but never to nobody, and never answered by who is not asked. */
        {REQUEST_WRITE, false, true, CLUSTER_TARGET, 'o'},
        {REQUEST_WRITE, false, false, CLUSTER_ORIGIN, 't'},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct snapshot snapshot = {.forward_reads_to_target = rows[i].reads_on_target,
                                    .forward_system_queries_to_target = rows[i].reads_on_target};
        snapshot.skip_writes[rows[i].idle] = true;
        struct plan plan = route_plan(rows[i].class, rows[i].is_prepare, &snapshot, 0);
        enum cluster_id want = rows[i].want == 'o' ? CLUSTER_ORIGIN : CLUSTER_TARGET;
        if (plan.answerer != want || plan_asks(plan) != 1u << want)
            fail_msg("row %zu: asks %u, answerer %s", i, plan_asks(plan),
                     cluster_name(plan.answerer));
        assert_int_equal(snapshot_leading_cluster(&snapshot), cluster_other(rows[i].idle));
    }
}

/* A share takes exactly so many of a hundred sessions, the same ones as it grows, and only their
 * reads. */
static void test_canary_reads(void **state)
{
    (void)state;
    for (unsigned percent = 0; percent <= 100; percent++) {
        const struct snapshot snapshot = {.canary_read_percent = (uint8_t)percent,
                                          .forward_system_queries_to_target = false};
        unsigned count = 0;
        for (uint32_t serial = 1000; serial < 1100; serial++) {
            uint8_t number = route_canary_number(serial);
            struct plan read = route_plan(REQUEST_READ, false, &snapshot, number);
            struct plan system = route_plan(REQUEST_SYSTEM_READ, false, &snapshot, number);
            struct plan write = route_plan(REQUEST_WRITE, false, &snapshot, number);
            bool is_canary = number < percent;
            count += is_canary;
            assert_int_equal(read.answerer, is_canary ? CLUSTER_TARGET : CLUSTER_ORIGIN);
            assert_true(read.sends[read.answerer]);
            assert_false(read.sends[cluster_other(read.answerer)]);
            assert_int_equal(system.answerer, CLUSTER_ORIGIN);
            assert_false(system.sends[CLUSTER_TARGET]);
            assert_int_equal(write.answerer, CLUSTER_ORIGIN);
            assert_true(write.sends[CLUSTER_ORIGIN] && write.sends[CLUSTER_TARGET]);
        }
        assert_int_equal(count, percent);
    }
}

/* Of ten sessions in a row a third is two to four, wherever one begins. */
static void test_canary_numbers_are_spread(void **state)
{
    (void)state;
    for (uint32_t first = 0; first < 100; first++) {
        unsigned count = 0;
        for (uint32_t serial = first; serial < first + 10; serial++)
            count += route_canary_number(serial) < 33;
        assert_in_range(count, 2, 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plans), cmocka_unit_test(test_idle_clusters),
        cmocka_unit_test(test_canary_reads), cmocka_unit_test(test_canary_numbers_are_spread)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
