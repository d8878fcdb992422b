/* The tokens in force: a bounded table in memory that mirrors the store, so that no request waits
 * for the disk to be let in. Thread-safe; wall-clock times are the caller's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "common/json.h"
#include "controlplane/store_tokens.h"

#define TOKENS_MAX 256

struct tokens;

enum tokens_verdict {
    TOKENS_GOOD,
    TOKENS_UNKNOWN, /* never made, or revoked */
    TOKENS_EXPIRED,
    TOKENS_NAME_TAKEN,
    TOKENS_FULL,
    TOKENS_FAILED, /* the store or the random source; error says why */
};

/* What a request is told about the token it shows. */
struct token_identity {
    uint64_t id;
    char name[TOKEN_NAME_MAX + 1];
    enum role role;
    int64_t expires_ms; /* 0: never */
    bool is_at_home;    /* it was used from this address before */
};

/* Reads the store. *has_none: the store never had a token. NULL: error is set. */
struct tokens *tokens_new(struct store *store, bool *has_none, char *error, size_t error_size);
void tokens_free(struct tokens *tokens); /* NULL is allowed */

/* Who shows this text from that address. Does not count as a use. */
enum tokens_verdict tokens_find(struct tokens *tokens, const char *text, size_t length,
                                const char *address, int64_t now_ms,
                                struct token_identity *identity);
/* The same by id, for sessions. */
enum tokens_verdict tokens_find_id(struct tokens *tokens, uint64_t id, int64_t now_ms,
                                   struct token_identity *identity);
/* Notes a use. */
void tokens_used(struct tokens *tokens, uint64_t id, const char *address, int64_t now_ms);

/* Makes a token of row's name, role and expiry. given: its text, or NULL for a fresh one; text:
 * what to show once. */
enum tokens_verdict tokens_create(struct tokens *tokens, struct token_row *row, const char *given,
                                  const struct store_actor *actor, char text[TOKEN_GIVEN_MAX + 1],
                                  char *error, size_t error_size);
enum tokens_verdict tokens_revoke(struct tokens *tokens, const char *name,
                                  const struct store_actor *actor, char *error, size_t error_size);
/* The members of one token into an object the caller has begun; all of them as the elements of an
 * array the caller has begun. Never a hash. */
void tokens_write_one(const struct token_row *row, int64_t now_ms, struct json_writer *writer);
void tokens_write(struct tokens *tokens, int64_t now_ms, struct json_writer *writer);
