/* A request's body as JSON. */
#pragma once

#include "common/json.h"
#include "controlplane/http.h"

/* Reads and parses the body; the caller frees the document. NULL: response holds the problem (400,
 * 413, 415, or 422 when it is no object). */
MUST_CHECK struct json_document *json_body_read(const struct http_request *request,
                                                struct http_response *response);
/* true when every member of the object is one of names (NULL at the end); else response holds the
 * 422 that names the first that is not. */
MUST_CHECK bool json_body_only(const struct json_value *object, const char *const *names,
                               struct http_response *response);
