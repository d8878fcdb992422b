/* Counted routing snapshots. The count is the only shared word; the rest never changes after
 * snapshot_new. */
#include "dataplane/snapshot.h"

static _Atomic uint64_t last_serial;

struct snapshot *snapshot_new(const struct snapshot *value)
{
    struct snapshot *snapshot = malloc(sizeof *snapshot);
    CHECK(snapshot != NULL);
    *snapshot = *value;
    snapshot->serial = atomic_fetch_add(&last_serial, 1) + 1;
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

static void describe_switch(struct dynbuf *out, const char *name, enum snapshot_switch value)
{
    if (value != SNAPSHOT_AS_CONFIGURED)
        dynbuf_printf(out, " %s=%s", name, value == SNAPSHOT_ON ? "true" : "false");
}

void snapshot_describe(const struct snapshot *snapshot, struct dynbuf *out)
{
    dynbuf_printf(out,
                  "revision=%llu forward_reads_to_target=%s forward_system_queries_to_target=%s "
                  "shadow_read_percent=%u canary_read_percent=%u write_to_origin=%s "
                  "write_to_target=%s",
                  (unsigned long long)snapshot->revision,
                  snapshot->forward_reads_to_target ? "true" : "false",
                  snapshot->forward_system_queries_to_target ? "true" : "false",
                  snapshot->shadow_read_percent, snapshot->canary_read_percent,
                  snapshot->skip_writes[CLUSTER_ORIGIN] ? "false" : "true",
                  snapshot->skip_writes[CLUSTER_TARGET] ? "false" : "true");
    if (snapshot->request_timeout_ms > 0)
        dynbuf_printf(out, " request_timeout_ms=%u", snapshot->request_timeout_ms);
    if (snapshot->max_clients > 0)
        dynbuf_printf(out, " max_clients=%u", snapshot->max_clients);
    describe_switch(out, "replace_cql_functions", snapshot->replace_cql_functions);
    describe_switch(out, "stamp_timestamps", snapshot->stamp_timestamps);
    if (snapshot->has_log_level)
        dynbuf_printf(out, " log_level=%s", log_level_name(snapshot->log_level));
}
