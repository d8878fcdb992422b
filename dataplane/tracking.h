/* What the metrics say about requests: which are tracked, as what, and what became of them. Runs on
 * the owner worker. */
#pragma once

#include <stdint.h>

#include "dataplane/request.h"

struct session;

/* The error label of an ERROR frame's code. */
enum metric_node_error tracking_error_label(int32_t code);
/* The request has been sent to the clusters whose outcome is AWAITED. */
void tracking_begin(struct session *session, struct request *request);
/* cluster has answered (error_code: of its ERROR frame) or will not any more. */
void tracking_outcome(struct session *session, const struct request *request,
                      enum cluster_id cluster, enum outcome outcome, int32_t error_code);
/* The client has its answer; outcomes are the ones it was merged from. */
void tracking_end(struct session *session, const struct request *request,
                  const enum outcome outcomes[CLUSTER_COUNT]);
/* The client is gone before the request was done. */
void tracking_abandon(struct session *session, const struct request *request);
