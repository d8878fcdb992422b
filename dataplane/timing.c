/* The worker's alarm and what it rings for. Runs on the worker's thread, between the events of a
 * turn and its flush. Must never look at sessions that have nothing to do with what is due, but in
 * a survey, and survey only so many of them at a time. */
#include "dataplane/timing.h"

#include <event2/event.h>
#include <event2/listener.h>

#include "dataplane/session.h"
#include "dataplane/settle.h"
#include "dataplane/switching.h"
#include "dataplane/worker.h"

/* Sessions surveyed in one turn: their heartbeats fit into few chunks, and the other clients of the
 * worker do not notice. */
#define SURVEY_SESSIONS 64

/* ---- the alarm ---- */

static void on_alarm(evutil_socket_t fd, short what, void *context)
{
    struct worker *worker = context;
    (void)fd;
    (void)what;
    worker->timing.alarm_ns = TIMING_NEVER; /* timing_run sees to the rest */
}

bool timing_init(struct worker *worker)
{
    worker->timing = (struct timing){
        .alarm = evtimer_new(worker->base, on_alarm, worker),
        .alarm_ns = TIMING_NEVER,
        .watch_ns = TIMING_NEVER,
        .survey_ns = TIMING_NEVER,
        .accept_ns = TIMING_NEVER,
    };
    return worker->timing.alarm != NULL;
}

void timing_fini(struct worker *worker)
{
    if (worker->timing.alarm != NULL)
        event_free(worker->timing.alarm);
}

static uint64_t request_timeout_ns(const struct worker *worker)
{
    return worker->live.request_timeout_ns;
}

static uint64_t next_survey_ns(const struct timing *timing)
{
    uint64_t soonest = timing->surveyed_ns + TIMING_SURVEY_NS;
    return timing->survey_ns > soonest ? timing->survey_ns : soonest;
}

static uint64_t soonest_ns(struct worker *worker)
{
    const struct timing *timing = &worker->timing;
    uint64_t soonest = timing_sooner(timing->watch_ns, timing->accept_ns);
    struct list *oldest = list_first(&worker->deadlines);
    if (timing->survey_ns != TIMING_NEVER)
        soonest = timing_sooner(soonest, next_survey_ns(timing));
    if (oldest != NULL)
        soonest =
            timing_sooner(soonest, CONTAINER_OF(oldest, struct request, deadline)->started_ns +
                                       request_timeout_ns(worker));
    if (worker->switching.snapshot != NULL)
        soonest = timing_sooner(soonest, worker->switching.by_ns);
    if (worker->is_draining)
        soonest = timing_sooner(soonest, worker->drain_deadline_ns);
    if (worker->settling != NULL)
        soonest = timing_sooner(soonest, worker_now(worker) + TIMING_SETTLE_NS);
    return soonest;
}

void timing_set_alarm(struct worker *worker)
{
    struct timing *timing = &worker->timing;
    uint64_t due = soonest_ns(worker);
    uint64_t now = worker_now(worker);
    if (due >= timing->alarm_ns)
        return;
    uint64_t wait_us = due <= now ? 0 : (due - now + 999) / 1000;
    struct timeval wait = {.tv_sec = (time_t)(wait_us / 1000000),
                           .tv_usec = (suseconds_t)(wait_us % 1000000)};
    CHECK(evtimer_add(timing->alarm, &wait) == 0);
    timing->alarm_ns = due;
}

/* ---- what is due ---- */

static void expire_requests(struct worker *worker)
{
    uint64_t timeout = request_timeout_ns(worker);
    for (struct list *node; (node = list_first(&worker->deadlines)) != NULL;) {
        struct request *request = CONTAINER_OF(node, struct request, deadline);
        if (worker_now(worker) - request->started_ns < timeout)
            return;
        answer_expire(request->session, request);
    }
}

static void run_watched(struct worker *worker)
{
    struct list due;
    list_init(&due);
    worker->timing.watch_ns = TIMING_NEVER;
    for (struct list *node = worker->watched.next, *next; node != &worker->watched; node = next) {
        struct upstream *upstream = CONTAINER_OF(node, struct upstream, watched);
        next = node->next;
        if (worker_now(worker) < upstream->deadline_ns) {
            timing_watch_by(&worker->timing, upstream->deadline_ns);
        } else {
            list_remove(node);
            list_append(&due, node);
        }
    }
    for (struct list *node; (node = list_take_first(&due)) != NULL;)
        upstream_on_deadline(CONTAINER_OF(node, struct upstream, watched));
}

static void begin_survey(struct worker *worker)
{
    struct timing *timing = &worker->timing;
    timing->survey_ns = TIMING_NEVER;
    timing->surveyed_ns = worker_now(worker);
    timing->survey_round++;
    timing->is_surveying = true;
}

/* Surveyed sessions go to the end of the list, behind those that came since it began. */
static void go_on_surveying(struct worker *worker)
{
    struct timing *timing = &worker->timing;
    for (int i = 0; i < SURVEY_SESSIONS; i++) {
        struct list *node = list_first(&worker->sessions);
        struct session *session = node == NULL ? NULL : CONTAINER_OF(node, struct session, link);
        if (session == NULL || session->survey_round == timing->survey_round) {
            timing->is_surveying = false;
            return;
        }
        session->survey_round = timing->survey_round;
        list_remove(node);
        list_append(&worker->sessions, node);
        timing_survey_by(timing, session_survey(session));
    }
}

static void accept_again(struct worker *worker)
{
    worker->timing.accept_ns = TIMING_NEVER;
    if (worker->listener != NULL)
        evconnlistener_enable(worker->listener);
}

void timing_run(struct worker *worker)
{
    struct timing *timing = &worker->timing;
    uint64_t now = worker_now(worker);
    expire_requests(worker);
    if (now >= timing->watch_ns)
        run_watched(worker);
    if (!timing->is_surveying && now >= timing->survey_ns && now >= next_survey_ns(timing))
        begin_survey(worker);
    if (UNLIKELY(timing->is_surveying))
        go_on_surveying(worker);
    if (now >= timing->accept_ns)
        accept_again(worker);
    if (UNLIKELY(worker->settling != NULL))
        settle_run(worker);
    if (UNLIKELY(worker->switching.snapshot != NULL))
        switching_run(worker);
}
