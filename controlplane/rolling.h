/* Sums over the last minutes of what passes through all data planes: a bucket a second, an hour
 * long for what is counted, shorter for latencies. Pure; the caller brings the time and a lock. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "controlplane/traffic.h"

#define ROLLING_SECONDS         3600
#define ROLLING_LATENCY_SECONDS 300

struct rolling {
    int64_t first_s; /* when somebody looked first; 0: never */
    struct {
        int64_t second; /* 0: never used */
        bool has_detail;
        uint64_t counts[TRAFFIC_COUNT];
    } buckets[ROLLING_SECONDS];
    struct {
        int64_t second;
        struct latency sides[TRAFFIC_SIDES];
    } latencies[ROLLING_LATENCY_SECONDS];
};

/* Adds what happened between two readings of the totals. now_s: seconds of any clock that does not
 * go back, above 0. Nothing happened is worth adding, too: somebody looked. */
void rolling_add(struct rolling *rolling, int64_t now_s, const struct traffic *traffic);
/* What happened over the last span_s seconds, this one included: at most ROLLING_SECONDS, of
 * latencies at most ROLLING_LATENCY_SECONDS. false: nobody looked in all that time. */
bool rolling_sum(const struct rolling *rolling, int64_t now_s, int64_t span_s, struct traffic *sum);
