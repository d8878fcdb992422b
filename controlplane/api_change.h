/* What the handlers that change the routing state share: answering with what became of the wish. */
#pragma once

#include "controlplane/http.h"

/* The members of a state an answer shows. */
typedef void (*api_state_writer)(const struct routing_state *state, struct json_writer *writer);

/* ETag and 304 for a GET: the body is in response already. */
void api_add_etag(const struct http_request *request, const struct routing_state *state,
                  struct http_response *response);
/* ?wait=SECONDS, 0 to PLANE_WAIT_MAX_S, as milliseconds. false: response holds the problem. */
MUST_CHECK bool api_query_wait(const struct http_request *request, unsigned fallback_ms,
                               unsigned *wait_ms, struct http_response *response);
/* Makes the change that wish stands for, with If-Match, dry_run and wait as the request says them,
 * and answers it. parameters: what the query may have (NULL at the end). */
void api_change(const struct http_request *request, struct plane_wish *wish,
                const char *const *parameters, api_state_writer write_state,
                struct http_response *response);
