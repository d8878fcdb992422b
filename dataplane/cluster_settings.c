/* One cluster's view of the settings. Pure; any thread. */
#include "dataplane/cluster_settings.h"

#include "dataplane/config.h"

struct cluster_settings cluster_settings(const struct config *config, enum cluster_id id)
{
    if (id == CLUSTER_ORIGIN)
        return (struct cluster_settings){
            .prefix = "ORIGIN",
            .contact_points = config->origin_contact_points,
            .username = config->origin_username,
            .password = config->origin_password,
            .port = config->origin_port,
            .local_datacenter = config->origin_local_datacenter,
            .connection_timeout_ms = (uint64_t)config->origin_connection_timeout_ms,
            .is_assigned = config->origin_enable_host_assignment,
        };
    return (struct cluster_settings){
        .prefix = "TARGET",
        .contact_points = config->target_contact_points,
        .username = config->target_username,
        .password = config->target_password,
        .port = config->target_port,
        .local_datacenter = config->target_local_datacenter,
        .connection_timeout_ms = (uint64_t)config->target_connection_timeout_ms,
        .is_assigned = config->target_enable_host_assignment,
    };
}
