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
                struct plan plan = route_plan(vectors[i].class, vectors[i].is_prepare, &snapshot);
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plans)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
