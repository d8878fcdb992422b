/* Copies of the store: online backup, restore, and the copy made before the schema changes. Copies
 * are SQLite's own, page by page within its transactions, never of the bytes of a live file. Must
 * never leave a file under its final name that is not whole and on disk. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "controlplane/store_internal.h"

#define STEP_PAGES  256
#define LOCK_BEGIN  0x40000000 /* where SQLite locks a database file, see its file format */
#define LOCK_LENGTH 512

/* A file's name takes effect only with its directory. */
static bool sync_directory(const char *path)
{
    char copy[4200];
    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return good;
}

static bool explain_errno(const char *path, const char *doing, char *error, size_t error_size)
{
    snprintf(error, error_size, "%s: cannot %s: %s", path, doing, strerror(errno));
    return false;
}

/* A file SQLite may have left under a name of ours, with its companions. */
static void remove_database(const char *path)
{
    static const char *const suffixes[] = {"", "-journal", "-wal", "-shm"};
    char name[4300];
    for (size_t i = 0; i < ARRAY_COUNT(suffixes); i++) {
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        unlink(name);
    }
}

/* Page by page; a change of the same connection meanwhile goes into the copy as well. */
static bool copy_pages(sqlite3 *to, sqlite3 *from, pthread_mutex_t *mutex)
{
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
    int step = SQLITE_OK;
    while (backup != NULL && step == SQLITE_OK) {
        if (mutex != NULL)
            pthread_mutex_lock(mutex);
        step = sqlite3_backup_step(backup, STEP_PAGES);
        if (mutex != NULL)
            pthread_mutex_unlock(mutex);
    }
    return backup != NULL && sqlite3_backup_finish(backup) == SQLITE_OK && step == SQLITE_DONE;
}

bool store_copy(sqlite3 *db, pthread_mutex_t *mutex, const char *to, char *error, size_t error_size)
{
    char temporary[4200];
    sqlite3 *copy = NULL;
    snprintf(temporary, sizeof temporary, "%s.tmp", to);
    remove_database(temporary);
    /* journal_mode: the copy is one file, without the companions of a WAL. */
    bool good = (sqlite3_open_v2(temporary, &copy, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                                 NULL) == SQLITE_OK &&
                 store_run(copy, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF;"
                                 "PRAGMA synchronous = EXTRA") &&
                 copy_pages(copy, db, mutex) && store_run(copy, "PRAGMA journal_mode = DELETE")) ||
                store_explain(temporary, copy, "write the copy", error, error_size);
    good = good && store_check_integrity(temporary, copy, error, error_size);
    good = sqlite3_close(copy) == SQLITE_OK && good;
    if (good && (rename(temporary, to) != 0 || !sync_directory(to)))
        good = explain_errno(to, "rename the copy", error, error_size);
    if (!good)
        remove_database(temporary);
    return good;
}

void store_backup_sweep(const char *path)
{
    char name[4200];
    snprintf(name, sizeof name, "%s.backup", path);
    remove_database(name);
    snprintf(name, sizeof name, "%s.backup.tmp", path);
    remove_database(name);
}

/* ---- backup ---- */

static bool note_backup(struct store *store, const struct store_actor *actor, char *error,
                        size_t error_size)
{
    struct store_audit_row row = {.action = "backup", .actor = actor};
    return store_audit_note(store, &row, error, error_size);
}

bool store_backup(struct store *store, const struct store_actor *actor, int *fd, uint64_t *bytes,
                  bool *is_busy, char *error, size_t error_size)
{
    char path[4200];
    struct stat status;
    *fd = -1;
    *is_busy = pthread_mutex_trylock(&store->copy_mutex) != 0;
    if (*is_busy) {
        snprintf(error, error_size, "another backup is being made");
        return false;
    }
    snprintf(path, sizeof path, "%s.backup", store->path);
    bool good = note_backup(store, actor, error, error_size) &&
                store_copy(store->db, &store->mutex, path, error, error_size);
    if (good) {
        *fd = open(path, O_RDONLY | O_CLOEXEC);
        good = (*fd >= 0 && fstat(*fd, &status) == 0) ||
               explain_errno(path, "open the copy", error, error_size);
        *bytes = good ? (uint64_t)status.st_size : 0;
        unlink(path);
    }
    pthread_mutex_unlock(&store->copy_mutex);
    if (!good && *fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    return good;
}

/* ---- restore ---- */

/* A copy of the backup beside the store, checked, its schema brought up to date, with its audit
 * row. Its own WAL is gone when this returns. */
static bool prepare_file(const char *path, const char *from, const char *actor,
                         struct store_restored *restored, char *error, size_t error_size)
{
    sqlite3 *db = NULL;
    int64_t version = 0;
    bool good = (sqlite3_open_v2(from, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
                 store_run(db, "PRAGMA trusted_schema = OFF")) ||
                store_explain(from, db, "open it", error, error_size);
    good = good && store_check_identity(from, db, &version, error, error_size) &&
           store_check_integrity(from, db, error, error_size);
    if (good && version == 0) {
        snprintf(error, error_size, "%s is empty, and no backup", from);
        good = false;
    }
    good = good && store_copy(db, NULL, path, error, error_size);
    sqlite3_close(db);
    if (!good)
        return false;

    char older[4300];
    struct store_audit_verdict verdict;
    struct store_actor who = {.name = actor, .user_agent = "cloudgate-control --restore"};
    struct store *store = store_open(path, error, error_size);
    snprintf(older, sizeof older, "%s.schema-%lld", path, (long long)version);
    unlink(older); /* the backup itself is that copy */
    if (store == NULL)
        return false;
    store_audit_verify(store, NULL, &verdict);
    if (!verdict.is_whole)
        snprintf(restored->warning, sizeof restored->warning, "%s", verdict.detail);
    struct store_audit_row row = {
        .action = "restore", .actor = &who, .revision = store->state.revision};
    who.reason = restored->warning[0] == '\0' ? NULL : restored->warning;
    restored->state = store->state;
    good = (store_begin(store) && store_audit_add(store, &row) && store_commit(store) &&
            store_run(store->db, "PRAGMA journal_mode = DELETE")) ||
           store_explain(path, store->db, "write the audit row", error, error_size);
    store_close(store);
    return good;
}

/* What the former file's WAL still holds is brought into it, if it can be read at all. false: it is
 * in use. */
static bool settle_former(const char *path, char *error, size_t error_size)
{
    sqlite3 *db = NULL;
    bool is_free = true;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK) {
        sqlite3_busy_timeout(db, 1000);
        if (!store_run(db, "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; COMMIT")) {
            is_free = (sqlite3_errcode(db) & 0xff) != SQLITE_BUSY;
            if (!is_free)
                store_explain(path, db, "replace it", error, error_size);
        }
    }
    sqlite3_close(db); /* the last connection's close also empties the WAL */
    return is_free;
}

/* Whoever runs the restore, the control plane must be able to open the result: it belongs to whom
 * the former file belonged to, or its directory. */
static bool give_to_owner(const char *path, const char *prepared, char *error, size_t error_size)
{
    char directory[4200];
    struct stat former;
    mode_t mode = S_IRUSR | S_IWUSR | S_IRGRP;
    snprintf(directory, sizeof directory, "%s", path);
    if (stat(path, &former) == 0)
        mode = former.st_mode & (S_IRWXU | S_IRWXG | S_IRWXO);
    else if (stat(dirname(directory), &former) != 0)
        return explain_errno(path, "see whose it is", error, error_size);
    if (geteuid() == 0 && chown(prepared, former.st_uid, former.st_gid) != 0)
        return explain_errno(prepared, "give it to its owner", error, error_size);
    return chmod(prepared, mode) == 0 || explain_errno(prepared, "set its mode", error, error_size);
}

/* The former file stays under another name; path is one of the two files at every moment. */
static bool exchange(const char *path, const char *prepared, struct store_restored *restored,
                     char *error, size_t error_size)
{
    char stamp[32], wal[4300], aside_wal[4400];
    struct tm parts;
    time_t now = time(NULL);
    if (access(path, F_OK) == 0) {
        gmtime_r(&now, &parts);
        strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &parts);
        snprintf(restored->aside, sizeof restored->aside, "%.4000s.before-restore-%s", path, stamp);
        snprintf(wal, sizeof wal, "%s-wal", path);
        snprintf(aside_wal, sizeof aside_wal, "%s-wal", restored->aside);
        if (link(path, restored->aside) != 0)
            return explain_errno(restored->aside, "keep the former file", error, error_size);
        if (rename(wal, aside_wal) != 0 && errno != ENOENT)
            return explain_errno(aside_wal, "keep the former file's WAL", error, error_size);
    }
    if (rename(prepared, path) != 0 || !sync_directory(path))
        return explain_errno(path, "put the backup in its place", error, error_size);
    return true;
}

/* The locks SQLite would take, on a file it may not be able to read. */
static bool lock_former(const char *path, int *fd, char *error, size_t error_size)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCK_BEGIN, .l_len = LOCK_LENGTH};
    *fd = open(path, O_RDWR | O_CLOEXEC);
    if (*fd < 0)
        return errno == ENOENT || explain_errno(path, "open it", error, error_size);
    if (fcntl(*fd, F_SETLK, &lock) == 0)
        return true;
    if (errno != EACCES && errno != EAGAIN)
        return explain_errno(path, "lock it", error, error_size);
    snprintf(error, error_size,
             "%s: cannot replace it: it is in use by another process (another cloudgate-control?); "
             "stop that first",
             path);
    return false;
}

bool store_restore(const char *path, const char *from, const char *actor,
                   struct store_restored *restored, char *error, size_t error_size)
{
    char prepared[4200];
    int fd = -1;
    *restored = (struct store_restored){0};
    snprintf(prepared, sizeof prepared, "%s.restore", path);
    remove_database(prepared);
    bool good = settle_former(path, error, error_size) &&
                prepare_file(prepared, from, actor, restored, error, error_size) &&
                lock_former(path, &fd, error, error_size) &&
                give_to_owner(path, prepared, error, error_size) &&
                exchange(path, prepared, restored, error, error_size);
    if (!good)
        remove_database(prepared);
    if (fd >= 0)
        close(fd);
    return good;
}
