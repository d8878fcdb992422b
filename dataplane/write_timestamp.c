/* One strictly increasing clock for all workers: one relaxed compare-and-swap a stamp. It must
 * never go back, also when the system's clock does. */
#include "dataplane/write_timestamp.h"

int64_t write_clock_next(struct write_clock *clock, int64_t now_us)
{
    int64_t last = atomic_load_explicit(&clock->last, memory_order_relaxed);
    int64_t next;
    do {
        next = now_us > last ? now_us : last + 1;
    } while (!atomic_compare_exchange_weak_explicit(&clock->last, &last, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    return next;
}
