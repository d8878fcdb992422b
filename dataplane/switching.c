/* Switching to another routing state. Runs on the worker, between the events of a turn: requests
 * never see a state that is half in force. Must never wait without a limit. */
#include "dataplane/switching.h"

#include <string.h>

#include "common/clock.h"
#include "dataplane/session.h"
#include "dataplane/worker.h"

/* Clients are connected to a cluster that comes into use before it does, for as long as this; less
 * than whoever asks for the change waits for it (docs/rest.md). Writes of those that are not by
 * then are refused until they are. */
#define OPENING_NS (3 * NS_PER_S)

static void follow_use(struct worker *worker)
{
    for (struct list *node = worker->sessions.next; node != &worker->sessions; node = node->next)
        session_follow_use(CONTAINER_OF(node, struct session, link));
}

void switching_go_by(struct worker *worker, struct snapshot *snapshot)
{
    worker->snapshot = snapshot;
    worker->live = live_settings_of(worker->config, snapshot);
    worker->loop.primary = snapshot_primary(snapshot);
}

static void put_in_force(struct worker *worker)
{
    struct switching *switching = &worker->switching;
    struct snapshot *before = worker->snapshot;
    switching_go_by(worker, switching->snapshot);
    switching->snapshot = NULL;
    if (memcmp(before->skip_writes, worker->snapshot->skip_writes, sizeof before->skip_writes) != 0)
        follow_use(worker);
    snapshot_put(before);
    /* For shadows that are not needed any more, and what a shorter time limit ends sooner. */
    timing_survey_by(&worker->timing, worker_now(worker));
    switching->done(switching->context);
}

void switching_run(struct worker *worker)
{
    const struct switching *switching = &worker->switching;
    if (switching->snapshot != NULL &&
        (switching->entering == 0 || worker_now(worker) >= switching->by_ns))
        put_in_force(worker);
}

void switching_begin(struct worker *worker, struct snapshot *snapshot, void (*done)(void *context),
                     void *context)
{
    struct switching *switching = &worker->switching;
    CHECK(switching->snapshot == NULL);
    switching->snapshot = snapshot;
    switching->done = done;
    switching->context = context;
    for (int i = 0; i < CLUSTER_COUNT; i++)
        switching->enters[i] = snapshot_enters(worker->snapshot, snapshot, (enum cluster_id)i);
    bool has_entries = switching->enters[CLUSTER_ORIGIN] || switching->enters[CLUSTER_TARGET];
    switching->by_ns = worker_now(worker) + (has_entries ? OPENING_NS : 0);
    if (has_entries)
        follow_use(worker);
    switching_run(worker);
}

void switching_fini(struct worker *worker)
{
    snapshot_put(worker->switching.snapshot);
}
