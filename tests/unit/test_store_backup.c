/* Copies of the store: online backup, restore over stores in every condition, and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>
#include <cmocka.h>

#include "store_fixture.h"

static const struct store_actor tester = {.name = "tester", .user_agent = ""};

static void path_of(const struct place *place, const char *name, char path[160])
{
    snprintf(path, 160, "%s/%.90s", place->directory, name);
}

static void take_backup(struct store *store, const char *to)
{
    char error[512] = "", bytes[65536];
    int fd;
    uint64_t length, copied = 0;
    bool is_busy;
    if (!store_backup(store, &tester, &fd, &length, &is_busy, error, sizeof error))
        fail_msg("%s", error);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    for (ssize_t got; (got = read(fd, bytes, sizeof bytes)) > 0; copied += (uint64_t)got)
        assert_int_equal(write(out, bytes, (size_t)got), got);
    assert_int_equal(copied, length);
    close(out);
    close(fd);
}

static uint64_t revision_of(const struct place *place)
{
    struct routing_state routing;
    struct store_audit_verdict verdict;
    struct store *store = place_open(place);
    store_read(store, &routing);
    store_audit_verify(store, NULL, &verdict);
    assert_true(verdict.is_whole);
    store_close(store);
    return routing.revision;
}

/* Revision 2 in the backup, 3 in the store. */
static void store_with_backup(const struct place *place, char backup[160])
{
    struct routing_state routing;
    path_of(place, "backup.db", backup);
    struct store *store = place_open(place);
    assert_int_equal(place_set_reads(store, true, NULL, &routing), STORE_CHANGED);
    take_backup(store, backup);
    assert_int_equal(place_set_reads(store, false, NULL, &routing), STORE_CHANGED);
    store_close(store);
}

static unsigned files_like(const struct place *place, const char *part, char found[160])
{
    unsigned count = 0;
    DIR *directory = opendir(place->directory);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
        if (strstr(entry->d_name, part) != NULL) {
            count++;
            path_of(place, entry->d_name, found);
        }
    closedir(directory);
    return count;
}

static void restore(const struct place *place, const char *from, struct store_restored *restored)
{
    char error[700] = "";
    if (!store_restore(place->path, from, "uid 0", restored, error, sizeof error))
        fail_msg("%s", error);
}

static void expect_refusal(const struct place *place, const char *from, const char *word)
{
    char error[700] = "", found[160];
    struct store_restored restored;
    unsigned before = files_like(place, "", found);
    assert_false(store_restore(place->path, from, "uid 0", &restored, error, sizeof error));
    if (strstr(error, word) == NULL)
        fail_msg("\"%s\" should say \"%s\"", error, word);
    assert_int_equal(files_like(place, "", found), before); /* nothing is left lying about */
}

static void test_backup_and_restore(void **state)
{
    struct place *place = *state;
    struct store_restored restored;
    struct store_audit_verdict verdict;
    char backup[160], found[160];
    store_with_backup(place, backup);
    assert_int_equal(files_like(place, "", found), 4); /* . .. the store, the backup */
    store_audit_verify_file(backup, NULL, &verdict);
    assert_true(verdict.is_whole && verdict.entries == 3); /* creation, change, backup */
    assert_int_equal(revision_of(place), 3);
    restore(place, backup, &restored);
    assert_true(restored.state.revision == 2 && restored.state.forward_reads_to_target);
    assert_string_equal(restored.warning, "");
    assert_int_equal(revision_of(place), 2);
    store_audit_verify_file(place->path, NULL, &verdict);
    assert_true(verdict.is_whole && verdict.entries == 4); /* and the restore */
    store_audit_verify_file(restored.aside, NULL, &verdict);
    assert_true(verdict.is_whole && verdict.entries == 4); /* creation, change, backup, change */
}

/* By root, most likely; the control plane is not root. */
static void test_the_restored_store_belongs_to_whom_it_belonged(void **state)
{
    struct place *place = *state;
    struct store_restored restored;
    struct stat status;
    char backup[160];
    store_with_backup(place, backup);
    assert_int_equal(chmod(place->path, 0600), 0);
    uid_t owner = geteuid() == 0 ? 4711 : geteuid();
    assert_int_equal(chown(place->path, owner, (gid_t)-1), 0);
    restore(place, backup, &restored);
    assert_int_equal(stat(place->path, &status), 0);
    assert_true(status.st_uid == owner && (status.st_mode & 0777) == 0600);
    unlink(place->path);
    restore(place, backup, &restored);
    assert_int_equal(stat(place->path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0640);
}

static void test_what_a_killed_backup_left_goes_at_the_next_start(void **state)
{
    struct place *place = *state;
    char left[160], found[160];
    path_of(place, "control.db.backup.tmp", left);
    place_sql(left, "CREATE TABLE half (x)");
    path_of(place, "control.db.backup", left);
    place_sql(left, "CREATE TABLE whole (x)");
    store_close(place_open(place));
    assert_int_equal(files_like(place, ".backup", found), 0);
}

static void test_restore_where_nothing_was(void **state)
{
    struct place *place = *state;
    struct store_restored restored;
    char backup[160];
    store_with_backup(place, backup);
    unlink(place->path);
    restore(place, backup, &restored);
    assert_string_equal(restored.aside, "");
    assert_int_equal(revision_of(place), 2);
}

static void test_restore_over_a_damaged_store(void **state)
{
    struct place *place = *state;
    struct store_restored restored;
    char backup[160], error[512];
    store_with_backup(place, backup);
    int fd = open(place->path, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, "this was a database once", 24), 24);
    close(fd);
    assert_null(store_open(place->path, error, sizeof error));
    assert_non_null(strstr(error, "--restore"));
    restore(place, backup, &restored);
    assert_int_equal(revision_of(place), 2);
    struct stat status;
    assert_true(stat(restored.aside, &status) == 0 && status.st_size == 24);
}

static void test_damage_inside_is_found_at_the_start(void **state)
{
    struct place *place = *state;
    struct routing_state routing;
    char error[512] = "", noise[2048];
    struct store *store = place_open(place);
    for (int i = 0; i < 200; i++)
        assert_int_equal(place_set_reads(store, i % 2 == 0, NULL, &routing), STORE_CHANGED);
    store_close(store);
    memset(noise, 0xa5, sizeof noise);
    int fd = open(place->path, O_WRONLY);
    assert_int_equal(pwrite(fd, noise, sizeof noise, 12 * 4096 + 100), sizeof noise);
    close(fd);
    assert_null(store_open(place->path, error, sizeof error));
    if (strstr(error, "damaged") == NULL || strstr(error, "--restore FILE") == NULL)
        fail_msg("%s", error);
}

/* What a killed control plane leaves in its WAL belongs to the store that is kept aside, and never
 * to the restored one. */
static void test_the_wal_of_the_former_store_stays_with_it(void **state)
{
    struct place *place = *state;
    struct store_restored restored;
    struct store_audit_verdict verdict;
    char backup[160], found[160];
    store_with_backup(place, backup);
    pid_t child = fork();
    if (child == 0) {
        struct routing_state routing;
        struct store *store = place_open(place);
        if (place_set_reads(store, true, NULL, &routing) == STORE_CHANGED && routing.revision == 4)
            raise(SIGKILL);
        _exit(1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(files_like(place, "control.db-wal", found), 1);
    restore(place, backup, &restored);
    assert_int_equal(files_like(place, "control.db-wal", found), 0);
    assert_int_equal(revision_of(place), 2);
    store_audit_verify_file(restored.aside, NULL, &verdict);
    assert_true(verdict.is_whole && verdict.entries == 5);
}

static void test_what_is_no_backup_is_refused(void **state)
{
    struct place *place = *state;
    char backup[160], other[160];
    store_with_backup(place, backup);
    path_of(place, "other", other);
    expect_refusal(place, other, "cannot open it");
    int fd = open(other, O_WRONLY | O_CREAT, 0600);
    close(fd);
    expect_refusal(place, other, "empty");
    fd = open(other, O_WRONLY);
    for (int i = 0; i < 100; i++)
        assert_int_equal(write(fd, "no database at all", 18), 18);
    close(fd);
    expect_refusal(place, other, "not a database");
    unlink(other);
    place_sql(other, "CREATE TABLE somebody_elses (x)");
    expect_refusal(place, other, "not a Cloud-Gate");
    place_sql(backup, "PRAGMA user_version = 99");
    expect_refusal(place, backup, "newer");
    assert_int_equal(revision_of(place), 3);
}

static void test_a_backup_with_a_broken_log_is_restored_with_a_warning(void **state)
{
    struct place *place = *state;
    struct store_restored restored;
    char backup[160];
    struct routing_state routing;
    store_with_backup(place, backup);
    place_sql(backup,
              "DROP TRIGGER audit_unchanged; UPDATE audit SET actor = 'nobody' WHERE id = 2");
    restore(place, backup, &restored);
    assert_non_null(strstr(restored.warning, "row 2"));
    struct store *store = place_open(place);
    store_read(store, &routing);
    assert_int_equal(routing.revision, 2);
    store_close(store);
}

static void test_a_store_in_use_is_not_replaced(void **state)
{
    struct place *place = *state;
    char backup[160];
    int pipe_ends[2];
    store_with_backup(place, backup);
    assert_int_equal(pipe(pipe_ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct store *store = place_open(place);
        if (write(pipe_ends[1], "x", 1) != 1 || store == NULL)
            _exit(1);
        for (;;)
            pause();
    }
    char byte;
    assert_int_equal(read(pipe_ends[0], &byte, 1), 1);
    char error[700] = "";
    struct store_restored restored;
    assert_false(store_restore(place->path, backup, "uid 0", &restored, error, sizeof error));
    assert_non_null(strstr(error, "in use"));
    struct store_audit_verdict verdict;
    store_audit_verify_file(place->path, NULL, &verdict);
    assert_true(!verdict.was_read && strstr(verdict.detail, "in use") != NULL);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    assert_int_equal(revision_of(place), 3);
}

static void test_a_backup_of_an_older_schema_is_brought_up_to_date(void **state)
{
    struct place *place = *state;
    struct store_restored restored;
    char backup[160], found[160];
    path_of(place, "old.db", backup);
    place_schema_2(backup);
    restore(place, backup, &restored);
    assert_int_equal(restored.state.revision, 3);
    assert_int_equal(files_like(place, "schema-2", found), 0); /* the backup is that */
    assert_int_equal(revision_of(place), 3);
}

int main(void)
{
#define ROW(test) cmocka_unit_test_setup_teardown(test, place_set_up, place_tear_down)
    const struct CMUnitTest tests[] = {
        ROW(test_backup_and_restore),
        ROW(test_the_restored_store_belongs_to_whom_it_belonged),
        ROW(test_what_a_killed_backup_left_goes_at_the_next_start),
        ROW(test_restore_where_nothing_was),
        ROW(test_restore_over_a_damaged_store),
        ROW(test_damage_inside_is_found_at_the_start),
        ROW(test_the_wal_of_the_former_store_stays_with_it),
        ROW(test_what_is_no_backup_is_refused),
        ROW(test_a_backup_with_a_broken_log_is_restored_with_a_warning),
        ROW(test_a_store_in_use_is_not_replaced),
        ROW(test_a_backup_of_an_older_schema_is_brought_up_to_date),
    };
#undef ROW
    return cmocka_run_group_tests(tests, NULL, NULL);
}
