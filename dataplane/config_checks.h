/* What spans several settings of cloudgate-proxy, or needs more words than the table has. Pure. */
#pragma once

#include "common/check.h"
#include "dataplane/config.h"

/* Each: false: *error holds one line that names the settings, by the names they were given by. */
MUST_CHECK bool config_check_origin(const struct config *config, struct dynbuf *error);
MUST_CHECK bool config_check_target(const struct config *config, struct dynbuf *error);
MUST_CHECK bool config_check_topology(const struct config *config, struct dynbuf *error);
MUST_CHECK bool config_check_versions(const struct config *config, struct dynbuf *error);
MUST_CHECK bool config_check_metrics_prefix(const struct config *config, struct dynbuf *error);
MUST_CHECK bool config_check_ports(const struct config *config, struct dynbuf *error);
MUST_CHECK bool config_check_heartbeats(const struct config *config, struct dynbuf *error);

/* Fills in what follows from other settings: the timeouts of the single clusters, the addresses of
 * the proxies. */
void config_derive(struct config *config);

/* Puts zdm-proxy's words in the place of *error where the setting `name` (ours) was given by its
 * ZDM_ name, text is what was refused, and zdm-proxy says something else about it. */
void config_reword(const struct config *config, const char *name, const char *text,
                   struct dynbuf *error);
