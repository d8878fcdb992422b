/* Buckets in rings; one that is older than its ring is long is begun anew. Pure. */
#include "controlplane/rolling.h"

#include <string.h>

void rolling_add(struct rolling *rolling, int64_t now_s, const struct traffic *traffic)
{
    size_t at = (size_t)(now_s % ROLLING_SECONDS);
    size_t latency_at = (size_t)(now_s % ROLLING_LATENCY_SECONDS);
    if (rolling->first_s == 0)
        rolling->first_s = now_s;
    if (rolling->buckets[at].second != now_s) {
        memset(&rolling->buckets[at], 0, sizeof rolling->buckets[at]);
        rolling->buckets[at].second = now_s;
    }
    if (rolling->latencies[latency_at].second != now_s) {
        memset(&rolling->latencies[latency_at], 0, sizeof rolling->latencies[latency_at]);
        rolling->latencies[latency_at].second = now_s;
    }
    rolling->buckets[at].has_detail = rolling->buckets[at].has_detail || traffic->has_detail;
    for (size_t i = 0; i < TRAFFIC_COUNT; i++)
        rolling->buckets[at].counts[i] += traffic->counts[i];
    for (size_t side = 0; side < TRAFFIC_SIDES; side++)
        latency_merge(&rolling->latencies[latency_at].sides[side], &traffic->latencies[side]);
}

static void sum_latencies(const struct rolling *rolling, int64_t now_s, int64_t span_s,
                          struct traffic *sum)
{
    if (span_s > ROLLING_LATENCY_SECONDS)
        span_s = ROLLING_LATENCY_SECONDS;
    for (int64_t second = now_s - span_s + 1; second <= now_s; second++) {
        size_t at = (size_t)(second > 0 ? second % ROLLING_LATENCY_SECONDS : 0);
        if (second <= 0 || rolling->latencies[at].second != second)
            continue;
        for (size_t side = 0; side < TRAFFIC_SIDES; side++)
            latency_merge(&sum->latencies[side], &rolling->latencies[at].sides[side]);
    }
}

bool rolling_sum(const struct rolling *rolling, int64_t now_s, int64_t span_s, struct traffic *sum)
{
    bool looked = false;
    *sum = (struct traffic){.has_detail = false};
    if (span_s > ROLLING_SECONDS)
        span_s = ROLLING_SECONDS;
    for (int64_t second = now_s - span_s + 1; second <= now_s; second++) {
        size_t at = (size_t)(second > 0 ? second % ROLLING_SECONDS : 0);
        if (second <= 0 || rolling->buckets[at].second != second)
            continue;
        looked = true;
        sum->has_detail = sum->has_detail || rolling->buckets[at].has_detail;
        for (size_t i = 0; i < TRAFFIC_COUNT; i++)
            sum->counts[i] += rolling->buckets[at].counts[i];
    }
    sum_latencies(rolling, now_s, span_s, sum);
    return looked;
}
