/* The history: points of all levels, rings that come round, what is taken to be kept and put back,
 * the JSON of the API; its file, damaged, foreign, and the one another process has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/log.h"
#include "controlplane/history.h"
#include "controlplane/history_keeper.h"
#include "controlplane/metrics.h"
#include "controlplane/store_history.h"

#define NOW 1800000000 /* a multiple of every step */

static struct traffic some(uint64_t reads)
{
    struct traffic traffic = {.has_detail = true, .counts = {[TRAFFIC_READS_ORIGIN] = reads}};
    latency_add(&traffic.latencies[TRAFFIC_ORIGIN], 4000, 8000, reads);
    return traffic;
}

static void add(struct history *history, int64_t second, uint64_t reads)
{
    struct traffic traffic = some(reads);
    history_add(history, second, &traffic);
}

static void expect_text(struct history *history, size_t level, int64_t from_s, int64_t now_s,
                        const char *wanted)
{
    struct dynbuf text;
    struct json_writer writer;
    dynbuf_init(&text, 8u * 1024 * 1024);
    json_writer_init(&writer, &text);
    history_write(history, level, from_s, now_s, &writer);
    assert_false(text.failed);
    if (strstr(dynbuf_text(&text), wanted) == NULL)
        fail_msg("%s is not in %.1000s", wanted, dynbuf_text(&text));
    dynbuf_fini(&text);
}

static void test_points_become_series(void **state)
{
    struct history *history = history_new();
    (void)state;
    for (int second = 0; second < 5; second++)
        add(history, NOW + second, 100);
    add(history, NOW + 11, 7); /* two data planes in the same second */
    add(history, NOW + 11, 8);
    expect_text(history, 0, NOW, NOW + 15,
                "{\"step_s\":5,\"from\":1800000000000,\"series\":{\"reads_origin\":[100.00,null,"
                "15.00],\"reads_target\":[0.00,null,0.00],");
    expect_text(history, 0, NOW, NOW + 15, "\"p50_origin_ms\":[5.9");
    expect_text(history, 0, NOW, NOW + 15, "\"p99_target_ms\":[null,null,null]");
    expect_text(history, 0, NOW, NOW + 14, "\"reads_origin\":[100.00,null],"); /* not over yet */
    expect_text(history, 0, NOW + 3, NOW + 7, "\"reads_origin\":[100.00],");
    expect_text(history, 0, NOW + 99, NOW + 7,
                "\"from\":1800000005000,\"series\":{\"reads_origin\":[],");
    expect_text(history, 1, 0, NOW + 60, ",85.83],\"reads_target\"");
    expect_text(history, 2, NOW, NOW + 900, "\"reads_origin\":[85.83]");
    /* What an older data plane tells. */
    struct traffic plain = {.counts = {[TRAFFIC_WRITES] = 3}};
    history_add(history, NOW + 16, &plain);
    expect_text(history, 0, NOW + 15, NOW + 20, "\"writes\":[3.00],\"shadow\":[null]");
    history_free(history);
}

static void test_rings_come_round(void **state)
{
    struct history *history = history_new();
    struct dynbuf text;
    struct json_writer writer;
    (void)state;
    add(history, NOW, 1000);
    add(history, NOW + 3600, 5); /* the place of the first */
    expect_text(history, 0, NOW, NOW + 3605, "\"from\":1800000010000,");
    expect_text(history, 0, NOW, NOW + 3605, "null,5.00],\"reads_target\"");
    expect_text(history, 1, NOW, NOW + 3660, "\"reads_origin\":[1000.00,null");
    add(history, NOW - 7200, 4); /* the clock was put back */
    expect_text(history, 0, NOW - 7200, NOW - 7195, "\"reads_origin\":[4.00]");
    expect_text(history, 0, NOW, NOW + 5, "\"reads_origin\":[null]");
    add(history, -5, 1); /* before 1970 nothing is kept */
    dynbuf_init(&text, 8u * 1024 * 1024);
    for (size_t level = 0; level < HISTORY_LEVELS; level++) { /* the longest answers there are */
        dynbuf_reset(&text);
        json_writer_init(&writer, &text);
        history_write(history, level, 0, NOW, &writer);
        assert_false(text.failed);
        history_write(history, level, 0, 0, &writer);
    }
    dynbuf_fini(&text);
    history_free(history);
}

static void test_levels(void **state)
{
    (void)state;
    assert_int_equal(history_level_for(NOW, NOW), 0);
    assert_int_equal(history_level_for(NOW - 3600, NOW), 0);
    assert_int_equal(history_level_for(NOW - 3601, NOW), 1);
    assert_int_equal(history_level_for(NOW - 86401, NOW), 2);
    assert_int_equal(history_level_for(0, NOW), 2);
    assert_int_equal(history_step(2), 900);
}

static void count_reads(void *context, const struct history_point *point)
{
    *(uint64_t *)context = *(uint64_t *)context * 10 + point->traffic.counts[TRAFFIC_READS_ORIGIN];
}

static void test_points_are_taken_until_they_are_kept(void **state)
{
    struct history *history = history_new(), *other = history_new();
    struct history_point points[8];
    uint64_t seen = 0;
    (void)state;
    add(history, NOW, 1);
    add(history, NOW + 7, 2);
    assert_int_equal(history_take(history, points, 8), 4);
    assert_int_equal(history_take(history, points, 8), 0);
    history_give_back(history, points, 4);
    assert_int_equal(history_take(history, points, 3), 3);
    assert_int_equal(history_take(history, points, 3), 1);
    history_give_back_all(history);
    assert_int_equal(history_take(history, points, 8), 4);
    for (int i = 0; i < 4; i++)
        assert_true(history_put(other, &points[i]));
    expect_text(other, 0, NOW, NOW + 10, "\"reads_origin\":[1.00,2.00]");
    add(other, NOW + 8, 4); /* counted on after a restart */
    expect_text(other, 0, NOW, NOW + 10, "\"reads_origin\":[1.00,3.00]");
    history_visit(other, NOW, NOW + 20, count_reads, &seen);
    assert_int_equal(seen, 16);
    seen = 0;
    history_visit(other, NOW + 5, NOW + 20, count_reads, &seen);
    assert_int_equal(seen, 6);
    static const struct history_point bad[] = {
        {.step_s = 7, .begin_s = NOW},
        {.step_s = 5, .begin_s = NOW + 1},
        {.step_s = 5, .begin_s = -5},
        {.step_s = 5, .begin_s = NOW, .seconds = 6},
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_false(history_put(other, &bad[i]));
    history_give_back(other, bad, 1);
    history_free(history);
    history_free(other);
    history_free(NULL);
}

/* ---- the file ---- */

struct place {
    char folder[64];
    char path[96];
    char error[512];
};

static int make_place(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    assert_non_null(place);
    snprintf(place->folder, sizeof place->folder, "/tmp/cloudgate-history-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    snprintf(place->path, sizeof place->path, "%s/h", place->folder);
    *state = place;
    return 0;
}

static int remove_place(void **state)
{
    static const char *const ends[] = {"", "-wal", "-journal", ".damaged"};
    struct place *place = *state;
    char path[128];
    for (size_t i = 0; i < ARRAY_COUNT(ends); i++) {
        snprintf(path, sizeof path, "%s%s", place->path, ends[i]);
        unlink(path);
    }
    rmdir(place->folder);
    free(place);
    return 0;
}

static bool has(const struct place *place, const char *end)
{
    char path[128];
    snprintf(path, sizeof path, "%s%s", place->path, end);
    return access(path, F_OK) == 0;
}

/* One reading kept at NOW, with this many reads. */
static void keep_one(struct place *place, uint64_t reads)
{
    struct history *history = history_new();
    add(history, NOW, reads);
    struct history_keeper *keeper = history_keeper_new(place->path, history);
    history_keeper_free(keeper);
    history_free(history);
}

static void expect_kept(struct place *place, const char *wanted)
{
    struct history *history = history_new();
    struct store_history *store =
        store_history_open(place->path, history, place->error, sizeof place->error);
    if (store == NULL)
        fail_msg("%s", place->error);
    expect_text(history, 0, NOW, NOW + 5, wanted);
    store_history_close(store);
    history_free(history);
}

static void write_file(const struct place *place, const char *end, const char *bytes, size_t length,
                       long at)
{
    char path[128];
    snprintf(path, sizeof path, "%s%s", place->path, end);
    FILE *file = fopen(path, at == 0 ? "w" : "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static void test_what_is_kept_comes_back(void **state)
{
    struct place *place = *state;
    struct history *history = history_new();
    char error[256];
    uint64_t us;
    keep_one(place, 42);
    struct store_history *store = store_history_open(place->path, history, error, sizeof error);
    assert_non_null(store);
    expect_text(history, 0, NOW, NOW + 5, "\"reads_origin\":[42.00]");
    expect_text(history, 2, NOW, NOW + 900, "\"reads_origin\":[42.00]");
    struct history_point points[4];
    history_give_back_all(history);
    assert_int_equal(history_take(history, points, 4), 3);
    assert_true(latency_percentile(&points[0].traffic.latencies[TRAFFIC_ORIGIN], 500, &us));
    assert_in_range(us, 5500, 6500);
    assert_true(points[0].traffic.has_detail);
    /* Two processes do not share it, and neither damages it. */
    assert_null(store_history_open(place->path, history, error, sizeof error));
    assert_non_null(strstr(error, "in use by another process"));
    store_history_close(store);
    history_free(history);
    assert_false(has(place, ".damaged"));
    expect_kept(place, "\"reads_origin\":[42.00]");
}

static void test_damaged_files_are_set_aside(void **state)
{
    static char noise[8192];
    struct place *place = *state;
    memset(noise, 0x5a, sizeof noise);
    for (int damage = 0; damage < 3; damage++) {
        keep_one(place, 42);
        if (damage == 0)
            write_file(place, "", noise, sizeof noise, 0); /* no database at all */
        else if (damage == 1)
            assert_int_equal(truncate(place->path, 5000), 0);
        else
            write_file(place, "", noise, 4096, 4096); /* a page in the middle */
        expect_kept(place, "\"reads_origin\":[null]");
        assert_true(has(place, ".damaged"));
        keep_one(place, 7);
        expect_kept(place, "\"reads_origin\":[7.00]");
        assert_int_equal(unlink(place->path), 0);
    }
}

static void test_foreign_files_are_left_alone(void **state)
{
    struct place *place = *state;
    struct history *history = history_new();
    sqlite3 *db;
    static const char *const marks[] = {
        "CREATE TABLE x (y); PRAGMA user_version = 3",
        "CREATE TABLE x (y); PRAGMA application_id = 1128744497; PRAGMA user_version = 2"};
    for (size_t i = 0; i < ARRAY_COUNT(marks); i++) {
        assert_int_equal(sqlite3_open(place->path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, marks[i], NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);
        assert_null(store_history_open(place->path, history, place->error, sizeof place->error));
        assert_non_null(strstr(place->error, "CONTROL_METRICS_HISTORY"));
        assert_false(has(place, ".damaged"));
        /* The keeper goes on without it, and loses nothing of what memory has. */
        int64_t failed = control_metrics_value(CONTROL_METRIC_HISTORY_FAILED);
        add(history, NOW, 3);
        history_keeper_free(history_keeper_new(place->path, history));
        assert_true(control_metrics_value(CONTROL_METRIC_HISTORY_FAILED) > failed);
        expect_text(history, 0, NOW, NOW + 5, "\"reads_origin\":[");
        assert_int_equal(unlink(place->path), 0);
    }
    history_free(history);
}

static void test_no_folder_no_file(void **state)
{
    struct place *place = *state;
    struct history *history = history_new();
    snprintf(place->path, sizeof place->path, "%s/none/h", place->folder);
    assert_null(store_history_open(place->path, history, place->error, sizeof place->error));
    assert_non_null(strstr(place->error, place->path));
    history_free(history);
}

/* A whole month: the file stops growing. */
static void test_the_file_is_bounded(void **state)
{
    struct place *place = *state;
    struct history *history = history_new();
    struct stat info;
    for (int64_t second = NOW - 31 * 86400; second < NOW - 7200; second += 300)
        add(history, second, 3);
    for (int64_t second = NOW - 7200; second < NOW; second += 5)
        add(history, second, 3);
    for (int round = 0; round < 3; round++) {
        history_give_back_all(history);
        history_keeper_free(history_keeper_new(place->path, history));
    }
    assert_int_equal(stat(place->path, &info), 0);
    assert_in_range(info.st_size, 512 * 1024, 8 * 1024 * 1024);
    struct history *back = history_new();
    struct store_history *store =
        store_history_open(place->path, back, place->error, sizeof place->error);
    assert_non_null(store);
    expect_text(back, 0, NOW - 10, NOW, "\"reads_origin\":[3.00,3.00]");
    store_history_close(store);
    history_free(back);
    history_free(history);
}

int main(void)
{
    log_init("test", LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_points_become_series),
        cmocka_unit_test(test_rings_come_round),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_points_are_taken_until_they_are_kept),
#define IN_A_PLACE(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)
        IN_A_PLACE(test_what_is_kept_comes_back),
        IN_A_PLACE(test_damaged_files_are_set_aside),
        IN_A_PLACE(test_foreign_files_are_left_alone),
        IN_A_PLACE(test_no_folder_no_file),
        IN_A_PLACE(test_the_file_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
