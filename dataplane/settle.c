/* Waiting for the writes of before. Runs on the worker's thread, in the turns in which a wait is
 * under way and in no other. Must never wait longer than a request may. */
#include "dataplane/settle.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/mailbox.h"
#include "dataplane/request.h"
#include "dataplane/worker.h"

struct settle {
    struct mailbox_message message;
    uint64_t since_ns;
    void (*done)(void *context);
    void *context;
};

/* Has not been sent to every cluster, as it would be today. */
static bool is_of_before(const struct request *request)
{
    return request->statement.class == REQUEST_WRITE &&
           (request->outcomes[CLUSTER_ORIGIN] == OUTCOME_NOT_ASKED ||
            request->outcomes[CLUSTER_TARGET] == OUTCOME_NOT_ASKED);
}

/* Requests past their time limit have been answered with that, and are not in the list. */
static bool has_writes_of_before(const struct worker *worker, uint64_t since_ns)
{
    const struct list *all = &worker->deadlines;
    for (const struct list *node = all->next; node != all; node = node->next) {
        const struct request *request = CONTAINER_OF(node, struct request, deadline);
        if (request->started_ns > since_ns)
            return false;
        if (is_of_before(request))
            return true;
    }
    return false;
}

void settle_free(struct settle *settle)
{
    free(settle);
}

void settle_run(struct worker *worker)
{
    struct settle *settle = worker->settling;
    if (has_writes_of_before(worker, settle->since_ns))
        return;
    worker->settling = NULL;
    settle->done(settle->context);
    settle_free(settle);
}

static void run_settle_message(struct mailbox_message *message, void *owner)
{
    struct worker *worker = owner;
    CHECK(worker->settling == NULL);
    worker->settling = CONTAINER_OF(message, struct settle, message);
    worker->settling->since_ns = clock_now_ns();
    settle_run(worker);
}

void settle_begin(struct worker *worker, void (*done)(void *context), void *context)
{
    struct settle *settle = malloc(sizeof *settle);
    CHECK(settle != NULL);
    *settle =
        (struct settle){.message = {.run = run_settle_message}, .done = done, .context = context};
    mailbox_post(worker->mailbox, &settle->message);
}
