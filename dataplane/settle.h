/* Waiting for the writes of before. When a cluster comes into use, a write that was sent to the
 * other one alone may still be on its way: whoever copies data between the clusters must not begin
 * before it is answered, or the copy misses it. */
#pragma once

struct settle;
struct worker;

/* From any thread, one wait at a time. done runs on the worker's thread once no write that began
 * before awaits its answer from one cluster alone; each is answered within the request timeout. */
void settle_begin(struct worker *worker, void (*done)(void *context), void *context);
/* Once a turn while worker->settling is a wait. */
void settle_run(struct worker *worker);
/* Ends a wait that nobody needs any more: done does not run. NULL is allowed. */
void settle_free(struct settle *settle);
