/* The data plane's HTTP endpoint: /metrics and the health checks, on the main thread's event_base
 * by evhttp. Reads only; it must never block the main thread, nor let a slow, greedy or numerous
 * HTTP client hold memory or descriptors. */
#include "dataplane/admin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <string.h>
#include <sys/socket.h>

#include "common/log.h"
#include "common/promtext.h"
#include "dataplane/config.h"

#define HEADER_MAX_BYTES   8192
#define BODY_MAX_BYTES     1024 /* none of our requests has one */
#define IDLE_TIMEOUT_S     5    /* silent connections go before they can use up the descriptors */
#define RESPONSE_MAX_BYTES (16u * 1024 * 1024)

struct admin {
    struct event_base *base;
    struct evhttp *http;
    int port;
    bool enable_metrics;
    bool readiness_requires_both;
    void (*read_status)(void *context, struct admin_status *status);
    void *context;
};

static void reply(struct evhttp_request *request, int code, const char *reason,
                  const char *content_type, const struct dynbuf *body)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
    struct evbuffer *content = evbuffer_new();
    char length[24];
    CHECK(content != NULL);
    snprintf(length, sizeof length, "%zu", body->length);
    evhttp_add_header(headers, "Content-Type", content_type);
    evhttp_add_header(headers, "Content-Length", length);
    evhttp_add_header(headers, "Cache-Control", "no-store");
    if (evhttp_request_get_command(request) != EVHTTP_REQ_HEAD)
        evbuffer_add(content, body->data, body->length);
    evhttp_send_reply(request, code, reason, content);
    evbuffer_free(content);
}

static void reply_text(struct evhttp_request *request, int code, const char *reason,
                       const char *text)
{
    struct dynbuf body;
    dynbuf_init(&body, strlen(text));
    dynbuf_append_text(&body, text);
    reply(request, code, reason, "text/plain; charset=utf-8", &body);
    dynbuf_fini(&body);
}

static bool is_allowed(struct evhttp_request *request)
{
    enum evhttp_cmd_type method = evhttp_request_get_command(request);
    if (method == EVHTTP_REQ_GET || method == EVHTTP_REQ_HEAD)
        return true;
    evhttp_add_header(evhttp_request_get_output_headers(request), "Allow", "GET, HEAD");
    reply_text(request, 405, "Method Not Allowed", "Only GET and HEAD are allowed here.\n");
    return false;
}

static void on_metrics(struct evhttp_request *request, void *context)
{
    struct admin *admin = context;
    if (!is_allowed(request))
        return;
    if (!admin->enable_metrics) {
        reply_text(request, HTTP_NOTFOUND, "Not Found",
                   "Metrics are disabled on this proxy instance.");
        return;
    }
    struct admin_status status = {0};
    admin->read_status(admin->context, &status);
    if (status.phase == ADMIN_STARTING) {
        reply_text(request, HTTP_SERVUNAVAIL, "Service Unavailable",
                   "Proxy metrics haven't been initialized yet.");
        return;
    }
    struct dynbuf body;
    dynbuf_init(&body, RESPONSE_MAX_BYTES);
    metrics_render(&body, &status.process);
    if (body.failed)
        reply_text(request, HTTP_INTERNAL, "Internal Server Error",
                   "The metrics do not fit into 16 MiB.\n");
    else
        reply(request, HTTP_OK, "OK", PROMTEXT_CONTENT_TYPE, &body);
    dynbuf_fini(&body);
}

static void on_liveness(struct evhttp_request *request, void *context)
{
    (void)context;
    if (is_allowed(request))
        reply_text(request, HTTP_OK, "OK", "OK");
}

static const char *overall_status(const struct admin *admin, const struct admin_status *status)
{
    if (status->phase == ADMIN_STARTING)
        return "STARTUP";
    if (status->phase == ADMIN_DRAINING)
        return "DRAINING";
    for (size_t cluster = 0; cluster < CLUSTER_COUNT; cluster++) {
        bool counts = !status->is_idle[cluster] &&
                      (cluster == status->primary || admin->readiness_requires_both);
        if (counts && !(status->has_cluster[cluster] && status->clusters[cluster].is_up))
            return "DOWN";
    }
    return "UP";
}

static void append_side(struct dynbuf *body, const char *name, const struct admin_status *status,
                        enum cluster_id cluster)
{
    dynbuf_printf(body, "\"%s\":", name);
    if (!status->has_cluster[cluster]) {
        dynbuf_append_text(body, "null,");
        return;
    }
    const struct cluster_status *side = &status->clusters[cluster];
    /* The address is one this process formatted from a socket address: nothing in it needs
     * escaping. */
    dynbuf_printf(body,
                  "{\"Addr\":\"%s\",\"CurrentFailureCount\":%d,\"FailureCountThreshold\":%d,"
                  "\"Status\":\"%s\"%s},",
                  side->address, side->failure_count, side->failure_threshold,
                  side->is_up ? "UP" : "DOWN", status->is_idle[cluster] ? ",\"InUse\":false" : "");
}

static void on_readiness(struct evhttp_request *request, void *context)
{
    struct admin *admin = context;
    if (!is_allowed(request))
        return;
    struct admin_status status = {0};
    admin->read_status(admin->context, &status);
    const char *overall = overall_status(admin, &status);
    struct dynbuf body;
    dynbuf_init(&body, 4096);
    dynbuf_append_text(&body, "{");
    append_side(&body, "OriginStatus", &status, CLUSTER_ORIGIN);
    append_side(&body, "TargetStatus", &status, CLUSTER_TARGET);
    dynbuf_printf(&body, "\"Status\":\"%s\"}", overall);
    if (strcmp(overall, "UP") == 0)
        reply(request, HTTP_OK, "OK", "application/json", &body);
    else
        reply(request, HTTP_SERVUNAVAIL, "Service Unavailable", "application/json", &body);
    dynbuf_fini(&body);
}

static void on_other(struct evhttp_request *request, void *context)
{
    (void)context;
    reply_text(request, HTTP_NOTFOUND, "Not Found",
               "Not found. Served here: /metrics, /health/liveness, /health/readiness\n");
}

static int bound_port(evutil_socket_t socket)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } address;
    socklen_t length = sizeof address;
    memset(&address, 0, sizeof address);
    if (getsockname(socket, &address.any, &length) != 0)
        return -1;
    return ntohs(address.any.sa_family == AF_INET6 ? address.in6.sin6_port : address.in.sin_port);
}

/* A connection that closes its socket itself, after its events are gone. Left to evhttp the socket
 * is closed first, and epoll is told to forget a number that may be a worker's socket by then. */
static struct bufferevent *new_connection(struct event_base *base, void *context)
{
    (void)context;
    return bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
}

struct admin *admin_new(struct event_base *base, const struct config *config,
                        void (*read_status)(void *context, struct admin_status *status),
                        void *context)
{
    struct admin *admin = calloc(1, sizeof *admin);
    CHECK(admin != NULL);
    *admin = (struct admin){
        .base = base,
        .http = evhttp_new(base),
        .enable_metrics = config->enable_metrics,
        .readiness_requires_both = config->readiness_requires_both,
        .read_status = read_status,
        .context = context,
    };
    CHECK(admin->http != NULL);
    evhttp_set_bevcb(admin->http, new_connection, NULL);
    evhttp_set_max_headers_size(admin->http, HEADER_MAX_BYTES);
    evhttp_set_max_body_size(admin->http, BODY_MAX_BYTES);
    evhttp_set_timeout(admin->http, IDLE_TIMEOUT_S);
    /* All methods evhttp knows, so that a wrong one gets 405 with Allow instead of 501. */
    evhttp_set_allowed_methods(admin->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST |
                                                EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE |
                                                EVHTTP_REQ_OPTIONS | EVHTTP_REQ_PATCH);
    evhttp_set_cb(admin->http, "/metrics", on_metrics, admin);
    evhttp_set_cb(admin->http, "/health/liveness", on_liveness, admin);
    evhttp_set_cb(admin->http, "/health/readiness", on_readiness, admin);
    evhttp_set_gencb(admin->http, on_other, admin);

    struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(
        admin->http, config->metrics_address, (uint16_t)config->metrics_port);
    char quoted[128];
    const char *address =
        log_quote(quoted, sizeof quoted, config->metrics_address, strlen(config->metrics_address));
    if (bound == NULL) {
        LOG_ERROR("http_listen_failed", "address=%s port=%d error=\"%s\"", address,
                  config->metrics_port, strerror(errno));
        admin_free(admin);
        return NULL;
    }
    admin->port = bound_port(evhttp_bound_socket_get_fd(bound));
    LOG_INFO("http_listening", "address=%s port=%d", address, admin->port);
    return admin;
}

int admin_port(const struct admin *admin)
{
    return admin->port;
}

void admin_free(struct admin *admin)
{
    if (admin == NULL)
        return;
    evhttp_free(admin->http);
    free(admin);
}
