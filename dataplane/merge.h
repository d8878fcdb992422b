/* From the outcomes on the clusters to the one answer the client gets. Pure.
 *
 *   origin   target   the client gets
 *   ok       ok       the answerer's (the primary's; the origin's for PREPARE)
 *   failed   ok       the origin's failure
 *   ok       failed   the target's failure
 *   failed   failed   the origin's failure
 *
 * A cluster failed when it answered ERROR, when its connection was lost, or when it stayed silent
 * past the timeout. */
#pragma once

#include <stdbool.h>

#include "dataplane/cluster_id.h"

enum outcome {
    OUTCOME_NOT_ASKED,
    OUTCOME_AWAITED,
    OUTCOME_OK,
    OUTCOME_ERROR,   /* the cluster's own ERROR frame; from here on: failures */
    OUTCOME_LOST,    /* the connection broke before the answer */
    OUTCOME_EXPIRED, /* silent past the timeout */
};

enum merge_verdict { MERGE_WAIT, MERGE_ANSWER_ORIGIN, MERGE_ANSWER_TARGET };

static inline bool outcome_is_failure(enum outcome outcome)
{
    return outcome >= OUTCOME_ERROR;
}

/* Whose outcome the client gets. At least one cluster was asked. */
static inline enum merge_verdict merge_decide(const enum outcome outcomes[CLUSTER_COUNT],
                                              enum cluster_id answerer)
{
    enum outcome origin = outcomes[CLUSTER_ORIGIN], target = outcomes[CLUSTER_TARGET];
    if (origin == OUTCOME_AWAITED || target == OUTCOME_AWAITED)
        return MERGE_WAIT;
    if (outcome_is_failure(origin))
        return MERGE_ANSWER_ORIGIN;
    if (outcome_is_failure(target))
        return MERGE_ANSWER_TARGET;
    if (origin == OUTCOME_NOT_ASKED)
        return MERGE_ANSWER_TARGET;
    if (target == OUTCOME_NOT_ASKED)
        return MERGE_ANSWER_ORIGIN;
    return answerer == CLUSTER_ORIGIN ? MERGE_ANSWER_ORIGIN : MERGE_ANSWER_TARGET;
}

/* Whether cluster's frame may still be the answer while the other cluster is awaited: only then is
 * it kept. */
static inline bool merge_may_answer(enum cluster_id cluster, bool is_error,
                                    enum cluster_id answerer)
{
    return is_error || cluster == answerer;
}
