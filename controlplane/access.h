/* Access: who makes a request and whether they may. Joins tokens, log-ins of browsers, the local
 * socket's user ids and the limit on failed attempts; knows nothing of the web server. Thread-safe.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/check.h"
#include "controlplane/config.h"
#include "controlplane/request_guard.h"
#include "controlplane/sessions.h"
#include "controlplane/tokens.h"

#define ACCESS_DETAIL_SIZE 256

struct access;

/* What is known of a request before anybody looks at its path. Texts may be NULL: not sent. */
struct access_request {
    const char *peer; /* IP address; "" on the local socket */
    bool is_local;    /* it came over the local socket, from a process of user uid */
    uid_t uid;
    const char *authorization;
    const char *cookies;
    struct guard_headers headers;
};

/* Who makes it. */
struct access_caller {
    enum role role;                   /* ROLE_NONE: nobody has logged in */
    char actor[TOKEN_NAME_MAX + 8];   /* token:NAME, uid:N or nobody */
    char audit_name[160];             /* the same, of a token with @ADDRESS */
    uint64_t token_id;                /* 0: none */
    int64_t expires_ms;               /* of the token; 0: never */
    char session_id[SESSION_ID_SIZE]; /* "": not by cookie */
    struct session session;
};

/* Why not. */
struct access_refusal {
    int status; /* 401, 403, 421 or 429 */
    char detail[ACCESS_DETAIL_SIZE];
    unsigned retry_after_s; /* 429 */
    bool is_token_bad;      /* 401: there was one */
};

/* Reads the tokens; a store that never had one gets its first, named admin: the one of
 * CONTROL_ADMIN_TOKEN or CONTROL_ADMIN_TOKEN_FILE, else a new one that is printed on stdout. NULL:
 * error holds one line. */
struct access *access_new(const struct control_config *config, struct store *store, char *error,
                          size_t error_size);
void access_free(struct access *access); /* NULL is allowed */

struct tokens *access_tokens(struct access *access);
bool access_metrics_are_open(const struct access *access);

/* The cookie of a log-in: a browser keeps one with the first name only from TLS, for this host
 * alone. */
const char *access_cookie_name(bool is_tls);

/* May the request do what needs this role? true: *caller says who asks (nobody, when needed is
 * ROLE_NONE). false: *refusal says why not. */
MUST_CHECK bool access_check(struct access *access, const struct access_request *request,
                             enum role needed, struct access_caller *caller,
                             struct access_refusal *refusal);
/* Logs a browser in by a token. true: caller->session_id is the cookie's value. */
MUST_CHECK bool access_log_in(struct access *access, const struct access_request *request,
                              const char *token, size_t length, struct access_caller *caller,
                              struct access_refusal *refusal);
void access_log_out(struct access *access, const struct access_caller *caller);
/* Whether somebody let in earlier would still be; for streams, which outlive a revocation
 * otherwise. Does not count as a use. */
bool access_is_still_good(struct access *access, const struct access_caller *caller);
