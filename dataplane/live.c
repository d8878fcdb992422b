/* Which of two values of a live setting is in force: the snapshot's or the configuration's. Pure;
 * any thread. It must never keep a snapshot's value beyond that snapshot. */
#include "dataplane/live.h"

static bool switch_value(enum snapshot_switch from_snapshot, bool is_configured)
{
    return from_snapshot == SNAPSHOT_AS_CONFIGURED ? is_configured : from_snapshot == SNAPSHOT_ON;
}

struct live_settings live_settings_of(const struct config *config, const struct snapshot *snapshot)
{
    uint32_t timeout_ms = snapshot->request_timeout_ms > 0 ? snapshot->request_timeout_ms
                                                           : (uint32_t)config->request_timeout_ms;
    return (struct live_settings){
        .request_timeout_ns = timeout_ms * NS_PER_MS,
        .request_timeout_ms = timeout_ms,
        .max_clients = snapshot->max_clients > 0 ? snapshot->max_clients
                                                 : (uint32_t)config->max_clients_threshold,
        .replaces_functions =
            switch_value(snapshot->replace_cql_functions, config->replace_cql_functions),
        .stamps_writes = switch_value(snapshot->stamp_timestamps, config->stamp_write_timestamps),
    };
}

enum log_level live_log_level(const struct config *config, const struct snapshot *snapshot)
{
    return snapshot->has_log_level ? snapshot->log_level : config->log_level;
}
