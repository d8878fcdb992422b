/* What the control plane is told each second: sums over what the workers count for /metrics
 * anyway, and whether both clusters are well. Main thread. */
#pragma once

#include "dataplane/cluster_id.h"

struct cluster;
struct ctl_stats;

/* clusters: the control connections; NULL where there is none yet. */
void stats_read(struct cluster *const clusters[CLUSTER_COUNT], struct ctl_stats *stats);
