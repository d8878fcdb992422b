/* The rows of the tokens: what the store keeps of each, never its text. Thread-safe like the rest
 * of the store. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "controlplane/role.h"
#include "controlplane/store.h"
#include "controlplane/token.h"

struct token_row {
    uint64_t id; /* never used twice */
    char name[TOKEN_NAME_MAX + 1];
    uint8_t hash[TOKEN_HASH_SIZE];
    enum role role;
    int64_t created_ms;
    int64_t expires_ms;   /* 0: never */
    int64_t last_used_ms; /* 0: never yet; coarse */
};

/* Reads all tokens; *ever: whether this store has ever had one. false: error is set. */
MUST_CHECK bool store_tokens_load(struct store *store,
                                  void (*take)(void *context, const struct token_row *row),
                                  void *context, bool *ever, char *error, size_t error_size);
/* Writes row and its audit entry; row->id is then set. false: error is set, nothing was written. */
MUST_CHECK bool store_token_add(struct store *store, struct token_row *row,
                                const struct store_actor *actor, char *error, size_t error_size);
/* The same for the end of a token. */
MUST_CHECK bool store_token_remove(struct store *store, const struct token_row *row,
                                   const struct store_actor *actor, char *error, size_t error_size);
/* Notes the last use; a failure is of no consequence. */
void store_token_touch(struct store *store, uint64_t id, int64_t last_used_ms);
