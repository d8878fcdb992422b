/* What the handlers that change the routing state share: reading a JSON body, answering with what
 * became of the wish. */
#pragma once

#include "controlplane/http.h"

/* The members of a state an answer shows. */
typedef void (*api_state_writer)(const struct routing_state *state, struct json_writer *writer);

/* ETag and 304 for a GET: the body is in response already. */
void api_add_etag(const struct http_request *request, const struct routing_state *state,
                  struct http_response *response);
/* The JSON body of a request. false: response holds the problem. body needs dynbuf_fini either way.
 */
MUST_CHECK bool api_read_json(const struct http_request *request, struct dynbuf *body,
                              struct http_response *response);
/* The problem of a body that is not what it should be. */
void api_refuse(const struct routing_problem *problem, struct http_response *response);
/* Makes the change that wish stands for, with If-Match and dry_run as the request says them, and
 * answers it. */
void api_change(const struct http_request *request, struct plane_wish *wish,
                api_state_writer write_state, struct http_response *response);
