/* The settings of one cluster, picked out of those of both: whoever serves either cluster reads
 * them here and never asks which one it is. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/cluster_id.h"

struct config;

struct cluster_settings { /* all texts are the config's */
    const char *prefix;   /* "ORIGIN" or "TARGET": what names of settings begin with */
    const char *contact_points;
    const char *username;
    const char *password;
    int port;
    const char *local_datacenter; /* empty: that of the control connection's node */
    uint64_t connection_timeout_ms;
    bool is_assigned; /* host assignment is on */
};

struct cluster_settings cluster_settings(const struct config *config, enum cluster_id id);
