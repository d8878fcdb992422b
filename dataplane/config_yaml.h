/* Settings out of a YAML document, the configuration file of zdm-proxy: one mapping of keys to
 * texts or lists of texts. Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "common/conftab.h"
#include "common/dynbuf.h"

/* A file of all settings with long lists is some ten KiB. */
#define CONFIG_YAML_BYTES_MAX ((size_t)256 * 1024)

struct config_yaml {
    struct conftab_entry *entries; /* in the order of the document; no key twice */
    size_t count;
};

/* Reads one document. A list becomes its items joined by commas; a key without a value (null) is
 * left out, as if it were not there. Anchors and aliases of texts and lists are followed. false:
 * *error holds one line that says what is wrong and in which line of the document, never a value;
 * *yaml is empty. */
MUST_CHECK bool config_yaml_parse(const uint8_t *bytes, size_t length, struct config_yaml *yaml,
                                  struct dynbuf *error);
/* Frees the entries; the values are wiped first, since passwords are among them. */
void config_yaml_fini(struct config_yaml *yaml);
