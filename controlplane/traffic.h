/* What passes through data planes: the totals one of them tells, and what happened between two
 * readings. Pure. The table is traffic.def. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "common/json.h"
#include "controlplane/latency.h"
#include "proto/ctl_codec.h"
#include "proto/ctl_histogram.h"

enum traffic_count {
#define TRAFFIC(symbol, member, detail) TRAFFIC_##symbol,
#include "controlplane/traffic.def"
#undef TRAFFIC
    TRAFFIC_COUNT
};

/* Who answered: the clusters for clients, and whichever was asked on the side. */
enum traffic_side { TRAFFIC_ORIGIN, TRAFFIC_TARGET, TRAFFIC_ON_THE_SIDE, TRAFFIC_SIDES };

struct traffic_totals { /* since the data plane started */
    bool has_detail;    /* of each cluster */
    uint64_t counts[TRAFFIC_COUNT];
    struct ctl_histogram latencies[TRAFFIC_SIDES];
};

struct traffic { /* in some time, of some data planes */
    bool has_detail;
    uint64_t counts[TRAFFIC_COUNT];
    struct latency latencies[TRAFFIC_SIDES];
};

/* true: older data planes do not tell it. */
bool traffic_is_detail(enum traffic_count count);
/* false: a latency text is none; *member names it. */
MUST_CHECK bool traffic_read(const struct ctl_stats *stats, struct traffic_totals *totals,
                             const char **member);
/* What happened between two readings of one data plane. false: nothing can be said, as a total has
 * gone back. */
MUST_CHECK bool traffic_between(const struct traffic_totals *before,
                                const struct traffic_totals *now, struct traffic *traffic);
void traffic_add(struct traffic *traffic, const struct traffic *other);
/* The totals as members of the object that is open; without those the data plane does not tell. */
void traffic_write(const struct traffic_totals *totals, struct json_writer *writer);
