/* The store on a disk that fails: a VFS in front of SQLite's own lets the Nth write, sync or
 * truncation fail, once or from then on, as full or as broken, or cuts the power, which also takes
 * away all that was written and not yet synced. For every N over a series of changes: what was
 * acknowledged is there afterwards, at most one change more, and the audit chain is whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "store_fixture.h"

enum fault {
    FAULT_NONE,
    FAULT_BROKEN_ONCE,
    FAULT_BROKEN,
    FAULT_FULL_ONCE,
    FAULT_FULL,
    FAULT_POWER
};

#define FILES_MAX 16

/* A file as the disk would have it after a power cut. */
struct durable {
    char path[256];
    uint8_t *bytes; /* NULL: it was never synced, so nothing says that it exists */
    size_t length;
};

static struct {
    enum fault fault;
    unsigned long at;   /* the operation that fails, from 1; 0: none */
    unsigned long done; /* operations so far */
    bool is_off;        /* the power is */
    struct durable files[FILES_MAX];
    size_t file_count;
} disk;

struct shim_file {
    sqlite3_file base;
    sqlite3_file *real;
    struct durable *durable;
};

static struct shim_file *shim(sqlite3_file *file)
{
    return (struct shim_file *)file;
}

static sqlite3_vfs *real_vfs(sqlite3_vfs *vfs)
{
    return vfs->pAppData;
}

/* --- the disk --- */

/* SQLITE_OK, or how this operation fails. */
static int operate(int broken)
{
    disk.done++;
    if (disk.is_off)
        return broken;
    if (disk.at == 0 || disk.done < disk.at)
        return SQLITE_OK;
    bool is_now = disk.done == disk.at;
    switch (disk.fault) {
    case FAULT_NONE:
        return SQLITE_OK;
    case FAULT_BROKEN_ONCE:
        return is_now ? broken : SQLITE_OK;
    case FAULT_BROKEN:
        return broken;
    case FAULT_FULL_ONCE:
        return is_now ? SQLITE_FULL : SQLITE_OK;
    case FAULT_FULL:
        return SQLITE_FULL;
    case FAULT_POWER:
        disk.is_off = true;
        return broken;
    }
    return SQLITE_OK;
}

static struct durable *durable_file(const char *path)
{
    for (size_t i = 0; i < disk.file_count; i++)
        if (strcmp(disk.files[i].path, path) == 0)
            return &disk.files[i];
    assert_true(disk.file_count < FILES_MAX);
    struct durable *file = &disk.files[disk.file_count++];
    *file = (struct durable){0};
    snprintf(file->path, sizeof file->path, "%s", path);
    return file;
}

static bool is_known(const char *path)
{
    for (size_t i = 0; i < disk.file_count; i++)
        if (strcmp(disk.files[i].path, path) == 0)
            return true;
    return false;
}

static void make_durable(struct durable *file)
{
    struct stat status;
    int fd = open(file->path, O_RDONLY);
    assert_true(fd >= 0 && fstat(fd, &status) == 0);
    file->length = (size_t)status.st_size;
    file->bytes = realloc(file->bytes, file->length + 1);
    assert_non_null(file->bytes);
    assert_int_equal(pread(fd, file->bytes, file->length, 0), (ssize_t)file->length);
    close(fd);
}

/* What the next start finds. */
static void lose_power(void)
{
    for (size_t i = 0; i < disk.file_count; i++) {
        struct durable *file = &disk.files[i];
        if (file->bytes == NULL) {
            unlink(file->path);
            continue;
        }
        int fd = open(file->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, file->bytes, file->length), (ssize_t)file->length);
        close(fd);
    }
}

static void new_disk(enum fault fault, unsigned long at)
{
    for (size_t i = 0; i < disk.file_count; i++)
        free(disk.files[i].bytes);
    memset(&disk, 0, sizeof disk);
    disk.fault = fault;
    disk.at = at;
}

/* --- the VFS --- */

static int shim_close(sqlite3_file *file)
{
    return shim(file)->real->pMethods->xClose(shim(file)->real);
}

static int shim_read(sqlite3_file *file, void *bytes, int length, sqlite3_int64 offset)
{
    return shim(file)->real->pMethods->xRead(shim(file)->real, bytes, length, offset);
}

static int shim_write(sqlite3_file *file, const void *bytes, int length, sqlite3_int64 offset)
{
    sqlite3_file *real = shim(file)->real;
    int code = operate(SQLITE_IOERR_WRITE);
    if (code == SQLITE_OK)
        return real->pMethods->xWrite(real, bytes, length, offset);
    if (!disk.is_off) /* half of it may well have arrived */
        (void)real->pMethods->xWrite(real, bytes, length / 2, offset);
    return code;
}

static int shim_truncate(sqlite3_file *file, sqlite3_int64 length)
{
    int code = operate(SQLITE_IOERR_TRUNCATE);
    return code != SQLITE_OK ? code
                             : shim(file)->real->pMethods->xTruncate(shim(file)->real, length);
}

/* Durable is what this model says; the real disk need not be waited for. */
static int shim_sync(sqlite3_file *file, int flags)
{
    int code = operate(SQLITE_IOERR_FSYNC);
    (void)flags;
    if (code == SQLITE_OK && shim(file)->durable != NULL)
        make_durable(shim(file)->durable);
    return code;
}

static int shim_size(sqlite3_file *file, sqlite3_int64 *length)
{
    return shim(file)->real->pMethods->xFileSize(shim(file)->real, length);
}

static int shim_lock(sqlite3_file *file, int level)
{
    return shim(file)->real->pMethods->xLock(shim(file)->real, level);
}

static int shim_unlock(sqlite3_file *file, int level)
{
    return shim(file)->real->pMethods->xUnlock(shim(file)->real, level);
}

static int shim_check_lock(sqlite3_file *file, int *result)
{
    return shim(file)->real->pMethods->xCheckReservedLock(shim(file)->real, result);
}

static int shim_control(sqlite3_file *file, int operation, void *argument)
{
    return shim(file)->real->pMethods->xFileControl(shim(file)->real, operation, argument);
}

static int shim_sector(sqlite3_file *file)
{
    return shim(file)->real->pMethods->xSectorSize(shim(file)->real);
}

static int shim_traits(sqlite3_file *file)
{
    return shim(file)->real->pMethods->xDeviceCharacteristics(shim(file)->real);
}

/* Version 1: no shared memory, which a WAL under locking_mode=EXCLUSIVE does without. */
static const sqlite3_io_methods shim_methods = {
    .iVersion = 1,
    .xClose = shim_close,
    .xRead = shim_read,
    .xWrite = shim_write,
    .xTruncate = shim_truncate,
    .xSync = shim_sync,
    .xFileSize = shim_size,
    .xLock = shim_lock,
    .xUnlock = shim_unlock,
    .xCheckReservedLock = shim_check_lock,
    .xFileControl = shim_control,
    .xSectorSize = shim_sector,
    .xDeviceCharacteristics = shim_traits,
};

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                     int *out_flags)
{
    struct shim_file *opened = shim(file);
    if (name != NULL && access(name, F_OK) == 0 && !is_known(name))
        make_durable(durable_file(name)); /* it was there before this play */
    *opened = (struct shim_file){.real = (sqlite3_file *)(opened + 1)};
    int code = real_vfs(vfs)->xOpen(real_vfs(vfs), name, opened->real, flags, out_flags);
    if (code != SQLITE_OK)
        return code;
    opened->base.pMethods = &shim_methods;
    if (name != NULL)
        opened->durable = durable_file(name);
    return SQLITE_OK;
}

/* SQLite syncs the directory after it: durable at once. */
static int shim_delete(sqlite3_vfs *vfs, const char *name, int sync_directory)
{
    int code = operate(SQLITE_IOERR_DELETE);
    if (code != SQLITE_OK)
        return code;
    free(durable_file(name)->bytes);
    durable_file(name)->bytes = NULL;
    return real_vfs(vfs)->xDelete(real_vfs(vfs), name, sync_directory);
}

static sqlite3_vfs shim_vfs;

static int register_vfs(void **state)
{
    sqlite3_vfs *real = sqlite3_vfs_find("unix");
    (void)state;
    shim_vfs = *real; /* all but these goes to the real one as it is: they ignore which VFS asks */
    shim_vfs.zName = "shim";
    shim_vfs.pAppData = real;
    shim_vfs.szOsFile = real->szOsFile + (int)sizeof(struct shim_file);
    shim_vfs.xOpen = shim_open;
    shim_vfs.xDelete = shim_delete;
    return sqlite3_vfs_register(&shim_vfs, 1);
}

/* --- the play --- */

#define CHANGES 6

struct outcome {
    uint64_t acknowledged; /* revision */
    bool reads;            /* its forward_reads_to_target */
    bool is_open;
    unsigned failed;
};

/* Opens the store and changes it; says what was acknowledged. */
static struct outcome play(const struct place *place, unsigned changes)
{
    struct outcome outcome = {0};
    struct routing_state routing;
    char error[512] = "";
    struct store *store = store_open(place->path, error, sizeof error);
    if (store == NULL) {
        assert_non_null(strstr(error, place->path));
        return outcome;
    }
    outcome.is_open = true;
    store_read(store, &routing);
    outcome.acknowledged = routing.revision;
    outcome.reads = routing.forward_reads_to_target;
    for (unsigned i = 0; i < changes; i++) {
        bool wanted = !outcome.reads;
        enum store_verdict verdict = place_set_reads(store, wanted, NULL, &routing);
        if (verdict == STORE_CHANGED) {
            assert_int_equal(routing.revision, outcome.acknowledged + 1);
            outcome.acknowledged = routing.revision;
            outcome.reads = wanted;
        } else {
            assert_int_equal(verdict, STORE_FAILED);
            /* Refused: the state in force is the one before. */
            assert_true(routing.revision == outcome.acknowledged &&
                        routing.forward_reads_to_target == outcome.reads);
            outcome.failed++;
        }
        store_read(store, &routing);
        assert_int_equal(routing.revision, outcome.acknowledged);
    }
    store_close(store);
    return outcome;
}

/* first: the revision a store that would not open has kept. */
static void check_after(const struct place *place, const struct outcome *outcome, uint64_t first,
                        const char *what, unsigned long at)
{
    struct routing_state routing;
    struct store_audit_verdict verdict;
    struct store_audit_head head;
    char error[512] = "";
    struct store *store = store_open(place->path, error, sizeof error);
    if (store == NULL)
        fail_msg("%s at %lu: the store does not open: %s", what, at, error);
    store_read(store, &routing);
    /* The last refused change may be there: the disk said no after it had it. */
    if (outcome->is_open && routing.revision != outcome->acknowledged &&
        !(routing.revision == outcome->acknowledged + 1 &&
          routing.forward_reads_to_target == !outcome->reads))
        fail_msg("%s at %lu: revision %llu after %llu was acknowledged", what, at,
                 (unsigned long long)routing.revision, (unsigned long long)outcome->acknowledged);
    if (!outcome->is_open)
        assert_int_equal(routing.revision, first);
    store_audit_verify(store, NULL, &verdict);
    if (!verdict.is_whole)
        fail_msg("%s at %lu: %s", what, at, verdict.detail);
    store_audit_head(store, &head);
    assert_int_equal(head.id, routing.revision); /* a row a revision, from the creation on */
    assert_int_equal(place_set_reads(store, !routing.forward_reads_to_target, NULL, &routing),
                     STORE_CHANGED);
    store_close(store);
}

/* Every N until the series runs through without meeting the fault. is_old: the store begins with an
 * older schema, so that its copy and its migration fail, too. */
static void fail_everywhere(const struct place *place, enum fault fault, bool is_old,
                            const char *what)
{
    unsigned long points = 0, refused = 0;
    for (unsigned long at = 1;; at++) {
        place_empty(place);
        new_disk(FAULT_NONE, 0);
        if (is_old)
            place_schema_2(place->path);
        new_disk(fault, at);
        struct outcome outcome = play(place, is_old ? 1 : CHANGES);
        bool was_met = disk.done >= disk.at;
        refused += outcome.failed + !outcome.is_open;
        if (fault == FAULT_POWER)
            lose_power();
        new_disk(FAULT_NONE, 0);
        check_after(place, &outcome, is_old ? 3 : 1, what, at);
        if (!was_met)
            break;
        points++;
    }
    assert_true(points > 3 * CHANGES); /* the shim was in the way */
    assert_true(refused > 0);
}

static void test_a_write_that_fails_once(void **state)
{
    fail_everywhere(*state, FAULT_BROKEN_ONCE, false, "broken once");
}

static void test_a_disk_that_breaks(void **state)
{
    fail_everywhere(*state, FAULT_BROKEN, false, "broken");
}

static void test_a_disk_that_is_full_once(void **state)
{
    fail_everywhere(*state, FAULT_FULL_ONCE, false, "full once");
}

static void test_a_disk_that_fills_up(void **state)
{
    fail_everywhere(*state, FAULT_FULL, false, "full");
}

static void test_a_power_cut(void **state)
{
    fail_everywhere(*state, FAULT_POWER, false, "power cut");
}

static void test_a_migration_on_a_disk_that_breaks(void **state)
{
    fail_everywhere(*state, FAULT_BROKEN, true, "broken migration");
}

static void test_a_migration_and_a_power_cut(void **state)
{
    fail_everywhere(*state, FAULT_POWER, true, "power cut in a migration");
}

static void test_no_room_for_the_copy_keeps_the_older_schema(void **state)
{
    struct place *place = *state;
    char error[512] = "";
    new_disk(FAULT_NONE, 0);
    place_schema_2(place->path);
    new_disk(FAULT_FULL, 1);
    assert_null(store_open(place->path, error, sizeof error));
    if (strstr(error, "the disk is full") == NULL || strstr(error, "no backup") == NULL)
        fail_msg("%s", error);
    new_disk(FAULT_NONE, 0);
    assert_int_equal(place_number(place->path, "PRAGMA user_version"), 2);
    store_close(place_open(place));
}

/* The words an operator gets, and that all is well again when there is room. */
static void test_a_full_disk_is_said_and_gets_over(void **state)
{
    struct place *place = *state;
    struct routing_state routing;
    struct routing_patch patch = {.has_forward_reads_to_target = true,
                                  .forward_reads_to_target = true};
    struct store_actor actor = {.name = "x"};
    char error[512] = "";
    new_disk(FAULT_NONE, 0);
    struct store *store = place_open(place);
    disk.fault = FAULT_FULL;
    disk.at = 1;
    for (int turn = 0; turn < 5; turn++) {
        assert_int_equal(
            store_change(store, &patch, NULL, false, &actor, &routing, error, sizeof error),
            STORE_FAILED);
        assert_non_null(strstr(error, "the disk is full"));
        assert_true(routing.revision == 1 && !routing.forward_reads_to_target);
    }
    int fd;
    uint64_t bytes;
    bool is_busy;
    assert_false(store_backup(store, &actor, &fd, &bytes, &is_busy, error, sizeof error));
    assert_true(!is_busy && fd == -1 && strstr(error, "the disk is full") != NULL);
    disk.at = 0;
    assert_int_equal(
        store_change(store, &patch, NULL, false, &actor, &routing, error, sizeof error),
        STORE_CHANGED);
    assert_int_equal(routing.revision, 2);
    store_close(store);
}

/* The shim itself: without synchronous=FULL it would have to notice. */
static void test_the_power_cut_finds_a_lazy_store(void **state)
{
    struct place *place = *state;
    sqlite3 *db;
    new_disk(FAULT_NONE, 0);
    assert_int_equal(sqlite3_open(place->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
                                  "PRAGMA synchronous = NORMAL; CREATE TABLE t (x);"
                                  "PRAGMA wal_checkpoint; INSERT INTO t VALUES (1)",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    disk.is_off = true;
    sqlite3_close(db);
    lose_power();
    new_disk(FAULT_NONE, 0);
    assert_int_equal(sqlite3_open(place->path, &db), SQLITE_OK);
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_exec(db, "PRAGMA locking_mode = EXCLUSIVE", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM t", -1, &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(statement, 0), 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
}

int main(void)
{
#define ROW(test) cmocka_unit_test_setup_teardown(test, place_set_up, place_tear_down)
    const struct CMUnitTest tests[] = {
        ROW(test_the_power_cut_finds_a_lazy_store),
        ROW(test_a_full_disk_is_said_and_gets_over),
        ROW(test_a_write_that_fails_once),
        ROW(test_a_disk_that_breaks),
        ROW(test_a_disk_that_is_full_once),
        ROW(test_a_disk_that_fills_up),
        ROW(test_a_power_cut),
        ROW(test_a_migration_on_a_disk_that_breaks),
        ROW(test_a_migration_and_a_power_cut),
        ROW(test_no_room_for_the_copy_keeps_the_older_schema),
    };
#undef ROW
    return cmocka_run_group_tests(tests, register_vfs, NULL);
}
