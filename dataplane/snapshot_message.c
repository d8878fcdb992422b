/* Snapshots to messages and back. Pure; any thread. What a message asks that this data plane cannot
 * do is refused: an acknowledgement must mean that it is done. */
#include "dataplane/snapshot_message.h"

#include <stdio.h>
#include <string.h>

#include "proto/ctl_features.h"

static const char *const switch_words[] = {
    [SNAPSHOT_AS_CONFIGURED] = "", [SNAPSHOT_OFF] = "false", [SNAPSHOT_ON] = "true"};

static enum snapshot_switch read_switch(const char *text)
{
    for (size_t i = 0; i < ARRAY_COUNT(switch_words); i++)
        if (strcmp(switch_words[i], text) == 0)
            return (enum snapshot_switch)i;
    return SNAPSHOT_AS_CONFIGURED;
}

void snapshot_to_message(const struct snapshot *snapshot, struct ctl_snapshot *message)
{
    *message = (struct ctl_snapshot){
        .revision = snapshot->revision,
        .forward_reads_to_target = snapshot->forward_reads_to_target,
        .forward_system_queries_to_target = snapshot->forward_system_queries_to_target,
        .shadow_read_percent = snapshot->shadow_read_percent,
        .canary_read_percent = snapshot->canary_read_percent,
        .skip_origin = snapshot->skip_writes[CLUSTER_ORIGIN],
        .skip_target = snapshot->skip_writes[CLUSTER_TARGET],
        .request_timeout_ms = snapshot->request_timeout_ms,
        .max_clients = snapshot->max_clients,
    };
    memcpy(message->store_id, snapshot->store_id, sizeof message->store_id);
    memcpy(message->digest, snapshot->digest, sizeof message->digest);
    snprintf(message->replace_cql_functions, sizeof message->replace_cql_functions, "%s",
             switch_words[snapshot->replace_cql_functions]);
    snprintf(message->stamp_timestamps, sizeof message->stamp_timestamps, "%s",
             switch_words[snapshot->stamp_timestamps]);
    if (snapshot->has_log_level)
        snprintf(message->log_level, sizeof message->log_level, "%s",
                 log_level_name(snapshot->log_level));
}

void snapshot_from_message(const struct ctl_snapshot *message, struct snapshot *snapshot)
{
    *snapshot = (struct snapshot){
        .revision = message->revision,
        .forward_reads_to_target = message->forward_reads_to_target,
        .forward_system_queries_to_target = message->forward_system_queries_to_target,
        .shadow_read_percent = (uint8_t)message->shadow_read_percent,
        .canary_read_percent = (uint8_t)message->canary_read_percent,
        .skip_writes =
            {[CLUSTER_ORIGIN] = message->skip_origin, [CLUSTER_TARGET] = message->skip_target},
        .request_timeout_ms = (uint32_t)message->request_timeout_ms,
        .max_clients = (uint32_t)message->max_clients,
        .replace_cql_functions = read_switch(message->replace_cql_functions),
        .stamp_timestamps = read_switch(message->stamp_timestamps),
    };
    memcpy(snapshot->store_id, message->store_id, sizeof snapshot->store_id);
    memcpy(snapshot->digest, message->digest, sizeof snapshot->digest);
    snapshot->has_log_level = log_level_named(message->log_level, &snapshot->log_level);
}

const char *snapshot_refuse_message(const struct ctl_snapshot *message, const char **member,
                                    char *detail, size_t detail_size)
{
    if (!ctl_snapshot_is_sound(message, member)) {
        snprintf(detail, detail_size, "the value of %s is not one it can have", *member);
        return "out_of_range";
    }
    uint32_t missing = ctl_features_needed(message) & ~ctl_features_announced(SNAPSHOT_FEATURES);
    if (missing != 0) {
        *member = ctl_features_word(missing);
        snprintf(detail, detail_size, "this data plane has no %s: %s", ctl_features_word(missing),
                 ctl_features_meaning(missing));
        return "not_supported";
    }
    return NULL;
}
