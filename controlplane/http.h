/* The HTTP server: a thin shell around civetweb, which only http.c includes. Requests come in on
 * civetweb's threads; a handler reads the request, fills in the response, and touches the rest of
 * the program through struct plane only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "common/dynbuf.h"
#include "controlplane/access.h"
#include "controlplane/peer_table.h"
#include "controlplane/plane.h"

#define HTTP_BODY_MAX      16384 /* bytes of a request body */
#define HTTP_AGENT_SIZE    200
#define HTTP_STREAMS_MAX   8 /* each open event stream holds one of civetweb's threads */
#define HTTP_DOWNLOADS_MAX 4 /* so does each download */

struct http;
struct http_exchange; /* civetweb's side of one request */
struct http_turn;     /* its Idempotency-Key (idempotency.h) */

struct http_request {
    struct plane *plane;
    struct http_exchange *exchange;
    const char *method;
    const char *path;
    const char *query;     /* "" when there is none */
    const char *peer;      /* IP address */
    const char *parameter; /* what stands for {name} in the path; NULL: the route has none */
    bool is_tls;
    struct access *access;
    const struct access_request *access_request;
    const struct access_caller *caller; /* who asks, let in for this route */
    const struct http_turn *turn;
};

struct http_response {
    int status;
    const char *content_type; /* a constant */
    struct dynbuf headers;    /* further lines, each with CRLF */
    struct dynbuf body;
    bool streamed; /* all has been sent by http_stream_*; nothing more is */
};

typedef void (*http_handler)(const struct http_request *request, struct http_response *response);

/* Listens on a free port of 127.0.0.1, for the front alone: whoever is not in peers is refused.
 * NULL: error holds one line. */
struct http *http_new(struct plane *plane, struct access *access, struct peer_table *peers,
                      char *error, size_t error_size);
/* The port it listens on. */
uint16_t http_port(const struct http *http);
/* Waits for the handlers that run (after plane_close they end soon). NULL is allowed. */
void http_free(struct http *http);

/* A request header, or NULL. */
const char *http_header(const struct http_request *request, const char *name);
/* Value of name in the query as a number from minimum to maximum: fallback when absent; false when
 * it is something else. */
MUST_CHECK bool http_query_number(const struct http_request *request, const char *name,
                                  unsigned long long minimum, unsigned long long maximum,
                                  unsigned long long fallback, unsigned long long *value);
/* Value of name in the query as it stands there; "" when absent. false: longer than size - 1. */
MUST_CHECK bool http_query_text(const struct http_request *request, const char *name, char *value,
                                size_t size);
/* Value of name in the query as true or false; false when absent. false: it is something else,
 * response holds the problem. */
MUST_CHECK bool http_query_bool(const struct http_request *request, const char *name, bool *value,
                                struct http_response *response);
/* Whether name=value is in the query. */
bool http_query_is(const struct http_request *request, const char *name, const char *value);
/* true when the query has no other parameters than names (NULL at the end), each once: a misspelt
 * one must not be passed over where something is changed. false: response holds the problem. */
MUST_CHECK bool http_query_only(const struct http_request *request, const char *const *names,
                                struct http_response *response);

/* Reads the whole body. false: the problem is already in response. */
MUST_CHECK bool http_read_body(const struct http_request *request, struct dynbuf *body,
                               struct http_response *response);

/* Fills in an application/problem+json response (RFC 9457). pointer: JSON pointer to the member at
 * fault, or NULL. */
void http_problem(struct http_response *response, int status, const char *detail,
                  const char *pointer);
/* The same with more members: extend writes them. */
void http_problem_with(struct http_response *response, int status, const char *detail,
                       const char *pointer,
                       void (*extend)(const void *context, struct json_writer *writer),
                       const void *context);
/* The answer to somebody who may not. */
void http_refuse(struct http_response *response, const struct access_refusal *refusal);
/* true when the caller has at least this role; else response holds the 403 that says what needs it.
 * For what a route's own least role does not cover, such as force. */
MUST_CHECK bool http_require_role(const struct http_request *request, enum role role,
                                  const char *what, struct http_response *response);
/* Who asks, for the audit. agent: memory for the user agent, alive as long as the result. */
struct store_actor http_actor(const struct http_request *request, char agent[HTTP_AGENT_SIZE]);
/* Adds one header line. */
void http_add_header(struct http_response *response, const char *name, const char *value);

/* Takes one of the HTTP_STREAMS_MAX places and sends the head of a text/event-stream. false: none
 * is free, response holds the 503. */
MUST_CHECK bool http_stream_begin(const struct http_request *request,
                                  struct http_response *response);
/* false: the client is gone. */
MUST_CHECK bool http_stream_send(const struct http_request *request, const struct dynbuf *text);
void http_stream_end(const struct http_request *request, struct http_response *response);

/* An answer of any length, sent in pieces, with the headers added so far. Takes one of the
 * HTTP_DOWNLOADS_MAX places. length: -1 when not known yet. false: no place is free, response holds
 * the 503. */
MUST_CHECK bool http_download_begin(const struct http_request *request,
                                    struct http_response *response, const char *content_type,
                                    int64_t length);
/* false: the client is gone. */
MUST_CHECK bool http_download_send(const struct http_request *request, const void *bytes,
                                   size_t length);
/* is_whole: false tells the client by a connection that ends too early. */
void http_download_end(const struct http_request *request, bool is_whole);

/* Handlers, as routes.def names them. */
#define ROUTE(method, path, access, handler, meaning)                                              \
    void handler(const struct http_request *request, struct http_response *response);
#include "controlplane/routes.def"
#undef ROUTE
