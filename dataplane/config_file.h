/* The configuration file, and the addresses settings name: what of the settings needs the file
 * system or a name server. Main thread, at start. */
#pragma once

#include "common/check.h"
#include "common/dynbuf.h"
#include "dataplane/config.h"
#include "dataplane/config_yaml.h"

/* Reads the YAML file at path. false: *error holds one line: `could not read configuration file X:
 * …` or `could not parse yaml file X: …`. config_yaml_fini is due either way. */
MUST_CHECK bool config_file_read(const char *path, struct config_yaml *yaml, struct dynbuf *error);

/* Puts the IP address in the place of a host name in the two addresses that are listened on (IPv4
 * where there is a choice, as zdm-proxy does), and in the address drivers are shown if it comes
 * from there. Blocks while names are looked up. false: *error names the setting. */
MUST_CHECK bool config_resolve_listen(struct config *config, struct dynbuf *error);
