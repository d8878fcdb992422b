/* What a secure-connect bundle holds: for bundle.c, which reads it, and bundle_fetch.c, which uses
 * it. */
#pragma once

#include "dataplane/bundle.h"

struct bundle_text { /* wiped when dropped */
    char *bytes;
    size_t length;
};

struct bundle {
    char *path;
    char host[256]; /* of the metadata service */
    int port;
    struct bundle_text authorities, certificate, key; /* PEM */
};

void bundle_drop_text(struct bundle_text *text);
