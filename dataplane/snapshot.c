/* Counted routing snapshots. The count is the only shared word; the rest never changes after
 * snapshot_new. */
#include "dataplane/snapshot.h"

struct snapshot *snapshot_new(const struct snapshot *value)
{
    struct snapshot *snapshot = malloc(sizeof *snapshot);
    CHECK(snapshot != NULL);
    *snapshot = *value;
    atomic_init(&snapshot->references, 1);
    return snapshot;
}

struct snapshot *snapshot_get(struct snapshot *snapshot)
{
    atomic_fetch_add_explicit(&snapshot->references, 1, memory_order_relaxed);
    return snapshot;
}

void snapshot_put(struct snapshot *snapshot)
{
    if (snapshot != NULL &&
        atomic_fetch_sub_explicit(&snapshot->references, 1, memory_order_acq_rel) == 1)
        free(snapshot);
}

void snapshot_describe(const struct snapshot *snapshot, struct dynbuf *out)
{
    dynbuf_printf(out,
                  "revision=%llu forward_reads_to_target=%s forward_system_queries_to_target=%s "
                  "shadow_read_percent=%u",
                  (unsigned long long)snapshot->revision,
                  snapshot->forward_reads_to_target ? "true" : "false",
                  snapshot->forward_system_queries_to_target ? "true" : "false",
                  snapshot->shadow_read_percent);
}
