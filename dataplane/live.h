/* The settings that may change while the proxy runs, as they are in force: a routing snapshot's
 * where it has them, the configuration's where it has not. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/log.h"
#include "dataplane/config.h"
#include "dataplane/snapshot.h"

struct live_settings {
    uint64_t request_timeout_ns;
    uint32_t request_timeout_ms;
    uint32_t max_clients;
    bool replaces_functions; /* in statements that come from now on */
    bool stamps_writes;
};

/* What workers go by under snapshot. */
struct live_settings live_settings_of(const struct config *config, const struct snapshot *snapshot);
/* The process's log level under snapshot. */
enum log_level live_log_level(const struct config *config, const struct snapshot *snapshot);
