/* What the connections of one side have in common under TLS: keys, authorities and rules, made of
 * PEM texts. Immutable, counted, shared by all threads. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "common/dynbuf.h"
#include "dataplane/tls_side.h"

struct ssl_ctx_st;
struct ssl_session_st;
struct ssl_st;

/* One file's text. */
struct tls_pem {
    const char *text; /* NULL: there is none */
    size_t length;
    const char *file; /* its name in error texts and metrics */
};

struct tls_options {
    enum tls_side side;
    struct tls_pem authorities; /* none: the system's (a cluster's side only) */
    struct tls_pem certificate; /* with its chain; none: a client without a certificate */
    struct tls_pem key;
    bool requires_client_certificate; /* TLS_PROXY: checked against authorities */
    bool verifies_names; /* clusters: the certificate must be for the node's name or address */
};

struct tls_expiry {
    char *file;
    int64_t not_after; /* Unix seconds */
};

#define TLS_EXPIRIES_MAX 2 /* certificate, authorities */

struct tls_context {
    _Atomic uint32_t references;
    enum tls_side side;
    bool verifies_names;
    struct ssl_ctx_st *ssl;
    struct tls_expiry expiries[TLS_EXPIRIES_MAX];
    size_t expiry_count;
};

/* Before anything else of the process uses OpenSSL: it is not to tidy up at exit, when a thread
 * that nobody waits for (bundle_fetch.c) may still be at work. */
void tls_init(void);

/* TLS 1.2 and up, OpenSSL's default ciphers, no renegotiation, no compression. NULL: *error names
 * the file and says what is wrong with it. */
struct tls_context *tls_context_new(const struct tls_options *options, struct dynbuf *error);
struct tls_context *tls_context_get(struct tls_context *context); /* NULL is allowed */
void tls_context_put(struct tls_context *context);                /* NULL is allowed */

/* The oldest reason of OpenSSL's on this thread as a constant text, and forgets all of them. */
const char *tls_take_reason(void);

/* OpenSSL's way to hand over a session that could be resumed (tls.c). Returns 1 if it was kept. */
int tls_keep_session(struct ssl_st *ssl, struct ssl_session_st *session);
