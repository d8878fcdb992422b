/* The table of tokens in the store. A token and its audit row are one transaction. Any thread; the
 * calls wait for the disk. Must never see a token's text. */
#include "controlplane/store_tokens.h"

#include <string.h>

#include "common/json.h"
#include "controlplane/store_internal.h"

static bool read_row(sqlite3_stmt *statement, struct token_row *row)
{
    const char *name = (const char *)sqlite3_column_text(statement, 1);
    const char *role = (const char *)sqlite3_column_text(statement, 3);
    const void *hash = sqlite3_column_blob(statement, 2);
    *row = (struct token_row){.id = (uint64_t)sqlite3_column_int64(statement, 0)};
    if (name == NULL || hash == NULL || role == NULL ||
        sqlite3_column_bytes(statement, 2) != TOKEN_HASH_SIZE || !role_parse(role, &row->role))
        return false;
    snprintf(row->name, sizeof row->name, "%s", name);
    memcpy(row->hash, hash, TOKEN_HASH_SIZE);
    row->created_ms = sqlite3_column_int64(statement, 4);
    row->expires_ms = sqlite3_column_int64(statement, 5);
    row->last_used_ms = sqlite3_column_int64(statement, 6);
    return true;
}

bool store_tokens_load(struct store *store,
                       void (*take)(void *context, const struct token_row *row), void *context,
                       bool *ever, char *error, size_t error_size)
{
    sqlite3_stmt *statement = NULL;
    struct token_row row;
    int step = SQLITE_ERROR;
    pthread_mutex_lock(&store->mutex);
    sqlite3 *db = store->db;
    if (sqlite3_prepare_v2(db,
                           "SELECT id, name, sha256, role, created_ms, expires_ms, last_used_ms"
                           " FROM tokens ORDER BY id",
                           -1, &statement, NULL) == SQLITE_OK)
        while ((step = sqlite3_step(statement)) == SQLITE_ROW)
            if (read_row(statement, &row)) /* a role of a later version lets nobody in */
                take(context, &row);
    sqlite3_finalize(statement);
    statement = NULL;
    if (step == SQLITE_DONE &&
        sqlite3_prepare_v2(db, "SELECT count(*) FROM sqlite_sequence WHERE name = 'tokens'", -1,
                           &statement, NULL) == SQLITE_OK) {
        step = sqlite3_step(statement);
        *ever = step == SQLITE_ROW && sqlite3_column_int(statement, 0) > 0;
    }
    if (step != SQLITE_ROW)
        store_explain(store->path, db, "read the tokens", error, error_size);
    sqlite3_finalize(statement);
    pthread_mutex_unlock(&store->mutex);
    return step == SQLITE_ROW;
}

/* What the audit says of a token. */
static bool describe(const struct token_row *row, struct dynbuf *out)
{
    struct json_writer writer;
    dynbuf_init(out, 1024);
    json_writer_init(&writer, out);
    json_begin_object(&writer);
    json_put_string(&writer, "token", row->name);
    json_put_string(&writer, "role", role_name(row->role));
    json_write_name(&writer, "expires_ms");
    if (row->expires_ms == 0)
        json_write_null(&writer);
    else
        json_write_i64(&writer, row->expires_ms);
    json_end_object(&writer);
    return !out->failed;
}

static bool insert(sqlite3 *db, struct token_row *row)
{
    sqlite3_stmt *statement = NULL;
    bool good =
        sqlite3_prepare_v2(
            db,
            "INSERT INTO tokens (name, sha256, role, created_ms, expires_ms, last_used_ms)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_bind_text(statement, 1, row->name, -1, SQLITE_STATIC) == SQLITE_OK &&
        sqlite3_bind_blob(statement, 2, row->hash, TOKEN_HASH_SIZE, SQLITE_STATIC) == SQLITE_OK &&
        sqlite3_bind_text(statement, 3, role_name(row->role), -1, SQLITE_STATIC) == SQLITE_OK &&
        sqlite3_bind_int64(statement, 4, row->created_ms) == SQLITE_OK &&
        (row->expires_ms == 0 || sqlite3_bind_int64(statement, 5, row->expires_ms) == SQLITE_OK) &&
        (row->last_used_ms == 0 ||
         sqlite3_bind_int64(statement, 6, row->last_used_ms) == SQLITE_OK) &&
        sqlite3_step(statement) == SQLITE_DONE;
    sqlite3_finalize(statement);
    row->id = good ? (uint64_t)sqlite3_last_insert_rowid(db) : 0;
    return good;
}

static bool run_with(sqlite3 *db, const char *sql, int64_t first, int64_t second)
{
    sqlite3_stmt *statement = NULL;
    bool good = sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK &&
                sqlite3_bind_int64(statement, 1, first) == SQLITE_OK &&
                (sqlite3_bind_parameter_count(statement) < 2 ||
                 sqlite3_bind_int64(statement, 2, second) == SQLITE_OK) &&
                sqlite3_step(statement) == SQLITE_DONE;
    sqlite3_finalize(statement);
    return good;
}

/* One change of the table with its audit row. row: as it is to be for a creation, as it was for a
 * removal. */
static bool change(struct store *store, struct token_row *row, bool is_new,
                   const struct store_actor *actor, char *error, size_t error_size)
{
    struct dynbuf text;
    struct store_audit_row entry = {.action = is_new ? "token_create" : "token_revoke",
                                    .actor = actor};
    bool good = describe(row, &text);
    pthread_mutex_lock(&store->mutex);
    entry.revision = store->state.revision;
    entry.before = is_new ? NULL : dynbuf_text(&text);
    entry.after = is_new ? dynbuf_text(&text) : NULL;
    good =
        good && store_begin(store) &&
        (is_new ? insert(store->db, row)
                : run_with(store->db, "DELETE FROM tokens WHERE id = ?1", (int64_t)row->id, 0)) &&
        store_audit_add(store, &entry) && store_commit(store);
    if (!good) {
        store_explain(store->path, store->db, is_new ? "write the token" : "remove the token",
                      error, error_size);
        store_roll_back(store);
    }
    pthread_mutex_unlock(&store->mutex);
    dynbuf_fini(&text);
    return good;
}

bool store_token_add(struct store *store, struct token_row *row, const struct store_actor *actor,
                     char *error, size_t error_size)
{
    return change(store, row, true, actor, error, error_size);
}

bool store_token_remove(struct store *store, const struct token_row *row,
                        const struct store_actor *actor, char *error, size_t error_size)
{
    struct token_row copy = *row;
    return change(store, &copy, false, actor, error, error_size);
}

void store_token_touch(struct store *store, uint64_t id, int64_t last_used_ms)
{
    pthread_mutex_lock(&store->mutex);
    (void)!run_with(store->db, "UPDATE tokens SET last_used_ms = ?2 WHERE id = ?1", (int64_t)id,
                    last_used_ms);
    pthread_mutex_unlock(&store->mutex);
}
