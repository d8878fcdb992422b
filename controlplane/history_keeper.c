/* The thread that writes the history's points every few seconds. One line in the log when it
 * begins to fail and one when it works again, however long that takes. */
#include "controlplane/history_keeper.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "controlplane/metrics.h"
#include "controlplane/store_history.h"

#define INTERVAL_S 5
#define BATCH      64 /* points a transaction */

struct history_keeper {
    char *path;
    struct history *history;
    struct store_history *store; /* NULL: it could not be opened */
    bool has_failed;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool stop;
    struct history_point points[BATCH];
};

static void report(struct history_keeper *keeper, bool good, const char *error)
{
    char quoted[1100];
    control_metrics_add(good ? CONTROL_METRIC_HISTORY_WRITTEN : CONTROL_METRIC_HISTORY_FAILED, 1);
    if (!good && !keeper->has_failed)
        LOG_WARN("history_not_kept", "reason=%s meanwhile=memory",
                 log_quote(quoted, sizeof quoted, error, strlen(error)));
    else if (good && keeper->has_failed)
        LOG_INFO("history_kept_again", "file=%s",
                 log_quote(quoted, sizeof quoted, keeper->path, strlen(keeper->path)));
    keeper->has_failed = !good;
}

static bool open_store(struct history_keeper *keeper)
{
    char error[512] = "";
    keeper->store = store_history_open(keeper->path, keeper->history, error, sizeof error);
    if (keeper->store == NULL)
        report(keeper, false, error);
    return keeper->store != NULL;
}

/* Opened late, the file may hold older words on points that memory has: only what nobody knows yet
 * would be taken from it, which is not worth the trouble, so it is written over. */
static void reopen(struct history_keeper *keeper)
{
    struct history *nobody = history_new();
    char error[512] = "";
    keeper->store = store_history_open(keeper->path, nobody, error, sizeof error);
    history_free(nobody);
    if (keeper->store != NULL)
        history_give_back_all(keeper->history);
    else
        report(keeper, false, error);
}

static void keep(struct history_keeper *keeper)
{
    char error[512] = "";
    size_t count;
    if (keeper->store == NULL)
        reopen(keeper);
    while (keeper->store != NULL &&
           (count = history_take(keeper->history, keeper->points, BATCH)) > 0) {
        bool is_damaged = false;
        bool good = store_history_write(keeper->store, keeper->points, count, &is_damaged, error,
                                        sizeof error);
        report(keeper, good, error);
        if (good)
            continue;
        history_give_back(keeper->history, keeper->points, count);
        if (is_damaged) { /* the next turn sets it aside */
            store_history_close(keeper->store);
            keeper->store = NULL;
        }
        break;
    }
}

/* false: it is time to end. */
static bool wait_a_while(struct history_keeper *keeper)
{
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += INTERVAL_S;
    pthread_mutex_lock(&keeper->mutex);
    while (!keeper->stop &&
           pthread_cond_timedwait(&keeper->wake, &keeper->mutex, &end) != ETIMEDOUT)
        ;
    bool goes_on = !keeper->stop;
    pthread_mutex_unlock(&keeper->mutex);
    return goes_on;
}

static void *run(void *context)
{
    struct history_keeper *keeper = context;
    while (wait_a_while(keeper))
        keep(keeper);
    keep(keeper);
    return NULL;
}

struct history_keeper *history_keeper_new(const char *path, struct history *history)
{
    struct history_keeper *keeper = calloc(1, sizeof *keeper);
    pthread_condattr_t attributes;
    CHECK(keeper != NULL);
    keeper->path = strdup(path);
    CHECK(keeper->path != NULL);
    keeper->history = history;
    (void)open_store(keeper);
    pthread_mutex_init(&keeper->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&keeper->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    CHECK(pthread_create(&keeper->thread, NULL, run, keeper) == 0);
    return keeper;
}

void history_keeper_free(struct history_keeper *keeper)
{
    if (keeper == NULL)
        return;
    pthread_mutex_lock(&keeper->mutex);
    keeper->stop = true;
    pthread_cond_signal(&keeper->wake);
    pthread_mutex_unlock(&keeper->mutex);
    pthread_join(keeper->thread, NULL);
    store_history_close(keeper->store);
    pthread_cond_destroy(&keeper->wake);
    pthread_mutex_destroy(&keeper->mutex);
    free(keeper->path);
    free(keeper);
}
