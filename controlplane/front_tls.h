/* The certificate of the front: loaded from PEM files, watched, exchanged while running. Belongs to
 * the front's thread after front_tls_new. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/check.h"

struct front_tls;
struct ssl_st;

/* client_ca_path: "" when clients need no certificate. NULL: error holds one line that names the
 * setting and the file. A certificate that has run out is served, with a warning. */
struct front_tls *front_tls_new(const char *cert_path, const char *key_path,
                                const char *client_ca_path, char *error, size_t error_size);
void front_tls_free(struct front_tls *tls); /* NULL is allowed */

/* A server's end for fd with the present certificate. NULL: out of memory. */
struct ssl_st *front_tls_accept(struct front_tls *tls, int fd);
/* Once a second: looks whether the files changed, and loads them once they have stopped changing.
 * Files that will not do leave the old certificate in force, with a word in the log. */
void front_tls_watch(struct front_tls *tls);
/* Loads them now. */
void front_tls_reload(struct front_tls *tls);
