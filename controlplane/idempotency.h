/* Idempotency-Key: a change that is asked for twice is made once, and answered twice alike. Knows
 * which keys are at work now; what was answered before is the store's to know. Thread-safe. */
#pragma once

#include <stdbool.h>

#include "common/check.h"
#include "controlplane/http.h"
#include "controlplane/store_keys.h"

struct idempotency;

/* One request on its way through. */
struct http_turn {
    struct store_key key;
    char scope[TOKEN_NAME_MAX + 8];
    char text[STORE_KEY_TEXT_MAX + 1]; /* "": the request has no key, or needs none */
    struct dynbuf body;                /* the request's, read already when it has a key */
    bool is_made; /* the change was made before a crash: answer it, but do not make it again */
};

struct idempotency *idempotency_new(void);
void idempotency_free(struct idempotency *idempotency); /* NULL is allowed */

/* Before the handler. true: it is to run, and idempotency_end is due. false: response holds the
 * answer, that of the first time or a problem (400, 409, 413, 422, 503). */
MUST_CHECK bool idempotency_begin(struct idempotency *idempotency,
                                  const struct http_request *request, struct http_turn *turn,
                                  struct http_response *response);
/* After the handler: keeps the answer of what succeeded. What was refused changed nothing, and may
 * be tried again with the same key. */
void idempotency_end(struct idempotency *idempotency, const struct http_request *request,
                     struct http_turn *turn, struct http_response *response);
