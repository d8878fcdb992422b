/* Sums over the last minutes of totals that only grow: one bucket a second, an hour long. Pure; the
 * caller brings the time and a lock. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define ROLLING_SECONDS 3600

struct rolling_counts {
    uint64_t reads, failed_reads, writes, failed_writes;
};

struct rolling {
    struct {
        int64_t second; /* 0: never used */
        struct rolling_counts counts;
    } buckets[ROLLING_SECONDS];
};

/* Adds what happened between two readings of the totals. now_s: seconds of any clock that does not
 * go back, above 0. Nothing happened is worth adding, too: somebody looked. */
void rolling_add(struct rolling *rolling, int64_t now_s, const struct rolling_counts *counts);
/* What happened over the last span_s seconds (at most ROLLING_SECONDS), this one included. false:
 * nobody looked in all that time. */
bool rolling_sum(const struct rolling *rolling, int64_t now_s, int64_t span_s,
                 struct rolling_counts *sum);
