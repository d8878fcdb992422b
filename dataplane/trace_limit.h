/* How many requests may be traced: a token bucket of the process, in one word. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/cache_line.h"
#include "common/check.h"

/* Alone on its cache line: every tracing worker writes it. */
struct trace_limit {
    _Alignas(CACHE_LINE_PAIR) _Atomic uint64_t next_ns; /* when the bucket will be full again */
};

/* Whether one more may be traced now: rate a second, at most that many at once; rate 0 and below:
 * any number. now_ns never goes back. */
MUST_CHECK bool trace_limit_take(struct trace_limit *limit, uint64_t now_ns, int rate);
