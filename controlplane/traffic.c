/* Totals and what lies between two of them. Pure; any thread. Totals come from a peer: they may go
 * back, leap or contradict each other, which must cost no more than a wrong figure. */
#include "controlplane/traffic.h"

#include <string.h>

static const struct {
    const char *member;
    size_t offset;
    bool is_detail;
} rows[TRAFFIC_COUNT] = {
#define TRAFFIC(symbol, member, detail) {#member, offsetof(struct ctl_stats, member), detail},
#include "controlplane/traffic.def"
#undef TRAFFIC
};

bool traffic_is_detail(enum traffic_count count)
{
    return rows[count].is_detail;
}

bool traffic_read(const struct ctl_stats *stats, struct traffic_totals *totals, const char **member)
{
    const struct {
        const char *member;
        const char *text;
    } texts[TRAFFIC_SIDES] = {
        [TRAFFIC_ORIGIN] = {"latency_origin", stats->latency_origin},
        [TRAFFIC_TARGET] = {"latency_target", stats->latency_target},
        [TRAFFIC_ON_THE_SIDE] = {"latency_shadow", stats->latency_shadow},
    };
    totals->has_detail = stats->origin_health[0] != '\0' && stats->target_health[0] != '\0';
    for (size_t i = 0; i < TRAFFIC_COUNT; i++)
        memcpy(&totals->counts[i], (const char *)stats + rows[i].offset, sizeof totals->counts[i]);
    for (size_t side = 0; side < TRAFFIC_SIDES; side++) {
        *member = texts[side].member;
        if (!ctl_histogram_parse(texts[side].text, &totals->latencies[side]))
            return false;
    }
    return true;
}

/* Bounds that changed are those of another process: then nothing is known of the time between. */
static void add_latencies(const struct ctl_histogram *before, const struct ctl_histogram *now,
                          struct latency *latency)
{
    uint64_t low_us = 0;
    if (before->count != now->count)
        return;
    for (size_t i = 0; i < now->count; i++) {
        uint64_t high_us = now->buckets[i].bound_us;
        if (before->buckets[i].bound_us != high_us)
            return;
        if (now->buckets[i].total > before->buckets[i].total)
            latency_add(latency, low_us, high_us, now->buckets[i].total - before->buckets[i].total);
        low_us = high_us;
    }
}

bool traffic_between(const struct traffic_totals *before, const struct traffic_totals *now,
                     struct traffic *traffic)
{
    *traffic = (struct traffic){.has_detail = before->has_detail && now->has_detail};
    for (size_t i = 0; i < TRAFFIC_COUNT; i++) {
        if (now->counts[i] < before->counts[i])
            return false;
        traffic->counts[i] = now->counts[i] - before->counts[i];
    }
    for (size_t side = 0; side < TRAFFIC_SIDES; side++)
        add_latencies(&before->latencies[side], &now->latencies[side], &traffic->latencies[side]);
    return true;
}

void traffic_add(struct traffic *traffic, const struct traffic *other)
{
    traffic->has_detail = traffic->has_detail || other->has_detail;
    for (size_t i = 0; i < TRAFFIC_COUNT; i++)
        traffic->counts[i] += other->counts[i];
    for (size_t side = 0; side < TRAFFIC_SIDES; side++)
        latency_merge(&traffic->latencies[side], &other->latencies[side]);
}

void traffic_write(const struct traffic_totals *totals, struct json_writer *writer)
{
    for (size_t i = 0; i < TRAFFIC_COUNT; i++)
        if (totals->has_detail || !rows[i].is_detail)
            json_put_u64(writer, rows[i].member, totals->counts[i]);
}
