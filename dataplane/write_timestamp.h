/* Write timestamps of the proxy's own: microseconds since the epoch, strictly increasing over all
 * workers of the process, so that a write without a client timestamp is as old on one cluster as on
 * the other. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "common/cache_line.h"

/* Alone on its cache line: every stamping worker writes it. */
struct write_clock {
    _Alignas(CACHE_LINE_PAIR) _Atomic int64_t last;
};

/* now_us, or the next microsecond after the last one handed out if that is later. */
int64_t write_clock_next(struct write_clock *clock, int64_t now_us);
