/* The shape of the file: whose it is, its migrations, its settings, its health. Runs while a store
 * is opened, before anybody else knows it. Must never change a file that is not ours, or a schema
 * without having copied it. */
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "controlplane/store_internal.h"

#define BUSY_MS 1000

struct migration {
    int version;
    const char *statements;
    bool (*convert)(struct store *store); /* what SQL alone cannot do; after the statements */
    const char *then;                     /* the last statements */
};

static const struct migration migrations[] = {
#define MIGRATION(version, statements)                     {version, statements, NULL, ""},
#define MIGRATION_WITH(version, statements, convert, then) {version, statements, convert, then},
#include "controlplane/migrations.def"
#undef MIGRATION
#undef MIGRATION_WITH
};

bool store_configure(sqlite3 *db)
{
    sqlite3_busy_timeout(db, BUSY_MS);
    return store_run(db, "PRAGMA locking_mode = EXCLUSIVE") &&
           store_run(db, "PRAGMA trusted_schema = OFF") &&
           store_run(db, "PRAGMA foreign_keys = ON") &&
           store_run(db, "PRAGMA journal_mode = WAL") &&
           store_run(db, "PRAGMA synchronous = FULL") && store_run(db, "PRAGMA mmap_size = 0");
}

bool store_check_identity(const char *path, sqlite3 *db, int64_t *version, char *error,
                          size_t error_size)
{
    int64_t newest = migrations[ARRAY_COUNT(migrations) - 1].version;
    int64_t tables = store_number(db, "SELECT count(*) FROM sqlite_schema", -1);
    *version = tables < 0 ? -1 : store_number(db, "PRAGMA user_version", -1);
    if (*version < 0)
        return store_explain(path, db, "read the schema version", error, error_size);
    int64_t application = store_number(db, "PRAGMA application_id", -1);
    if (application != STORE_APPLICATION_ID &&
        !(application == 0 && *version == 0 && tables == 0)) {
        snprintf(error, error_size,
                 "%s is not a Cloud-Gate control store; set CONTROL_DATABASE to another path",
                 path);
        return false;
    }
    if (*version > newest) {
        snprintf(error, error_size,
                 "%s: schema version %lld is newer than this program knows (%lld); start the "
                 "program that wrote it, or restore an older backup with cloudgate-control "
                 "--restore FILE",
                 path, (long long)*version, (long long)newest);
        return false;
    }
    return true;
}

bool store_check_integrity(const char *path, sqlite3 *db, char *error, size_t error_size)
{
    sqlite3_stmt *statement = NULL;
    char answer[200] = "no answer";
    if (sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        store_copy_column(answer, sizeof answer, statement, 0);
    else
        snprintf(answer, sizeof answer, "%s", sqlite3_errmsg(db));
    sqlite3_finalize(statement);
    if (strcmp(answer, "ok") == 0)
        return true;
    snprintf(error, error_size,
             "%s is damaged (%s); restore a backup with cloudgate-control --restore FILE", path,
             answer);
    return false;
}

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

static bool create_state(struct store *store)
{
    struct store_actor actor = {.name = "cloudgate-control", .user_agent = ""};
    routing_defaults(&store->state);
    store->has_defaults = true;
    if (!make_store_id(store->state.store_id) ||
        !store_save_state(store, &store->state, "defaults") ||
        !store_audit_routing(store, "create", &actor, NULL, &store->state))
        return false;
    LOG_INFO("store_created", "store_id=%s revision=1 source=defaults", store->state.store_id);
    return true;
}

/* The file as it was, under a name that says which schema it has. */
static bool copy_before(struct store *store, int64_t version, char *error, size_t error_size)
{
    char to[sizeof store->path + 32];
    char reason[600];
    snprintf(to, sizeof to, "%s.schema-%lld", store->path, (long long)version);
    if (!store_copy(store->db, NULL, to, reason, sizeof reason)) {
        snprintf(error, error_size, "no backup before the schema changes, so it stays: %s", reason);
        return false;
    }
    LOG_INFO("store_copied", "file=%s schema=%lld", to, (long long)version);
    return true;
}

static bool migrate_from(struct store *store, int64_t version)
{
    char sql[96];
    for (size_t i = 0; i < ARRAY_COUNT(migrations); i++) {
        const struct migration *step = &migrations[i];
        if (step->version <= version)
            continue;
        snprintf(sql, sizeof sql, "PRAGMA application_id = %d; PRAGMA user_version = %d",
                 STORE_APPLICATION_ID, step->version);
        if (!store_run(store->db, step->statements) ||
            (step->convert != NULL && !step->convert(store)) || !store_run(store->db, step->then) ||
            !store_run(store->db, sql))
            return false;
    }
    return true;
}

bool store_migrate(struct store *store, char *error, size_t error_size)
{
    int64_t version;
    int64_t newest = migrations[ARRAY_COUNT(migrations) - 1].version;
    if (sqlite3_db_readonly(store->db, "main") == 1) {
        snprintf(
            error, error_size,
            "%s: the file or its directory cannot be written; see to its owner, mode and mount",
            store->path);
        return false;
    }
    if (!store_check_identity(store->path, store->db, &version, error, error_size))
        return false;
    if (version > 0 && version < newest && !copy_before(store, version, error, error_size))
        return false;
    /* All steps and the first row in one transaction: a store exists whole or not at all. */
    if (!store_run(store->db, "BEGIN EXCLUSIVE"))
        return store_explain(store->path, store->db, "lock the store", error, error_size);
    if (!migrate_from(store, version))
        return store_explain(store->path, store->db, "migrate the schema", error, error_size);
    bool is_new = store_number(store->db, "SELECT count(*) FROM routing", -1) == 0;
    if (is_new ? !create_state(store)
               : !store_load_state(store->db, &store->state, &store->has_defaults))
        return store_explain(store->path, store->db, "make the first state", error, error_size);
    if (!store_run(store->db, "COMMIT"))
        return store_explain(store->path, store->db, "commit", error, error_size);
    return true;
}
