/* The bucket is kept as the time at which it would be full: taking one moves that time on by what
 * one costs, and there is one left while it is not more than a second away. */
#include "dataplane/trace_limit.h"

#include "common/clock.h"

bool trace_limit_take(struct trace_limit *limit, uint64_t now_ns, int rate)
{
    if (rate <= 0)
        return true;
    uint64_t interval = NS_PER_S / (uint64_t)rate;
    uint64_t next = atomic_load_explicit(&limit->next_ns, memory_order_relaxed);
    uint64_t after;
    do {
        after = (next > now_ns ? next : now_ns) + interval;
        if (after - now_ns > NS_PER_S)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&limit->next_ns, &next, after,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}
