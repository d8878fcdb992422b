/* The configuration file: what of the settings needs the file system. Main thread, at start. */
#pragma once

#include "common/check.h"
#include "common/dynbuf.h"
#include "dataplane/config_yaml.h"

/* Reads the YAML file at path. false: *error holds one line: `could not read configuration file X:
 * …` or `could not parse yaml file X: …`. config_yaml_fini is due either way. */
MUST_CHECK bool config_file_read(const char *path, struct config_yaml *yaml, struct dynbuf *error);
