/* The routing state in SQLite, its changes, and the transaction around each of them. Any thread may
 * call; calls wait for the disk.
 *
 * Exactly one connection, in one process (locking_mode=EXCLUSIVE): the SQLite of Debian 12 can
 * damage a WAL that two connections write. The state handed out is the copy taken after the last
 * commit, so a reader never sees what is not on disk. */
#include "controlplane/store.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "controlplane/store_internal.h"

/* ---- SQLite in fewer words ---- */

/* errno of the last call on the database file or its WAL that failed, as far as SQLite kept it:
 * what fails at a commit does not reach sqlite3_system_errno. */
static int last_errno(sqlite3 *db)
{
    int number = sqlite3_system_errno(db);
    sqlite3_file *wal = NULL;
    if (number == 0 &&
        sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal) == SQLITE_OK &&
        wal != NULL && wal->pMethods != NULL)
        (void)wal->pMethods->xFileControl(wal, SQLITE_FCNTL_LAST_ERRNO, &number);
    if (number == 0)
        (void)sqlite3_file_control(db, "main", SQLITE_FCNTL_LAST_ERRNO, &number);
    return number;
}

static bool is_directory_writable(const char *path)
{
    char copy[4200];
    snprintf(copy, sizeof copy, "%s", path);
    return access(dirname(copy), W_OK | X_OK) == 0 || errno == ENOENT;
}

static const char unwritable[] =
    "the file or its directory cannot be written; see to its owner, mode and mount";

/* What an operator can do about it; NULL: SQLite's own words must do. */
static const char *explanation(const char *path, sqlite3 *db)
{
    int code = sqlite3_errcode(db) & 0xff;
    int system_error =
        code == SQLITE_IOERR || code == SQLITE_CANTOPEN || code == SQLITE_FULL ? last_errno(db) : 0;
    if (code == SQLITE_FULL || system_error == ENOSPC || system_error == EDQUOT ||
        system_error == EFBIG)
        return "the disk is full; make room and try again";
    if ((code == SQLITE_CANTOPEN || code == SQLITE_IOERR) &&
        (!is_directory_writable(path) || sqlite3_db_readonly(db, "main") == 1))
        return unwritable;
    switch (code) {
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return unwritable;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return "it is in use by another process (another cloudgate-control?); stop that first";
    case SQLITE_CORRUPT:
        return "it is damaged; restore a backup with cloudgate-control --restore FILE";
    case SQLITE_NOTADB:
        return "it is not a database; if it ever was, restore a backup with cloudgate-control "
               "--restore FILE";
    default:
        return system_error == 0 ? NULL : strerror(system_error);
    }
}

bool store_explain(const char *path, sqlite3 *db, const char *doing, char *error, size_t error_size)
{
    const char *what = db == NULL ? "out of memory" : explanation(path, db);
    if (db == NULL || what == NULL)
        snprintf(error, error_size, "%s: cannot %s: %s", path, doing,
                 db == NULL ? what : sqlite3_errmsg(db));
    else
        snprintf(error, error_size, "%s: cannot %s: %s (%s)", path, doing, what,
                 sqlite3_errmsg(db));
    return false;
}

bool store_run(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

int64_t store_number(sqlite3 *db, const char *sql, int64_t fallback)
{
    sqlite3_stmt *statement = NULL;
    int64_t number = fallback;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return number;
}

void store_copy_column(char *out, size_t size, sqlite3_stmt *statement, int column)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);
    snprintf(out, size, "%s", text == NULL ? "" : text);
}

/* ---- the row of the routing state ---- */

/* The value of a member as a column has it; NULL stands for "as configured". */
static uint32_t read_column(sqlite3_stmt *statement, int column,
                            const struct routing_member *member)
{
    if (sqlite3_column_type(statement, column) == SQLITE_NULL)
        return 0;
    if (member->kind == ROUTING_KIND_LEVEL)
        return routing_level_parse((const char *)sqlite3_column_text(statement, column));
    uint32_t value = (uint32_t)sqlite3_column_int64(statement, column);
    if (member->kind == ROUTING_KIND_SWITCH)
        return value != 0 ? ROUTING_ON : ROUTING_OFF;
    return value;
}

static bool bind_column(sqlite3_stmt *statement, int column, const struct routing_member *member,
                        uint32_t value)
{
    if (member->group == ROUTING_GROUP_SETTINGS && value == 0)
        return sqlite3_bind_null(statement, column) == SQLITE_OK;
    if (member->kind == ROUTING_KIND_LEVEL)
        return sqlite3_bind_text(statement, column, routing_level_name(value), -1, SQLITE_STATIC) ==
               SQLITE_OK;
    if (member->kind == ROUTING_KIND_SWITCH)
        value = value == ROUTING_ON;
    return sqlite3_bind_int64(statement, column, value) == SQLITE_OK;
}

bool store_load_state(sqlite3 *db, struct routing_state *state, bool *has_defaults)
{
    sqlite3_stmt *statement = NULL;
    char source[16];
    bool found = false;
    struct dynbuf sql;
    dynbuf_init(&sql, 4096);
    dynbuf_append_text(&sql, "SELECT store_id, revision, source");
    for (size_t i = 0; i < routing_member_count; i++)
        dynbuf_printf(&sql, ", %s", routing_members[i].name);
    dynbuf_append_text(&sql, " FROM routing WHERE id = 1");
    if (sqlite3_prepare_v2(db, dynbuf_text(&sql), -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
        found = true;
        store_copy_column(state->store_id, sizeof state->store_id, statement, 0);
        state->revision = (uint64_t)sqlite3_column_int64(statement, 1);
        store_copy_column(source, sizeof source, statement, 2);
        *has_defaults = strcmp(source, "defaults") == 0;
        for (size_t i = 0; i < routing_member_count; i++)
            routing_set(state, &routing_members[i],
                        read_column(statement, 3 + (int)i, &routing_members[i]));
    }
    sqlite3_finalize(statement);
    dynbuf_fini(&sql);
    return found;
}

bool store_save_state(struct store *store, const struct routing_state *state, const char *source)
{
    sqlite3_stmt *statement = NULL;
    struct dynbuf sql;
    dynbuf_init(&sql, 4096);
    dynbuf_append_text(&sql, "REPLACE INTO routing (id, store_id, revision, source");
    for (size_t i = 0; i < routing_member_count; i++)
        dynbuf_printf(&sql, ", %s", routing_members[i].name);
    dynbuf_append_text(&sql, ") VALUES (1, ?1, ?2, ?3");
    for (size_t i = 0; i < routing_member_count; i++)
        dynbuf_append_text(&sql, ", ?");
    dynbuf_append_text(&sql, ")");
    bool good =
        sqlite3_prepare_v2(store->db, dynbuf_text(&sql), -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_bind_text(statement, 1, state->store_id, -1, SQLITE_STATIC) == SQLITE_OK &&
        sqlite3_bind_int64(statement, 2, (sqlite3_int64)state->revision) == SQLITE_OK &&
        sqlite3_bind_text(statement, 3, source, -1, SQLITE_STATIC) == SQLITE_OK;
    for (size_t i = 0; i < routing_member_count; i++)
        good = good && bind_column(statement, 4 + (int)i, &routing_members[i],
                                   routing_get(state, &routing_members[i]));
    good = good && sqlite3_step(statement) == SQLITE_DONE;
    sqlite3_finalize(statement);
    dynbuf_fini(&sql);
    return good;
}

/* ---- transactions ---- */

bool store_begin(struct store *store)
{
    store->next = store->head;
    return store_run(store->db, "BEGIN IMMEDIATE");
}

bool store_commit(struct store *store)
{
    if (!store_run(store->db, "COMMIT"))
        return false;
    if (store->next.id !=
        store->head.id) /* outside of the file, where nobody can change it there */
        LOG_INFO("audit_row", "id=%llu hash=%s", (unsigned long long)store->next.id,
                 store->next.hash);
    store->head = store->next;
    return true;
}

void store_roll_back(struct store *store)
{
    if (!sqlite3_get_autocommit(store->db))
        (void)!store_run(store->db, "ROLLBACK");
    /* If even this fails, the last committed copies stay: they are on disk. */
    (void)!store_load_state(store->db, &store->state, &store->has_defaults);
    (void)!store_audit_load_head(store->db, &store->head);
}

/* State and audit row in one transaction. After a failure the file's own word counts. */
static bool commit_state(struct store *store, const struct routing_state *next, const char *source,
                         const char *action, const struct store_actor *actor,
                         const struct routing_state *before)
{
    if (store_begin(store) && store_save_state(store, next, source) &&
        store_audit_routing(store, action, actor, before, next) && store_commit(store)) {
        store->state = *next;
        store->has_defaults = strcmp(source, "defaults") == 0;
        return true;
    }
    return false;
}

/* ---- opening ---- */

struct store *store_open(const char *path, char *error, size_t error_size)
{
    struct store *store = calloc(1, sizeof *store);
    CHECK(store != NULL);
    pthread_mutex_init(&store->mutex, NULL);
    pthread_mutex_init(&store->copy_mutex, NULL);
    snprintf(store->path, sizeof store->path, "%s", path);
    bool good = sqlite3_open_v2(path, &store->db,
                                SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
                                NULL) == SQLITE_OK &&
                store_configure(store->db);
    if (!good)
        store_explain(path, store->db, "open it", error, error_size);
    good = good && store_migrate(store, error, error_size) &&
           store_check_integrity(path, store->db, error, error_size);
    good = good && store_audit_open(store, error, error_size);
    if (good)
        store_backup_sweep(path);
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
    pthread_mutex_destroy(&store->copy_mutex);
    pthread_mutex_destroy(&store->mutex);
    free(store);
}

/* ---- use ---- */

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
        if (commit_state(store, &next, "operator", adopt ? "adopt" : "change", actor, &before)) {
            verdict = STORE_CHANGED;
        } else {
            verdict = STORE_FAILED;
            store_explain(store->path, store->db, "write the change", error, error_size);
            store_roll_back(store);
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
        if (commit_state(store, &next, "dataplane", "seed", &who, &before)) {
            verdict = changed ? STORE_CHANGED : STORE_UNCHANGED;
            *seeded = true;
        } else {
            verdict = STORE_FAILED;
            store_explain(store->path, store->db, "write the seed", error, error_size);
            store_roll_back(store);
        }
    }
    *state = store->state;
    pthread_mutex_unlock(&store->mutex);
    return verdict;
}

bool store_note_forgotten(struct store *store, const char *before, const struct store_actor *actor,
                          char *error, size_t error_size)
{
    struct store_audit_row row = {.action = "dataplane_forget", .actor = actor, .before = before};
    return store_audit_note(store, &row, error, error_size);
}
