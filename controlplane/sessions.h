/* Log-ins of browsers: opaque ids in a cookie, each bound to the token it came from. In memory, so
 * a restart ends them; bounded; thread-safe; the clock is the caller's. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/check.h"

#define SESSIONS_MAX    256 /* beyond it the one idle for longest ends */
#define SESSION_ID_SIZE 44  /* 256 random bits as base64url, and NUL */

struct sessions;

struct session {
    uint64_t token_id;
    char csrf[SESSION_ID_SIZE]; /* what unsafe requests must repeat in X-CSRF-Token */
    uint64_t idle_end_ns, end_ns;
};

/* idle_s: without a request; lifetime_s: from the log-in, whatever happens. */
struct sessions *sessions_new(unsigned idle_s, unsigned lifetime_s);
void sessions_free(struct sessions *sessions); /* NULL is allowed */

/* false: the random source failed. */
MUST_CHECK bool sessions_begin(struct sessions *sessions, uint64_t token_id, uint64_t now_ns,
                               char id[SESSION_ID_SIZE], struct session *session);
/* The living session with this id (length characters of text); is_use: the request counts against
 * idleness. false: there is none (any more). */
MUST_CHECK bool sessions_find(struct sessions *sessions, const char *id, size_t length, bool is_use,
                              uint64_t now_ns, struct session *session);
/* Unknown ids are no error. */
void sessions_end(struct sessions *sessions, const char *id, size_t length);
