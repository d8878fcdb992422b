/* Buckets in a ring; one that is older than the ring is long is begun anew. Pure. */
#include "controlplane/rolling.h"

#include <stddef.h>

void rolling_add(struct rolling *rolling, int64_t now_s, const struct rolling_counts *counts)
{
    size_t at = (size_t)(now_s % ROLLING_SECONDS);
    if (rolling->buckets[at].second != now_s) {
        rolling->buckets[at].second = now_s;
        rolling->buckets[at].counts = (struct rolling_counts){0};
    }
    struct rolling_counts *bucket = &rolling->buckets[at].counts;
    bucket->reads += counts->reads;
    bucket->failed_reads += counts->failed_reads;
    bucket->writes += counts->writes;
    bucket->failed_writes += counts->failed_writes;
}

bool rolling_sum(const struct rolling *rolling, int64_t now_s, int64_t span_s,
                 struct rolling_counts *sum)
{
    bool looked = false;
    *sum = (struct rolling_counts){0};
    if (span_s > ROLLING_SECONDS)
        span_s = ROLLING_SECONDS;
    for (int64_t second = now_s - span_s + 1; second <= now_s; second++) {
        if (second <= 0 || rolling->buckets[second % ROLLING_SECONDS].second != second)
            continue;
        const struct rolling_counts *bucket = &rolling->buckets[second % ROLLING_SECONDS].counts;
        looked = true;
        sum->reads += bucket->reads;
        sum->failed_reads += bucket->failed_reads;
        sum->writes += bucket->writes;
        sum->failed_writes += bucket->failed_writes;
    }
    return looked;
}
