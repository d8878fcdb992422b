/* Request tracing: an id of the proxy's in the custom payload of a request, and lines in the log
 * that name it, so that a request can be followed from the application to both clusters. Off unless
 * TRACING_ENABLED; then QUERY, PREPARE, EXECUTE and BATCH of protocol v4 and later have an id, the
 * client's own under the same key where it sent one. */
#pragma once

#include "dataplane/dispatch.h"

/* Looks for the entry in the custom payload of a request. false: there is none. */
MUST_CHECK bool request_trace_find(struct cql_header header, const uint8_t *body, const char *key,
                                   struct cql_span *id);

/* The request is about to be sent: gives it an id by an edit and logs it. */
void request_trace_begin(struct dispatch *dispatch, struct request *request);
/* A cluster has answered a request with an id. */
void request_trace_answered(const struct request *request, enum cluster_id cluster);
