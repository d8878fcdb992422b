/* The table of idempotency keys. What is older than a day goes when the next one comes. Any thread;
 * calls wait for the disk. Must never keep the answer of a request that shows a secret: callers see
 * to that. */
#include "controlplane/store_keys.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "controlplane/store_internal.h"

static bool bind_key(sqlite3_stmt *statement, const struct store_key *key)
{
    return sqlite3_bind_text(statement, 1, key->scope, -1, SQLITE_STATIC) == SQLITE_OK &&
           sqlite3_bind_text(statement, 2, key->text, -1, SQLITE_STATIC) == SQLITE_OK;
}

/* Rows go oldest first, so the ids in use have no more than gaps of refused changes between them.
 * What is too old does not count: it goes when the next key comes, which must not be refused for
 * its sake. */
static bool is_full(sqlite3 *db, int64_t since_ms)
{
    char sql[200];
    snprintf(sql, sizeof sql,
             "SELECT (SELECT max(id) FROM request_keys)"
             " - (SELECT id FROM request_keys WHERE time_ms > %lld ORDER BY time_ms LIMIT 1)",
             (long long)since_ms);
    return store_number(db, sql, 0) >= STORE_KEYS_MAX;
}

static void take_answer(sqlite3_stmt *statement, struct store_key_answer *answer)
{
    answer->status = sqlite3_column_int(statement, 1);
    const void *headers = sqlite3_column_blob(statement, 2);
    dynbuf_append(answer->headers, headers, (size_t)sqlite3_column_bytes(statement, 2));
    const void *body = sqlite3_column_blob(statement, 3);
    dynbuf_append(answer->body, body, (size_t)sqlite3_column_bytes(statement, 3));
}

static enum store_key_verdict judge(sqlite3_stmt *statement, const struct store_key *key,
                                    struct store_key_answer *answer)
{
    if (sqlite3_column_bytes(statement, 0) != STORE_KEY_DIGEST ||
        memcmp(sqlite3_column_blob(statement, 0), key->digest, STORE_KEY_DIGEST) != 0)
        return STORE_KEY_OTHER;
    if (sqlite3_column_type(statement, 1) == SQLITE_NULL)
        return STORE_KEY_MADE;
    take_answer(statement, answer);
    return STORE_KEY_ANSWERED;
}

enum store_key_verdict store_key_find(struct store *store, const struct store_key *key,
                                      struct store_key_answer *answer, char *error,
                                      size_t error_size)
{
    enum store_key_verdict verdict = STORE_KEY_FAILED;
    int64_t since_ms = clock_wall_ms() - STORE_KEY_KEPT_MS;
    sqlite3_stmt *statement = NULL;
    int step = SQLITE_ERROR;
    pthread_mutex_lock(&store->mutex);
    if (sqlite3_prepare_v2(store->db,
                           "SELECT digest, status, headers, body FROM request_keys"
                           " WHERE scope = ?1 AND text = ?2 AND time_ms > ?3",
                           -1, &statement, NULL) == SQLITE_OK &&
        bind_key(statement, key) && sqlite3_bind_int64(statement, 3, since_ms) == SQLITE_OK)
        step = sqlite3_step(statement);
    if (step == SQLITE_ROW)
        verdict = judge(statement, key, answer);
    else if (step == SQLITE_DONE)
        verdict = is_full(store->db, since_ms) ? STORE_KEY_FULL : STORE_KEY_NEW;
    else
        store_explain(store->path, store->db, "read the keys of requests", error, error_size);
    sqlite3_finalize(statement);
    pthread_mutex_unlock(&store->mutex);
    return verdict;
}

static bool drop_old(sqlite3 *db, int64_t now_ms)
{
    sqlite3_stmt *statement = NULL;
    bool good = sqlite3_prepare_v2(db, "DELETE FROM request_keys WHERE time_ms <= ?1", -1,
                                   &statement, NULL) == SQLITE_OK &&
                sqlite3_bind_int64(statement, 1, now_ms - STORE_KEY_KEPT_MS) == SQLITE_OK &&
                sqlite3_step(statement) == SQLITE_DONE;
    sqlite3_finalize(statement);
    return good;
}

/* answer: NULL while the request is still at work. */
static bool put(sqlite3 *db, const struct store_key *key, const struct store_key_answer *answer,
                int64_t now_ms)
{
    sqlite3_stmt *statement = NULL;
    bool good = sqlite3_prepare_v2(db,
                                   "INSERT INTO request_keys"
                                   " (scope, text, digest, time_ms, status, headers, body)"
                                   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
                                   " ON CONFLICT (scope, text) DO UPDATE SET"
                                   " status = excluded.status, headers = excluded.headers,"
                                   " body = excluded.body",
                                   -1, &statement, NULL) == SQLITE_OK &&
                bind_key(statement, key) &&
                sqlite3_bind_blob(statement, 3, key->digest, STORE_KEY_DIGEST, SQLITE_STATIC) ==
                    SQLITE_OK &&
                sqlite3_bind_int64(statement, 4, now_ms) == SQLITE_OK &&
                (answer == NULL ||
                 (sqlite3_bind_int(statement, 5, answer->status) == SQLITE_OK &&
                  sqlite3_bind_text(statement, 6, dynbuf_text(answer->headers),
                                    (int)answer->headers->length, SQLITE_STATIC) == SQLITE_OK &&
                  sqlite3_bind_text(statement, 7, dynbuf_text(answer->body),
                                    (int)answer->body->length, SQLITE_STATIC) == SQLITE_OK)) &&
                sqlite3_step(statement) == SQLITE_DONE;
    sqlite3_finalize(statement);
    return good;
}

bool store_key_note(struct store *store, const struct store_key *key, int64_t time_ms)
{
    return drop_old(store->db, time_ms) && put(store->db, key, NULL, time_ms);
}

bool store_key_keep(struct store *store, const struct store_key *key,
                    const struct store_key_answer *answer, char *error, size_t error_size)
{
    int64_t now_ms = clock_wall_ms();
    bool is_short = answer->headers->length + answer->body->length <= STORE_KEY_ANSWER_MAX;
    pthread_mutex_lock(&store->mutex);
    bool good = store_begin(store) && drop_old(store->db, now_ms) &&
                put(store->db, key, is_short ? answer : NULL, now_ms) && store_commit(store);
    if (!good) {
        store_explain(store->path, store->db, "keep the answer of a request", error, error_size);
        store_roll_back(store);
    }
    pthread_mutex_unlock(&store->mutex);
    return good;
}
