/* What is believed of a node, and who is told of a change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <pthread.h>

#include "common/check.h"
#include "dataplane/node_health.h"

static void test_down_and_up(void **state)
{
    struct node_health *health = node_health_new(CLUSTER_TARGET, "10.0.0.1:9042");
    (void)state;
    assert_false(node_health_is_down(NULL));
    assert_false(node_health_is_down(health));
    assert_false(node_health_recover(health));
    assert_false(node_health_confirm(health));
    assert_true(node_health_fail(health));
    assert_false(node_health_fail(health)); /* known already */
    assert_true(node_health_is_down(health));
    assert_true(node_health_recover(health));
    assert_false(node_health_recover(health));
    assert_int_equal(health->failures, 2); /* an answer is not yet a service */
    assert_true(node_health_fail(health));
    assert_int_equal(health->failures, 3);
    assert_true(node_health_confirm(health));
    assert_int_equal(health->failures, 0);
    assert_false(node_health_is_down(health));
    node_health_put(node_health_get(health));
    node_health_put(health);
    node_health_put(NULL);
}

static void test_pauses_grow_and_end(void **state)
{
    uint32_t before = 0;
    (void)state;
    assert_int_equal(node_health_pause_ms(0), node_health_pause_ms(1));
    for (uint32_t failures = 1; failures < 100; failures++) {
        uint32_t pause = node_health_pause_ms(failures);
        assert_true(pause >= before);
        assert_in_range(pause, 500, 15000);
        before = pause;
    }
    assert_int_equal(node_health_pause_ms(UINT32_MAX), 15000);
}

struct rush {
    struct node_health *health;
    _Atomic unsigned told;
};

static void *report(void *context)
{
    struct rush *rush = context;
    for (int i = 0; i < 10000; i++)
        if (node_health_fail(rush->health))
            rush->told++;
    return NULL;
}

/* Many workers notice a dead node at once: one of them is told to say so. */
static void test_one_of_many_is_told(void **state)
{
    struct rush rush = {.health = node_health_new(CLUSTER_ORIGIN, "10.0.0.1:9042")};
    pthread_t threads[4];
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, report, &rush), 0);
    for (size_t i = 0; i < ARRAY_COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(rush.told, 1);
    assert_int_equal(rush.health->failures, 40000);
    node_health_put(rush.health);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_down_and_up),
        cmocka_unit_test(test_pauses_grow_and_end),
        cmocka_unit_test(test_one_of_many_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
