/* Idempotency keys of requests, and what was answered: a row is made in the transaction of the
 * change itself, so that no crash comes between the two. Thread-safe like the rest of the store. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "common/dynbuf.h"
#include "controlplane/store.h"

#define STORE_KEY_TEXT_MAX   128
#define STORE_KEY_DIGEST     32
#define STORE_KEY_KEPT_MS    (24 * 3600 * INT64_C(1000))
#define STORE_KEYS_MAX       100000
#define STORE_KEY_ANSWER_MAX (64u * 1024u) /* a longer body is not kept */

struct store_key {
    const char *scope; /* who asks: two callers may have the same key */
    const char *text;
    uint8_t digest[STORE_KEY_DIGEST]; /* of the whole request */
};

enum store_key_verdict {
    STORE_KEY_NEW,
    STORE_KEY_OTHER,    /* it belongs to another request of this caller */
    STORE_KEY_MADE,     /* the change was made, its answer is not known any more */
    STORE_KEY_ANSWERED, /* the answer is filled in */
    STORE_KEY_FULL,     /* there are STORE_KEYS_MAX of them */
    STORE_KEY_FAILED,   /* the store could not be read; error says why */
};

/* The dynbufs are the caller's, empty before. */
struct store_key_answer {
    int status;
    struct dynbuf *headers; /* lines, each with CRLF */
    struct dynbuf *body;
};

/* What is known of the key. */
enum store_key_verdict store_key_find(struct store *store, const struct store_key *key,
                                      struct store_key_answer *answer, char *error,
                                      size_t error_size);
/* Keeps the answer, for STORE_KEY_KEPT_MS from the request on. false: error is set; a change that
 * was made stays known as made. */
MUST_CHECK bool store_key_keep(struct store *store, const struct store_key *key,
                               const struct store_key_answer *answer, char *error,
                               size_t error_size);
