/* A request's body as JSON. The one place that reads one. */
#pragma once

#include "common/json.h"
#include "controlplane/http.h"
#include "controlplane/routing.h"

/* Media types a path takes, NULL at the end. */
extern const char *const json_body_plain[];       /* application/json */
extern const char *const json_body_merge_patch[]; /* and application/merge-patch+json */

/* Reads the body when its type is one of types. false: response holds the problem (400, 411, 413,
 * 415). body needs dynbuf_fini either way. */
MUST_CHECK bool json_body_text(const struct http_request *request, const char *const *types,
                               struct dynbuf *body, struct http_response *response);
/* Reads and parses a body of application/json; the caller frees the document. What was read is
 * wiped from memory. NULL: response holds the problem (also 422, when it is no object). */
MUST_CHECK struct json_document *json_body_read(const struct http_request *request,
                                                struct http_response *response);
/* Answers with what is wrong with a body that was read. */
void json_body_refuse(const struct routing_problem *problem, struct http_response *response);
/* true when every member of the object is one of names (NULL at the end); else response holds the
 * 422 that names the first that is not. */
MUST_CHECK bool json_body_only(const struct json_value *object, const char *const *names,
                               struct http_response *response);
