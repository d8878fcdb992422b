/* civetweb's shell. One begin_request callback answers every path, so that none of the library's
 * file, CGI, form, WebDAV or websocket code is ever reached; its TLS is never used. Runs on
 * civetweb's threads. Must never trust a length, a path or a header, and never answer with the
 * library's own error pages. */
#include "controlplane/http.h"

#include <civetweb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/json.h"
#include "common/log.h"
#include "controlplane/idempotency.h"
#include "controlplane/metrics.h"

#define STOP_WAIT_S  3
#define RESPONSE_MAX (8u * 1024u * 1024u)
#define THREADS      "32"

static const char security_headers[] =
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src "
    "'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "X-Frame-Options: DENY\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Cross-Origin-Opener-Policy: same-origin\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
    "Permissions-Policy: camera=(), geolocation=(), microphone=()\r\n";

struct http {
    struct mg_context *context;
    struct plane *plane;
    struct access *access;
    struct peer_table *peers;
    struct idempotency *idempotency;
    atomic_uint streams;
    atomic_uint downloads;
    uint16_t port;
    pthread_mutex_t mutex;
    pthread_cond_t idle;
    unsigned running; /* handlers at work; guarded by mutex */
    struct sockaddr_in address;
    atomic_bool stopped;
};

struct http_exchange {
    struct http *http;
    struct mg_connection *connection;
    const struct mg_request_info *info;
    bool is_chunked; /* a download whose length was not known */
    size_t route;    /* its row in routes.def, or CONTROL_ROUTES */
};

static const struct route {
    const char *method;
    const char *path;
    enum route_access access;
    http_handler handler;
} routes[] = {
#define ROUTE(method, path, access, handler, meaning) {method, path, ACCESS_##access, handler},
#include "controlplane/routes.def"
#undef ROUTE
};

/* civetweb tells why it cannot listen through its log callback only. Written by the thread that
 * starts the server. */
static char start_message[256];

/* ---- responses ---- */

static const char *reason_phrase(int status)
{
    static const struct {
        int status;
        const char *phrase;
    } phrases[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(phrases); i++)
        if (phrases[i].status == status)
            return phrases[i].phrase;
    return "Error";
}

static void response_init(struct http_response *response)
{
    *response = (struct http_response){.status = 200, .content_type = "application/json"};
    dynbuf_init(&response->headers, 4096);
    dynbuf_init(&response->body, RESPONSE_MAX);
}

static void response_fini(struct http_response *response)
{
    dynbuf_fini(&response->headers);
    dynbuf_fini(&response->body);
}

void http_problem(struct http_response *response, int status, const char *detail,
                  const char *pointer)
{
    http_problem_with(response, status, detail, pointer, NULL, NULL);
}

void http_problem_with(struct http_response *response, int status, const char *detail,
                       const char *pointer,
                       void (*extend)(const void *context, struct json_writer *writer),
                       const void *context)
{
    struct json_writer writer;
    dynbuf_reset(&response->body);
    response->status = status;
    response->content_type = "application/problem+json";
    json_writer_init(&writer, &response->body);
    json_begin_object(&writer);
    json_put_string(&writer, "type", "about:blank");
    json_put_string(&writer, "title", reason_phrase(status));
    json_put_u64(&writer, "status", (uint64_t)status);
    json_put_string(&writer, "detail", detail);
    if (pointer != NULL) {
        json_write_name(&writer, "errors");
        json_begin_array(&writer);
        json_begin_object(&writer);
        json_put_string(&writer, "pointer", pointer);
        json_put_string(&writer, "detail", detail);
        json_end_object(&writer);
        json_end_array(&writer);
    }
    if (extend != NULL)
        extend(context, &writer);
    json_end_object(&writer);
}

void http_refuse(struct http_response *response, const struct access_refusal *refusal)
{
    char text[128];
    http_problem(response, refusal->status, refusal->detail, NULL);
    if (refusal->status == 401)
        http_add_header(response, "WWW-Authenticate",
                        refusal->is_token_bad
                            ? "Bearer realm=\"cloudgate\", error=\"invalid_token\""
                            : "Bearer realm=\"cloudgate\"");
    if (refusal->status == 429) {
        snprintf(text, sizeof text, "%u", refusal->retry_after_s);
        http_add_header(response, "Retry-After", text);
    }
}

bool http_require_role(const struct http_request *request, enum role role, const char *what,
                       struct http_response *response)
{
    char detail[ACCESS_DETAIL_SIZE];
    if (request->caller->role >= role)
        return true;
    snprintf(detail, sizeof detail, "%s needs the role %s; %s has the role %s", what,
             role_or_above(role), request->caller->actor, role_name(request->caller->role));
    http_problem(response, 403, detail, NULL);
    return false;
}

struct store_actor http_actor(const struct http_request *request, char agent[HTTP_AGENT_SIZE])
{
    const char *text = http_header(request, "User-Agent");
    snprintf(agent, HTTP_AGENT_SIZE, "%s", text == NULL ? "" : text);
    const struct http_turn *turn = request->turn;
    bool has_key = turn != NULL && turn->text[0] != '\0';
    return (struct store_actor){.name = request->caller->audit_name,
                                .user_agent = agent,
                                .request_id = has_key ? turn->text : NULL,
                                .key = has_key ? &turn->key : NULL};
}

void http_add_header(struct http_response *response, const char *name, const char *value)
{
    dynbuf_printf(&response->headers, "%s: %s\r\n", name, value);
}

static bool has_content(int status)
{
    return status != 204 && status != 304;
}

static void write_head(struct dynbuf *out, int status, const char *content_type,
                       const struct dynbuf *headers)
{
    char date[64];
    time_t now = time(NULL);
    struct tm parts;
    gmtime_r(&now, &parts);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    dynbuf_printf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\n", status, reason_phrase(status), date);
    if (has_content(status))
        dynbuf_printf(out, "Content-Type: %s\r\n", content_type);
    dynbuf_append_text(out, security_headers);
    if (headers != NULL)
        dynbuf_append(out, headers->data, headers->length);
}

/* One write for head and body: no small packet waits for the peer's delayed acknowledgement. */
static void send_response(struct mg_connection *connection, struct http_response *response,
                          bool with_body, size_t route)
{
    struct dynbuf out;
    if (response->body.failed || response->headers.failed)
        http_problem(response, 500, "the answer does not fit in memory", NULL);
    dynbuf_init(&out, RESPONSE_MAX + 16384);
    write_head(&out, response->status, response->content_type, &response->headers);
    if (strstr(dynbuf_text(&response->headers), "Cache-Control:") == NULL)
        dynbuf_append_text(&out, "Cache-Control: no-store\r\n");
    if (has_content(response->status))
        dynbuf_printf(&out, "Content-Length: %zu\r\n", response->body.length);
    dynbuf_append_text(&out, "Connection: close\r\n\r\n");
    if (with_body && has_content(response->status))
        dynbuf_append(&out, response->body.data, response->body.length);
    if (!out.failed)
        mg_write(connection, out.data, out.length);
    dynbuf_fini(&out);
    control_metrics_http(route, response->status);
}

/* ---- requests ---- */

const char *http_header(const struct http_request *request, const char *name)
{
    return mg_get_header(request->exchange->connection, name);
}

/* The text after name= in the query, and its length. */
static const char *query_value(const struct http_request *request, const char *name, size_t *length)
{
    size_t name_length = strlen(name);
    for (const char *at = request->query; *at != '\0';) {
        size_t item = strcspn(at, "&");
        if (item > name_length && strncmp(at, name, name_length) == 0 && at[name_length] == '=') {
            *length = item - name_length - 1;
            return at + name_length + 1;
        }
        at += item + (at[item] == '&');
    }
    return NULL;
}

bool http_query_number(const struct http_request *request, const char *name,
                       unsigned long long minimum, unsigned long long maximum,
                       unsigned long long fallback, unsigned long long *value)
{
    size_t length;
    const char *text = query_value(request, name, &length);
    *value = fallback;
    if (text == NULL)
        return true;
    if (length == 0 || length > 18 || strspn(text, "0123456789") < length)
        return false;
    *value = strtoull(text, NULL, 10);
    return *value >= minimum && *value <= maximum;
}

bool http_query_text(const struct http_request *request, const char *name, char *value, size_t size)
{
    size_t length = 0;
    const char *text = query_value(request, name, &length);
    if (length >= size)
        return false;
    snprintf(value, size, "%.*s", (int)length, text == NULL ? "" : text);
    return true;
}

bool http_query_is(const struct http_request *request, const char *name, const char *value)
{
    size_t length;
    const char *text = query_value(request, name, &length);
    return text != NULL && length == strlen(value) && strncmp(text, value, length) == 0;
}

bool http_query_bool(const struct http_request *request, const char *name, bool *value,
                     struct http_response *response)
{
    char detail[80];
    size_t length;
    *value = http_query_is(request, name, "true");
    if (*value || query_value(request, name, &length) == NULL ||
        http_query_is(request, name, "false"))
        return true;
    snprintf(detail, sizeof detail, "%s must be true or false", name);
    http_problem(response, 400, detail, NULL);
    return false;
}

/* Which of names the parameter at text is; -1: none of them. */
static int find_parameter(const char *text, const char *const *names)
{
    size_t length = strcspn(text, "=&");
    for (int i = 0; names[i] != NULL && text[length] == '='; i++)
        if (strlen(names[i]) == length && strncmp(names[i], text, length) == 0)
            return i;
    return -1;
}

bool http_query_only(const struct http_request *request, const char *const *names,
                     struct http_response *response)
{
    unsigned seen = 0;
    for (const char *at = request->query; *at != '\0';) {
        int found = find_parameter(at, names);
        if (found < 0 || (seen & 1u << found) != 0) {
            http_problem(response, 400,
                         found < 0 ? "the query has a parameter this path does not know"
                                   : "the query has a parameter twice",
                         NULL);
            return false;
        }
        seen |= 1u << found;
        at += strcspn(at, "&");
        at += *at == '&';
    }
    return true;
}

bool http_read_body(const struct http_request *request, struct dynbuf *body,
                    struct http_response *response)
{
    struct mg_connection *connection = request->exchange->connection;
    long long announced = request->exchange->info->content_length;
    const char *expect = http_header(request, "Expect");
    char chunk[4096];
    int got;
    if (request->turn != NULL && request->turn->text[0] != '\0')
        return dynbuf_append(body, request->turn->body.data, request->turn->body.length);
    if (request->caller->role == ROLE_NONE && (announced < 0 || expect != NULL)) {
        http_problem(response, 411,
                     "who has not logged in must send a body at once and with its Content-Length",
                     NULL);
        return false;
    }
    if (announced > HTTP_BODY_MAX) {
        http_problem(response, 413, "the body is longer than 16384 bytes", NULL);
        return false;
    }
    if (expect != NULL && strcasecmp(expect, "100-continue") == 0) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        mg_write(connection, go_on, sizeof go_on - 1);
    }
    while ((got = mg_read(connection, chunk, sizeof chunk)) > 0) {
        if (body->length + (size_t)got > HTTP_BODY_MAX) {
            http_problem(response, 413, "the body is longer than 16384 bytes", NULL);
            return false;
        }
        dynbuf_append(body, chunk, (size_t)got);
    }
    if (got < 0 || (announced > 0 && body->length < (size_t)announced) || body->failed) {
        http_problem(response, 400, "the body ended early", NULL);
        return false;
    }
    return true;
}

static unsigned count_headers(const struct mg_request_info *info, const char *name)
{
    unsigned count = 0;
    for (int i = 0; i < info->num_headers; i++)
        count += strcasecmp(info->http_headers[i].name, name) == 0;
    return count;
}

/* What civetweb lets through and a strict server must not: a length beside chunks (request
 * smuggling) or that is no number and would count as none, and headers of which only the first
 * would count. false: detail says what it is. */
static bool is_clear(const struct mg_request_info *info, char *detail, size_t size)
{
    static const char *const single[] = {
        "Host",         "Content-Length",  "Transfer-Encoding",
        "Content-Type", "Authorization",   "Cookie",
        "Origin",       "Sec-Fetch-Site",  "X-CSRF-Token",
        "If-Match",     "Idempotency-Key", "Expect",
    };
    for (size_t i = 0; i < ARRAY_COUNT(single); i++)
        if (count_headers(info, single[i]) > 1) {
            snprintf(detail, size, "the request has the header %s more than once", single[i]);
            return false;
        }
    const char *length = NULL, *encoding = NULL;
    for (int i = 0; i < info->num_headers; i++) {
        if (strcasecmp(info->http_headers[i].name, "Content-Length") == 0)
            length = info->http_headers[i].value;
        if (strcasecmp(info->http_headers[i].name, "Transfer-Encoding") == 0)
            encoding = info->http_headers[i].value;
    }
    snprintf(detail, size,
             "the length of the body is said twice, or is no number, or it comes otherwise than in "
             "chunks");
    if (length != NULL && encoding != NULL)
        return false;
    return (length == NULL ||
            (length[0] != '\0' && length[strspn(length, "0123456789")] == '\0')) &&
           (encoding == NULL || strcasecmp(encoding, "chunked") == 0);
}

/* Whether the path is this route's; *parameter: what stands for its {name}. */
static bool is_path_of(const struct route *route, const char *path, const char **parameter)
{
    size_t fixed = strcspn(route->path, "{");
    *parameter = NULL;
    if (route->path[fixed] == '\0')
        return strcmp(route->path, path) == 0;
    if (strncmp(route->path, path, fixed) != 0 || path[fixed] == '\0' ||
        strchr(path + fixed, '/') != NULL)
        return false;
    *parameter = path + fixed;
    return true;
}

/* The route of the request, or NULL; allow then lists the methods the path has, if any. */
static const struct route *find_route(struct http_request *request, char *allow, size_t allow_size)
{
    const char *method = strcmp(request->method, "HEAD") == 0 ? "GET" : request->method;
    allow[0] = '\0';
    for (size_t i = 0; i < ARRAY_COUNT(routes); i++) {
        const char *parameter;
        if (!is_path_of(&routes[i], request->path, &parameter))
            continue;
        if (strcmp(routes[i].method, method) == 0) {
            request->parameter = parameter;
            return &routes[i];
        }
        size_t used = strlen(allow);
        snprintf(allow + used, allow_size - used, "%s%s%s", used == 0 ? "" : ", ", routes[i].method,
                 strcmp(routes[i].method, "GET") == 0 ? ", HEAD" : "");
    }
    return NULL;
}

static void run(const struct route *route, struct http_request *request,
                struct http_response *response)
{
    struct idempotency *idempotency = request->exchange->http->idempotency;
    struct http_turn turn;
    bool takes_query = strcmp(route->method, "POST") != 0 && strcmp(route->method, "DELETE") != 0;
    if (!takes_query && request->query[0] != '\0') { /* who says ?dry_run=true means it */
        http_problem(response, 400, "this request takes no query parameters", NULL);
        return;
    }
    if (!idempotency_begin(idempotency, request, &turn, response))
        return;
    request->turn = &turn;
    route->handler(request, response);
    idempotency_end(idempotency, request, &turn, response);
    request->turn = NULL;
}

/* Paths nobody answers are refused like all others: who may not ask does not learn what is there.
 */
static void dispatch(struct http_request *request, struct access_caller *caller,
                     struct http_response *response)
{
    char allow[64];
    struct access_refusal refusal;
    const struct route *route = find_route(request, allow, sizeof allow);
    if (route != NULL)
        request->exchange->route = (size_t)(route - routes);
    enum role needed = role_needed(route == NULL ? ACCESS_VIEWER : route->access,
                                   access_metrics_are_open(request->access));
    bool may = access_check(request->access, request->access_request, needed, caller, &refusal);
    request->caller = caller;
    if (may && route != NULL) {
        run(route, request, response);
        return;
    }
    if (!may) {
        http_refuse(response, &refusal);
    } else if (allow[0] != '\0') {
        http_add_header(response, "Allow", allow);
        http_problem(response, 405, "this path does not answer this method; see the Allow header",
                     NULL);
    } else {
        http_problem(response, 404, "there is nothing at this path", NULL);
    }
}

static void begin_handler(struct http *http)
{
    pthread_mutex_lock(&http->mutex);
    http->running++;
    pthread_mutex_unlock(&http->mutex);
}

static void end_handler(struct http *http)
{
    pthread_mutex_lock(&http->mutex);
    if (--http->running == 0)
        pthread_cond_broadcast(&http->idle);
    pthread_mutex_unlock(&http->mutex);
}

/* Once told to stop, civetweb drops what handlers write: they get a moment to finish first. */
static void wait_for_handlers(struct http *http)
{
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += STOP_WAIT_S;
    pthread_mutex_lock(&http->mutex);
    while (http->running > 0 && pthread_cond_timedwait(&http->idle, &http->mutex, &end) == 0)
        ;
    pthread_mutex_unlock(&http->mutex);
}

/* Who is behind the connection. false: it did not come through the front. */
static bool find_peer(const struct http *http, const struct mg_request_info *info,
                      struct peer *peer)
{
    return strcmp(info->remote_addr, "127.0.0.1") == 0 && info->remote_port > 0 &&
           info->remote_port <= UINT16_MAX &&
           peer_table_find(http->peers, (uint16_t)info->remote_port, peer);
}

static void read_access(struct mg_connection *connection, const struct mg_request_info *info,
                        const struct peer *peer, struct access_request *request)
{
    *request = (struct access_request){
        .peer = peer->address,
        .is_local = peer->is_local,
        .uid = peer->uid,
        .authorization = mg_get_header(connection, "Authorization"),
        .cookies = mg_get_header(connection, "Cookie"),
        .headers =
            {
                .is_unsafe = strcmp(info->request_method, "GET") != 0 &&
                             strcmp(info->request_method, "HEAD") != 0,
                .is_tls = peer->is_tls,
                .host = mg_get_header(connection, "Host"),
                .origin = mg_get_header(connection, "Origin"),
                .fetch_site = mg_get_header(connection, "Sec-Fetch-Site"),
                .csrf = mg_get_header(connection, "X-CSRF-Token"),
            },
    };
}

static int on_request(struct mg_connection *connection)
{
    const struct mg_request_info *info = mg_get_request_info(connection);
    struct http *http = info->user_data;
    struct http_exchange exchange = {
        .http = http, .connection = connection, .info = info, .route = CONTROL_ROUTES};
    struct peer peer = {.address = ""};
    bool is_known = find_peer(http, info, &peer);
    struct access_request access_request;
    struct http_request request = {
        .plane = http->plane,
        .access = http->access,
        .access_request = &access_request,
        .exchange = &exchange,
        .method = info->request_method,
        .path = info->local_uri_raw == NULL ? "" : info->local_uri_raw,
        .query = info->query_string == NULL ? "" : info->query_string,
        .peer = peer.address,
        .is_tls = peer.is_tls,
    };
    struct http_response response;
    struct access_caller caller;
    char doubt[160];
    begin_handler(http);
    response_init(&response);
    read_access(connection, info, &peer, &access_request);
    if (!is_known) {
        LOG_WARN("direct_request_refused", "address=%s", info->remote_addr);
        http_problem(&response, 403,
                     "this port is the control plane's own; connect to CONTROL_HTTP_ADDRESS", NULL);
    } else if (!is_clear(info, doubt, sizeof doubt)) {
        http_problem(&response, 400, doubt, NULL);
    } else {
        dispatch(&request, &caller, &response);
    }
    if (!response.streamed)
        send_response(connection, &response, strcmp(info->request_method, "HEAD") != 0,
                      exchange.route);
    int status = response.status;
    response_fini(&response);
    end_handler(http);
    return status;
}

/* Errors civetweb finds by itself, before on_request: in our form. */
static int on_error(struct mg_connection *connection, int status, const char *message)
{
    struct http_response response;
    response_init(&response);
    http_problem(&response, status, message == NULL ? "the request cannot be read" : message, NULL);
    send_response(connection, &response, true, CONTROL_ROUTES);
    response_fini(&response);
    return 0;
}

static int on_log(const struct mg_connection *connection, const char *message)
{
    char quoted[600];
    (void)connection;
    if (start_message[0] == '\0')
        snprintf(start_message, sizeof start_message, "%s", message);
    LOG_DEBUG("http_message", "text=%s",
              log_quote(quoted, sizeof quoted, message, strlen(message)));
    return 1;
}

/* ---- streams ---- */

bool http_stream_begin(const struct http_request *request, struct http_response *response)
{
    struct http *http = request->exchange->http;
    if (atomic_fetch_add(&http->streams, 1) >= HTTP_STREAMS_MAX) {
        atomic_fetch_sub(&http->streams, 1);
        http_problem(response, 503, "all event streams are in use; poll the API instead", NULL);
        http_add_header(response, "Retry-After", "5");
        return false;
    }
    struct dynbuf head;
    dynbuf_init(&head, 8192);
    write_head(&head, 200, "text/event-stream", NULL);
    dynbuf_append_text(&head, "Cache-Control: no-store\r\nConnection: close\r\n\r\n");
    control_metrics_add(CONTROL_METRIC_EVENT_STREAMS, 1);
    response->streamed = true;
    control_metrics_http(request->exchange->route, 200);
    (void)!http_stream_send(request,
                            &head); /* a client that is gone is noticed at the next write */
    dynbuf_fini(&head);
    return true;
}

bool http_stream_send(const struct http_request *request, const struct dynbuf *text)
{
    return text->length == 0 ||
           mg_write(request->exchange->connection, text->data, text->length) == (int)text->length;
}

void http_stream_end(const struct http_request *request, struct http_response *response)
{
    (void)response;
    control_metrics_add(CONTROL_METRIC_EVENT_STREAMS, -1);
    atomic_fetch_sub(&request->exchange->http->streams, 1);
}

/* ---- downloads ---- */

bool http_download_begin(const struct http_request *request, struct http_response *response,
                         const char *content_type, int64_t length)
{
    struct http *http = request->exchange->http;
    struct mg_connection *connection = request->exchange->connection;
    struct dynbuf head;
    if (atomic_fetch_add(&http->downloads, 1) >= HTTP_DOWNLOADS_MAX) {
        atomic_fetch_sub(&http->downloads, 1);
        http_problem(response, 503, "too many downloads at once; try again in a while", NULL);
        http_add_header(response, "Retry-After", "5");
        return false;
    }
    request->exchange->is_chunked =
        length < 0 && strcmp(request->exchange->info->http_version, "1.1") == 0;
    dynbuf_init(&head, 8192);
    write_head(&head, 200, content_type, &response->headers);
    dynbuf_append_text(&head, "Cache-Control: no-store\r\nConnection: close\r\n");
    if (length >= 0)
        dynbuf_printf(&head, "Content-Length: %lld\r\n", (long long)length);
    else if (request->exchange->is_chunked)
        dynbuf_append_text(&head, "Transfer-Encoding: chunked\r\n");
    dynbuf_append_text(&head, "\r\n");
    mg_write(connection, head.data, head.length);
    dynbuf_fini(&head);
    response->streamed = true;
    control_metrics_http(request->exchange->route, 200);
    return true;
}

bool http_download_send(const struct http_request *request, const void *bytes, size_t length)
{
    struct mg_connection *connection = request->exchange->connection;
    if (length == 0)
        return true;
    return request->exchange->is_chunked ? mg_send_chunk(connection, bytes, (unsigned)length) > 0
                                         : mg_write(connection, bytes, length) == (int)length;
}

void http_download_end(const struct http_request *request, bool is_whole)
{
    if (is_whole && request->exchange->is_chunked)
        mg_send_chunk(request->exchange->connection, "", 0);
    atomic_fetch_sub(&request->exchange->http->downloads, 1);
}

/* ---- life ---- */

/* civetweb's accepting thread looks at its stop flag when a connection comes, or after 2 s: so
 * connections come. Runs beside mg_stop, which sets the flag and then blocks. */
static void *nudge(void *context)
{
    struct http *http = context;
    while (!atomic_load(&http->stopped)) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd >= 0) {
            (void)!connect(fd, (const struct sockaddr *)&http->address, sizeof http->address);
            close(fd);
        }
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    return NULL;
}

static void stop_server(struct http *http)
{
    pthread_t nudger;
    bool has_nudger = pthread_create(&nudger, NULL, nudge, http) == 0;
    mg_stop(http->context);
    atomic_store(&http->stopped, true);
    if (has_nudger)
        pthread_join(nudger, NULL);
}

struct http *http_new(struct plane *plane, struct access *access, struct peer_table *peers,
                      char *error, size_t error_size)
{
    const char *options[] = {
        "listening_ports",
        "127.0.0.1:0",
        "num_threads",
        THREADS,
        "enable_keep_alive",
        "no", /* nothing can hide behind a request */
        "request_timeout_ms",
        "10000",
        "tcp_nodelay",
        "1",
        "decode_url",
        "no",
        "enable_directory_listing",
        "no",
        "access_control_allow_origin",
        "",
        "cgi_pattern",
        "",
        "ssi_pattern",
        "",
        NULL,
    };
    static const struct mg_callbacks callbacks = {
        .begin_request = on_request,
        .http_error = on_error,
        .log_message = on_log,
    };
    pthread_condattr_t attributes;
    struct http *http = calloc(1, sizeof *http);
    CHECK(http != NULL);
    http->plane = plane;
    http->access = access;
    http->peers = peers;
    http->idempotency = idempotency_new();
    pthread_mutex_init(&http->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&http->idle, &attributes);
    pthread_condattr_destroy(&attributes);
    start_message[0] = '\0';
    mg_init_library(0);
    http->context = mg_start(&callbacks, http, options);
    if (http->context == NULL) {
        snprintf(error, error_size, "the web server cannot listen on 127.0.0.1: %s",
                 start_message[0] == '\0' ? "the HTTP server did not start" : start_message);
        mg_exit_library();
        idempotency_free(http->idempotency);
        pthread_cond_destroy(&http->idle);
        pthread_mutex_destroy(&http->mutex);
        free(http);
        return NULL;
    }
    struct mg_server_port ports[2];
    if (mg_get_server_ports(http->context, 2, ports) > 0)
        http->port = (uint16_t)ports[0].port;
    http->address.sin_family = AF_INET;
    http->address.sin_port = htons(http->port);
    http->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return http;
}

uint16_t http_port(const struct http *http)
{
    return http->port;
}

void http_free(struct http *http)
{
    if (http == NULL)
        return;
    wait_for_handlers(http);
    stop_server(http);
    mg_exit_library();
    idempotency_free(http->idempotency);
    pthread_cond_destroy(&http->idle);
    pthread_mutex_destroy(&http->mutex);
    free(http);
}
