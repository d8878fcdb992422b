/* The table of tokens. Every candidate is compared in constant time, and all of them, so the time
 * an answer takes tells nothing. Changes go to the store first. Any thread. Must never keep, log or
 * print a token's text: it exists only in the request that shows it and in the answer that made it.
 */
#include "controlplane/tokens.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define TOUCH_STEP_MS  60000  /* of the last use, as it is shown */
#define TOUCH_STORE_MS 600000 /* as it is written down */
#define HOMES          4      /* addresses remembered of each token */
#define ADDRESS_SIZE   64

struct entry {
    struct token_row row;
    int64_t stored_use_ms;
    char homes[HOMES][ADDRESS_SIZE]; /* where it was used from, the newest overwriting the oldest */
    unsigned next_home;
};

struct tokens {
    pthread_mutex_t mutex;
    struct store *store;
    size_t count;
    struct entry entries[TOKENS_MAX];
};

static void take(void *context, const struct token_row *row)
{
    struct tokens *tokens = context;
    if (tokens->count < TOKENS_MAX)
        tokens->entries[tokens->count++] =
            (struct entry){.row = *row, .stored_use_ms = row->last_used_ms};
}

struct tokens *tokens_new(struct store *store, bool *has_none, char *error, size_t error_size)
{
    struct tokens *tokens = calloc(1, sizeof *tokens);
    bool ever = false;
    CHECK(tokens != NULL);
    pthread_mutex_init(&tokens->mutex, NULL);
    tokens->store = store;
    if (!store_tokens_load(store, take, tokens, &ever, error, error_size)) {
        tokens_free(tokens);
        return NULL;
    }
    *has_none = !ever;
    return tokens;
}

void tokens_free(struct tokens *tokens)
{
    if (tokens == NULL)
        return;
    pthread_mutex_destroy(&tokens->mutex);
    OPENSSL_cleanse(tokens, sizeof *tokens);
    free(tokens);
}

/* The mutex is held by the callers of all that follows, unless said otherwise. */
static bool knows_home(const struct entry *entry, const char *address)
{
    for (size_t i = 0; i < HOMES; i++)
        if (entry->homes[i][0] != '\0' && strcmp(entry->homes[i], address) == 0)
            return true;
    return false;
}

static enum tokens_verdict judge(const struct entry *entry, const char *address, int64_t now_ms,
                                 struct token_identity *identity)
{
    *identity = (struct token_identity){0};
    if (entry == NULL)
        return TOKENS_UNKNOWN;
    identity->id = entry->row.id;
    identity->role = entry->row.role;
    identity->expires_ms = entry->row.expires_ms;
    identity->is_at_home = knows_home(entry, address);
    memcpy(identity->name, entry->row.name, sizeof identity->name);
    return entry->row.expires_ms != 0 && now_ms >= entry->row.expires_ms ? TOKENS_EXPIRED
                                                                         : TOKENS_GOOD;
}

static struct entry *by_id(struct tokens *tokens, uint64_t id)
{
    for (size_t i = 0; i < tokens->count; i++)
        if (tokens->entries[i].row.id == id)
            return &tokens->entries[i];
    return NULL;
}

static struct entry *by_name(struct tokens *tokens, const char *name)
{
    for (size_t i = 0; i < tokens->count; i++)
        if (strcmp(tokens->entries[i].row.name, name) == 0)
            return &tokens->entries[i];
    return NULL;
}

static struct entry *by_hash(struct tokens *tokens, const uint8_t hash[TOKEN_HASH_SIZE])
{
    struct entry *found = NULL;
    for (size_t i = 0; i < tokens->count; i++)
        if (token_hash_equals(tokens->entries[i].row.hash, hash))
            found = &tokens->entries[i];
    return found;
}

enum tokens_verdict tokens_find(struct tokens *tokens, const char *text, size_t length,
                                const char *address, int64_t now_ms,
                                struct token_identity *identity)
{
    uint8_t hash[TOKEN_HASH_SIZE];
    token_hash(text, length, hash);
    pthread_mutex_lock(&tokens->mutex);
    enum tokens_verdict verdict = judge(by_hash(tokens, hash), address, now_ms, identity);
    pthread_mutex_unlock(&tokens->mutex);
    return verdict;
}

enum tokens_verdict tokens_find_id(struct tokens *tokens, uint64_t id, int64_t now_ms,
                                   struct token_identity *identity)
{
    pthread_mutex_lock(&tokens->mutex);
    enum tokens_verdict verdict = judge(by_id(tokens, id), "", now_ms, identity);
    pthread_mutex_unlock(&tokens->mutex);
    return verdict;
}

void tokens_used(struct tokens *tokens, uint64_t id, const char *address, int64_t now_ms)
{
    bool is_due = false;
    pthread_mutex_lock(&tokens->mutex);
    struct entry *entry = by_id(tokens, id);
    if (entry != NULL) {
        if (!knows_home(entry, address))
            snprintf(entry->homes[entry->next_home++ % HOMES], ADDRESS_SIZE, "%s", address);
        if (now_ms - entry->row.last_used_ms >= TOUCH_STEP_MS)
            entry->row.last_used_ms = now_ms;
        is_due = entry->row.last_used_ms - entry->stored_use_ms >= TOUCH_STORE_MS;
        if (is_due)
            entry->stored_use_ms = entry->row.last_used_ms;
    }
    pthread_mutex_unlock(&tokens->mutex);
    if (is_due)
        store_token_touch(tokens->store, id, now_ms);
}

enum tokens_verdict tokens_create(struct tokens *tokens, struct token_row *row, const char *given,
                                  const struct store_actor *actor, char text[TOKEN_GIVEN_MAX + 1],
                                  char *error, size_t error_size)
{
    enum tokens_verdict verdict = TOKENS_GOOD;
    char fresh[TOKEN_TEXT_SIZE] = "";
    if (given == NULL && !token_make(fresh)) {
        snprintf(error, error_size, "the random source failed");
        return TOKENS_FAILED;
    }
    snprintf(text, TOKEN_GIVEN_MAX + 1, "%s", given == NULL ? fresh : given);
    OPENSSL_cleanse(fresh, sizeof fresh);
    token_hash(text, strlen(text), row->hash);
    pthread_mutex_lock(&tokens->mutex);
    if (by_name(tokens, row->name) != NULL)
        verdict = TOKENS_NAME_TAKEN;
    else if (tokens->count == TOKENS_MAX)
        verdict = TOKENS_FULL;
    else if (!store_token_add(tokens->store, row, actor, error, error_size))
        verdict = TOKENS_FAILED;
    else
        tokens->entries[tokens->count++] = (struct entry){.row = *row};
    pthread_mutex_unlock(&tokens->mutex);
    return verdict;
}

enum tokens_verdict tokens_revoke(struct tokens *tokens, const char *name,
                                  const struct store_actor *actor, char *error, size_t error_size)
{
    enum tokens_verdict verdict = TOKENS_GOOD;
    pthread_mutex_lock(&tokens->mutex);
    struct entry *entry = by_name(tokens, name);
    if (entry == NULL)
        verdict = TOKENS_UNKNOWN;
    else if (!store_token_remove(tokens->store, &entry->row, actor, error, error_size))
        verdict = TOKENS_FAILED;
    else {
        size_t behind = tokens->count - 1 - (size_t)(entry - tokens->entries);
        memmove(entry, entry + 1, behind * sizeof *entry); /* keeps the order of creation */
        OPENSSL_cleanse(&tokens->entries[--tokens->count], sizeof *entry);
    }
    pthread_mutex_unlock(&tokens->mutex);
    return verdict;
}

static void put_time(struct json_writer *writer, const char *name, int64_t ms)
{
    json_write_name(writer, name);
    if (ms == 0)
        json_write_null(writer);
    else
        json_write_i64(writer, ms);
}

void tokens_write_one(const struct token_row *row, int64_t now_ms, struct json_writer *writer)
{
    json_put_string(writer, "name", row->name);
    json_put_string(writer, "role", role_name(row->role));
    put_time(writer, "created_ms", row->created_ms);
    put_time(writer, "expires_ms", row->expires_ms);
    put_time(writer, "last_used_ms", row->last_used_ms);
    json_put_bool(writer, "expired", row->expires_ms != 0 && now_ms >= row->expires_ms);
}

void tokens_write(struct tokens *tokens, int64_t now_ms, struct json_writer *writer)
{
    pthread_mutex_lock(&tokens->mutex);
    for (size_t i = 0; i < tokens->count; i++) {
        json_begin_object(writer);
        tokens_write_one(&tokens->entries[i].row, now_ms, writer);
        json_end_object(writer);
    }
    pthread_mutex_unlock(&tokens->mutex);
}
