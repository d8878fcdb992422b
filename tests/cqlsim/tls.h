/* TLS for the connections of clients. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/check.h"

struct tls;
struct tls_session;

struct tls_options {
    const char *certificate; /* PEM files; NULL: no TLS */
    const char *key;
    const char *authorities;
    const char *version; /* "1.1", "1.2", "1.3": nothing but this; NULL: 1.2 and later */
    bool require_client;
};

/* What happened so far. */
struct tls_counts {
    uint64_t handshakes;
    uint64_t resumed;
    uint64_t failed;
    char server_name[256];    /* the last one a client asked for; empty for none */
    char client_subject[256]; /* of the last client certificate; empty for none */
    char protocol[16];        /* of the last handshake */
};

enum { TLS_AGAIN = -1, TLS_FAILED = -2 };

/* NULL after logging why not. */
struct tls *tls_open(const struct tls_options *options);
void tls_close(struct tls *tls);
const struct tls_counts *tls_counts(const struct tls *tls);

/* Serves the connected socket fd, which stays the caller's. */
struct tls_session *tls_session_open(struct tls *tls, int fd);
/* Says goodbye if it still can. */
void tls_session_close(struct tls_session *session);
/* Bytes, 0 at the end, TLS_AGAIN or TLS_FAILED. *wants_write: the socket must take something first.
 */
ssize_t tls_read(struct tls_session *session, void *data, size_t length, bool *wants_write);
/* Bytes, TLS_AGAIN or TLS_FAILED. After TLS_AGAIN the next call must begin with the same bytes.
 * *wants_write: false when it is the client who must send something first. */
ssize_t tls_write(struct tls_session *session, const void *data, size_t length, bool *wants_write);
