/* The limit of traced requests: a second's worth at once, then as many as the rate gives back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/clock.h"
#include "dataplane/trace_limit.h"

static int take_all(struct trace_limit *limit, uint64_t now_ns, int rate)
{
    int taken = 0;
    while (taken < 10000 && trace_limit_take(limit, now_ns, rate))
        taken++;
    return taken;
}

static void test_rates(void **state)
{
    static const int rates[] = {1, 3, 10, 1000};
    uint64_t start = 5 * NS_PER_S;
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rates); i++) {
        int rate = rates[i];
        static struct trace_limit limit;
        limit = (struct trace_limit){.next_ns = 0};
        assert_int_equal(take_all(&limit, start, rate), rate);
        assert_int_equal(take_all(&limit, start, rate), 0);
        /* One is back after its share of a second, all after a second, no more after a minute. */
        assert_int_equal(take_all(&limit, start + NS_PER_S / (uint64_t)rate, rate), 1);
        assert_int_equal(take_all(&limit, start + 3 * NS_PER_S, rate), rate);
        assert_int_equal(take_all(&limit, start + 60 * NS_PER_S, rate), rate);
    }
}

static void test_without_a_limit(void **state)
{
    static struct trace_limit limit;
    (void)state;
    assert_int_equal(take_all(&limit, NS_PER_S, 0), 10000);
    assert_int_equal(take_all(&limit, NS_PER_S, -5), 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_without_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
