/* SQLite behind one mutex, the only file that includes sqlite3.h. Any thread may call; calls wait
 * for the disk.
 *
 * Exactly one connection, in one process (locking_mode=EXCLUSIVE): the SQLite of Debian 12 can
 * damage a WAL that two connections write. The state handed out is the copy taken after the last
 * commit, so a reader never sees what is not on disk. */
#include "controlplane/store.h"

#include <openssl/rand.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"

#define APPLICATION_ID 0x43474331 /* "CGC1" */

struct store {
    pthread_mutex_t mutex;
    sqlite3 *db;
    char path[4096];
    struct routing_state state; /* as committed */
    bool has_defaults;          /* never seeded nor changed */
};

struct migration {
    int version;
    const char *statements;
};

static const struct migration migrations[] = {
#define MIGRATION(version, statements) {version, statements},
#include "controlplane/migrations.def"
#undef MIGRATION
};

/* --- small SQLite helpers
 * ------------------------------------------------------------------------------------------- */

static bool explain(struct store *store, const char *doing, char *error, size_t error_size)
{
    snprintf(error, error_size, "%s: cannot %s: %s", store->path, doing,
             store->db == NULL ? "out of memory" : sqlite3_errmsg(store->db));
    return false;
}

static bool run(struct store *store, const char *sql)
{
    return sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

/* First column of the first row, or fallback when there is no row or the statement fails. */
static int64_t read_number(struct store *store, const char *sql, int64_t fallback)
{
    sqlite3_stmt *statement = NULL;
    int64_t number = fallback;
    if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return number;
}

static void copy_column(char *out, size_t size, sqlite3_stmt *statement, int column)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);
    snprintf(out, size, "%s", text == NULL ? "" : text);
}

/* --- rows
 * -----------------------------------------------------------------------------------------------------------
 */

static bool load_state(struct store *store, struct routing_state *state, bool *has_defaults)
{
    sqlite3_stmt *statement = NULL;
    char source[16];
    bool found = false;
    if (sqlite3_prepare_v2(store->db,
                           "SELECT store_id, revision, source"
#define ROUTING_FLAG(member, fallback, meaning)    ", " #member
#define ROUTING_PERCENT(member, fallback, meaning) ", " #member
#include "controlplane/routing.def"
#undef ROUTING_FLAG
#undef ROUTING_PERCENT
                           " FROM routing WHERE id = 1",
                           -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
        int column = 3;
        found = true;
        copy_column(state->store_id, sizeof state->store_id, statement, 0);
        state->revision = (uint64_t)sqlite3_column_int64(statement, 1);
        copy_column(source, sizeof source, statement, 2);
        *has_defaults = strcmp(source, "defaults") == 0;
#define ROUTING_FLAG(member, fallback, meaning)                                                    \
    state->member = sqlite3_column_int(statement, column++) != 0;
#define ROUTING_PERCENT(member, fallback, meaning)                                                 \
    state->member = (uint8_t)sqlite3_column_int(statement, column++);
#include "controlplane/routing.def"
#undef ROUTING_FLAG
#undef ROUTING_PERCENT
    }
    sqlite3_finalize(statement);
    return found;
}

static bool save_state(struct store *store, const struct routing_state *state, const char *source)
{
    sqlite3_stmt *statement = NULL;
    int column = 4;
    bool good = sqlite3_prepare_v2(store->db,
                                   "REPLACE INTO routing (id, store_id, revision, source"
#define ROUTING_FLAG(member, fallback, meaning)    ", " #member
#define ROUTING_PERCENT(member, fallback, meaning) ", " #member
#include "controlplane/routing.def"
#undef ROUTING_FLAG
#undef ROUTING_PERCENT
                                   ") VALUES (1, ?1, ?2, ?3"
#define ROUTING_FLAG(member, fallback, meaning)    ", ?"
#define ROUTING_PERCENT(member, fallback, meaning) ", ?"
#include "controlplane/routing.def"
#undef ROUTING_FLAG
#undef ROUTING_PERCENT
                                   ")",
                                   -1, &statement, NULL) == SQLITE_OK &&
                sqlite3_bind_text(statement, 1, state->store_id, -1, SQLITE_STATIC) == SQLITE_OK &&
                sqlite3_bind_int64(statement, 2, (sqlite3_int64)state->revision) == SQLITE_OK &&
                sqlite3_bind_text(statement, 3, source, -1, SQLITE_STATIC) == SQLITE_OK;
#define ROUTING_FLAG(member, fallback, meaning)                                                    \
    good = good && sqlite3_bind_int(statement, column++, state->member) == SQLITE_OK;
#define ROUTING_PERCENT(member, fallback, meaning) ROUTING_FLAG(member, fallback, meaning)
#include "controlplane/routing.def"
#undef ROUTING_FLAG
#undef ROUTING_PERCENT
    good = good && sqlite3_step(statement) == SQLITE_DONE;
    sqlite3_finalize(statement);
    return good;
}

static bool write_state_text(const struct routing_state *state, struct dynbuf *text)
{
    struct json_writer writer;
    dynbuf_init(text, 4096);
    json_writer_init(&writer, text);
    routing_write_object(state, &writer);
    return !text->failed;
}

/* before: NULL for the first row of a store. */
static bool add_audit(struct store *store, const char *action, const struct store_actor *actor,
                      const struct routing_state *before, const struct routing_state *after)
{
    sqlite3_stmt *statement = NULL;
    struct dynbuf before_text, after_text;
    dynbuf_init(&before_text, 4096);
    bool good =
        write_state_text(after, &after_text) &&
        (before == NULL || write_state_text(before, &before_text)) &&
        sqlite3_prepare_v2(
            store->db,
            "INSERT INTO audit (time_ms, actor, user_agent, action, revision, before, after)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_bind_int64(statement, 1, clock_wall_ms()) == SQLITE_OK &&
        sqlite3_bind_text(statement, 2, actor->name, -1, SQLITE_STATIC) == SQLITE_OK &&
        sqlite3_bind_text(statement, 3, actor->user_agent, -1, SQLITE_STATIC) == SQLITE_OK &&
        sqlite3_bind_text(statement, 4, action, -1, SQLITE_STATIC) == SQLITE_OK &&
        sqlite3_bind_int64(statement, 5, (sqlite3_int64)after->revision) == SQLITE_OK &&
        (before == NULL || sqlite3_bind_text(statement, 6, dynbuf_text(&before_text), -1,
                                             SQLITE_STATIC) == SQLITE_OK) &&
        sqlite3_bind_text(statement, 7, dynbuf_text(&after_text), -1, SQLITE_STATIC) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_DONE;
    sqlite3_finalize(statement);
    dynbuf_fini(&before_text);
    dynbuf_fini(&after_text);
    return good;
}

/* State and audit row in one transaction. After a failure the file's own word counts. */
static bool commit(struct store *store, const struct routing_state *next, const char *source,
                   const char *action, const struct store_actor *actor,
                   const struct routing_state *before)
{
    if (run(store, "BEGIN IMMEDIATE") && save_state(store, next, source) &&
        add_audit(store, action, actor, before, next) && run(store, "COMMIT")) {
        store->state = *next;
        store->has_defaults = strcmp(source, "defaults") == 0;
        return true;
    }
    return false;
}

static void roll_back(struct store *store)
{
    if (!sqlite3_get_autocommit(store->db))
        run(store, "ROLLBACK");
    /* If even this fails, the last committed copy stays: it is on disk. */
    (void)load_state(store, &store->state, &store->has_defaults);
}

/* --- opening
 * --------------------------------------------------------------------------------------------------------
 */

static bool make_store_id(char text[ROUTING_STORE_ID_SIZE])
{
    unsigned char b[16];
    if (RAND_bytes(b, sizeof b) != 1)
        return false;
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    snprintf(text, ROUTING_STORE_ID_SIZE,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
    return true;
}

static bool check_identity(struct store *store, int64_t version, char *error, size_t error_size)
{
    int64_t newest = migrations[ARRAY_COUNT(migrations) - 1].version;
    int64_t application = read_number(store, "PRAGMA application_id", -1);
    if (version > newest) {
        snprintf(error, error_size,
                 "%s: schema version %lld is newer than this program knows (%lld); start the "
                 "program that wrote it, or "
                 "restore a backup",
                 store->path, (long long)version, (long long)newest);
        return false;
    }
    bool is_empty = read_number(store, "SELECT count(*) FROM sqlite_schema", -1) == 0;
    if (application != APPLICATION_ID && !(application == 0 && version == 0 && is_empty)) {
        snprintf(error, error_size, "%s is not a Cloud-Gate control store", store->path);
        return false;
    }
    return true;
}

/* All steps and the first row in one transaction: a store exists whole or not at all. */
static bool migrate(struct store *store, char *error, size_t error_size)
{
    char sql[96];
    if (!run(store, "BEGIN EXCLUSIVE"))
        return explain(store, "lock the store (is another cloudgate-control using it?)", error,
                       error_size);
    int64_t version = read_number(store, "PRAGMA user_version", -1);
    bool good = version >= 0 || explain(store, "read the schema version", error, error_size);
    good = good && check_identity(store, version, error, error_size);
    for (size_t i = 0; good && i < ARRAY_COUNT(migrations); i++) {
        if (migrations[i].version <= version)
            continue;
        snprintf(sql, sizeof sql, "PRAGMA application_id = %d; PRAGMA user_version = %d",
                 APPLICATION_ID, migrations[i].version);
        good = (run(store, migrations[i].statements) && run(store, sql)) ||
               explain(store, "migrate the schema", error, error_size);
    }
    if (good && !load_state(store, &store->state, &store->has_defaults)) {
        struct store_actor actor = {.name = "cloudgate-control", .user_agent = ""};
        routing_defaults(&store->state);
        store->has_defaults = true;
        good =
            (make_store_id(store->state.store_id) && save_state(store, &store->state, "defaults") &&
             add_audit(store, "create", &actor, NULL, &store->state)) ||
            explain(store, "write the first state", error, error_size);
        if (good)
            LOG_INFO("store_created", "store_id=%s revision=1 source=defaults",
                     store->state.store_id);
    }
    if (good && !run(store, "COMMIT"))
        good = explain(store, "commit", error, error_size);
    return good;
}

static bool check_health(struct store *store, char *error, size_t error_size)
{
    sqlite3_stmt *statement = NULL;
    char answer[200] = "no answer";
    if (sqlite3_prepare_v2(store->db, "PRAGMA integrity_check(1)", -1, &statement, NULL) ==
            SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        copy_column(answer, sizeof answer, statement, 0);
    else
        snprintf(answer, sizeof answer, "%s", sqlite3_errmsg(store->db));
    sqlite3_finalize(statement);
    if (strcmp(answer, "ok") == 0)
        return true;
    snprintf(error, error_size, "%s is damaged: %s", store->path, answer);
    return false;
}

struct store *store_open(const char *path, char *error, size_t error_size)
{
    struct store *store = calloc(1, sizeof *store);
    CHECK(store != NULL);
    pthread_mutex_init(&store->mutex, NULL);
    snprintf(store->path, sizeof store->path, "%s", path);
    bool good = sqlite3_open_v2(path, &store->db,
                                SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
                                NULL) == SQLITE_OK;
    if (!good) {
        explain(store, "open it", error, error_size);
    } else {
        sqlite3_extended_result_codes(store->db, 1);
        sqlite3_busy_timeout(store->db, 1000);
        good =
            (run(store, "PRAGMA locking_mode = EXCLUSIVE") &&
             run(store, "PRAGMA trusted_schema = OFF") && run(store, "PRAGMA foreign_keys = ON") &&
             run(store, "PRAGMA journal_mode = WAL") && run(store, "PRAGMA synchronous = FULL") &&
             run(store, "PRAGMA mmap_size = 0")) ||
            explain(store, "open it (is another cloudgate-control using it?)", error, error_size);
        good = good && migrate(store, error, error_size) && check_health(store, error, error_size);
    }
    if (!good) {
        store_close(store);
        return NULL;
    }
    return store;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    sqlite3_close(store->db);
    pthread_mutex_destroy(&store->mutex);
    free(store);
}

/* --- use
 * ------------------------------------------------------------------------------------------------------------
 */

void store_read(struct store *store, struct routing_state *state)
{
    pthread_mutex_lock(&store->mutex);
    *state = store->state;
    pthread_mutex_unlock(&store->mutex);
}

enum store_verdict store_change(struct store *store, const struct routing_patch *patch,
                                const char *if_match, bool adopt, const struct store_actor *actor,
                                struct routing_state *state, char *error, size_t error_size)
{
    enum store_verdict verdict = STORE_UNCHANGED;
    pthread_mutex_lock(&store->mutex);
    struct routing_state next = store->state;
    if (!routing_matches(&store->state, if_match)) {
        verdict = STORE_STALE;
    } else if (routing_apply_patch(&next, patch) || adopt) {
        struct routing_state before = store->state;
        if (commit(store, &next, "operator", adopt ? "adopt" : "change", actor, &before)) {
            verdict = STORE_CHANGED;
        } else {
            verdict = STORE_FAILED;
            explain(store, "write the change", error, error_size);
            roll_back(store);
        }
    }
    *state = store->state;
    pthread_mutex_unlock(&store->mutex);
    return verdict;
}

enum store_verdict store_seed(struct store *store, const struct routing_patch *values,
                              const char *actor, bool *seeded, struct routing_state *state,
                              char *error, size_t error_size)
{
    enum store_verdict verdict = STORE_UNCHANGED;
    struct store_actor who = {.name = actor, .user_agent = ""};
    pthread_mutex_lock(&store->mutex);
    *seeded = false;
    if (store->has_defaults) {
        struct routing_state before = store->state;
        struct routing_state next = store->state;
        bool changed = routing_apply_patch(&next, values);
        if (commit(store, &next, "dataplane", "seed", &who, &before)) {
            verdict = changed ? STORE_CHANGED : STORE_UNCHANGED;
            *seeded = true;
        } else {
            verdict = STORE_FAILED;
            explain(store, "write the seed", error, error_size);
            roll_back(store);
        }
    }
    *state = store->state;
    pthread_mutex_unlock(&store->mutex);
    return verdict;
}

static void write_audit_row(sqlite3_stmt *row, struct json_writer *writer)
{
    const char *before = (const char *)sqlite3_column_text(row, 6);
    const char *after = (const char *)sqlite3_column_text(row, 7);
    json_begin_object(writer);
    json_put_i64(writer, "id", sqlite3_column_int64(row, 0));
    json_put_i64(writer, "time_ms", sqlite3_column_int64(row, 1));
    json_put_string(writer, "actor", (const char *)sqlite3_column_text(row, 2));
    json_put_string(writer, "user_agent", (const char *)sqlite3_column_text(row, 3));
    json_put_string(writer, "action", (const char *)sqlite3_column_text(row, 4));
    json_put_i64(writer, "revision", sqlite3_column_int64(row, 5));
    json_write_name(writer, "before"); /* the columns hold JSON this program wrote */
    json_write_raw(writer, before == NULL ? "null" : before);
    json_write_name(writer, "after");
    json_write_raw(writer, after);
    json_end_object(writer);
}

bool store_write_audit(struct store *store, unsigned limit, uint64_t before,
                       struct json_writer *writer, char *error, size_t error_size)
{
    sqlite3_stmt *statement = NULL;
    int step = SQLITE_ERROR;
    pthread_mutex_lock(&store->mutex);
    if (sqlite3_prepare_v2(
            store->db,
            "SELECT id, time_ms, actor, user_agent, action, revision, before, after FROM audit"
            " WHERE ?1 = 0 OR id < ?1 ORDER BY id DESC LIMIT ?2",
            -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_bind_int64(statement, 1, (sqlite3_int64)before) == SQLITE_OK &&
        sqlite3_bind_int64(statement, 2, limit) == SQLITE_OK) {
        while ((step = sqlite3_step(statement)) == SQLITE_ROW)
            write_audit_row(statement, writer);
    }
    if (step != SQLITE_DONE)
        explain(store, "read the audit log", error, error_size);
    sqlite3_finalize(statement);
    pthread_mutex_unlock(&store->mutex);
    return step == SQLITE_DONE;
}
