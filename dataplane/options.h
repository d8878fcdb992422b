/* The command line of cloudgate-proxy. Pure. */
#pragma once

#include "common/check.h"
#include "common/dynbuf.h"

struct options {
    bool wants_help, wants_version, checks_only;
    const char *file; /* --config FILE; NULL: none */
    char **overrides; /* --set NAME=value, in order, NULL at the end */
    size_t override_count;
};

/* Reads argv. One dash is as good as two, and `-name=value` as good as `-name value`, as for
 * zdm-proxy. false: *error holds one line that names the argument. options_fini is due either way.
 */
MUST_CHECK bool options_parse(struct options *options, int argc, char **argv, struct dynbuf *error);
void options_fini(struct options *options);
