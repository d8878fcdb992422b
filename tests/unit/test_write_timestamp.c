/* The proxy's write timestamps: the clock's, never twice, never back, also with many threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/check.h"
#include "dataplane/write_timestamp.h"

static void test_follows_the_clock(void **state)
{
    static struct write_clock clock;
    (void)state;
    assert_int_equal(write_clock_next(&clock, 1000), 1000);
    assert_int_equal(write_clock_next(&clock, 2000), 2000);
    assert_int_equal(write_clock_next(&clock, 2000), 2001);
    assert_int_equal(write_clock_next(&clock, 500), 2002); /* the clock was set back */
    assert_int_equal(write_clock_next(&clock, 2003), 2003);
}

enum { THREADS = 4, STAMPS = 20000 };

struct stamper {
    struct write_clock *clock;
    int64_t stamps[STAMPS];
};

static void *stamp(void *context)
{
    struct stamper *stamper = context;
    for (int i = 0; i < STAMPS; i++)
        stamper->stamps[i] = write_clock_next(stamper->clock, 1 + i / 100);
    return NULL;
}

static void test_no_two_threads_get_the_same(void **state)
{
    static struct write_clock clock;
    static struct stamper stampers[THREADS];
    static uint8_t seen[THREADS * STAMPS + 1];
    pthread_t threads[THREADS];
    (void)state;
    for (int i = 0; i < THREADS; i++) {
        stampers[i].clock = &clock;
        assert_int_equal(pthread_create(&threads[i], NULL, stamp, &stampers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    /* The clock of the stampers lags far behind their number, so the stamps are 1, 2, 3, …; each
     * thread's rise. */
    for (int i = 0; i < THREADS; i++) {
        for (int k = 0; k < STAMPS; k++) {
            int64_t at = stampers[i].stamps[k];
            assert_in_range(at, 1, THREADS * STAMPS);
            assert_int_equal(seen[at]++, 0);
            assert_true(k == 0 || at > stampers[i].stamps[k - 1]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_follows_the_clock),
        cmocka_unit_test(test_no_two_threads_get_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
