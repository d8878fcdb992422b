/* Latencies of many data planes in one histogram. Data planes bring buckets of their own, as each
 * is configured; here they are spread over cells that are the same for all, four an octave, so that
 * sums over data planes and over time still have percentiles. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define LATENCY_CELLS 73 /* up to 125 us, … 27 s, and all above */

struct latency {
    uint32_t cells[LATENCY_CELLS]; /* stay at their maximum rather than wrap */
};

/* count observations above low_us and up to high_us, taken to lie evenly between the two.
 * UINT64_MAX: no upper bound; they are taken to lie up to twice low_us. */
void latency_add(struct latency *latency, uint64_t low_us, uint64_t high_us, uint64_t count);
void latency_merge(struct latency *latency, const struct latency *other);
/* What permille of 1,000 observations do not exceed, between two bounds of a cell as if they lay
 * evenly there. false: there are none. */
bool latency_percentile(const struct latency *latency, unsigned permille, uint64_t *us);
