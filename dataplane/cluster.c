/* The control connection of one cluster: a small state machine on the main thread's event loop. One
 * request is in flight at a time; `step` says which answer is awaited. It must never block, never
 * trust a length, and never give up: whatever goes wrong becomes a reason, the connection is
 * closed, and another attempt follows.
 *
 *   round:   names resolved → each candidate in turn: connect, OPTIONS, STARTUP, [authenticate],
 * REGISTER, local, peers → open open:    heartbeats; events → (after a pause) local and peers
 * again; any failure → closed, next round after a pause
 *
 * A round ends at CLUSTER_CONNECTION_TIMEOUT_MS, whatever it is doing. */
#include "dataplane/cluster.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "dataplane/config.h"
#include "dataplane/resolve.h"
#include "dataplane/text_list.h"
#include "dataplane/topology_build.h"
#include "proto/cql_response.h"

#define FRAME_BODY_MAX     (16u * 1024 * 1024) /* no system.peers is this large */
#define OUTPUT_MAX         (128u * 1024)
#define READ_BYTES         (16u * 1024)
#define READS_PER_WAKE     16
#define KEPT_BUFFER_BYTES  (64u * 1024)
#define STEP_TIMEOUT_MS    10000
#define CONNECT_TIMEOUT_MS 2000 /* while there are other candidates */
#define RESOLVE_TIMEOUT_MS 2000 /* while there are other candidates */
#define REFRESH_DELAY_MS   200
#define AUTH_TURNS_MAX     6
#define REASON_BYTES       512
#define EVENT_STREAM       (-1)
#define CONSISTENCY_ONE    1
#define DSE_AUTHENTICATOR  "com.datastax.bdp.cassandra.auth.DseAuthenticator"

enum step {
    STEP_NONE, /* no answer is awaited: open and quiet, or closed */
    STEP_RESOLVE,
    STEP_CONNECT,
    STEP_OPTIONS,
    STEP_STARTUP,
    STEP_AUTHENTICATE,
    STEP_REGISTER,
    STEP_LOCAL,
    STEP_PEERS,
    STEP_HEARTBEAT,
};

static const char *const step_names[] = {
    [STEP_NONE] = "nothing",
    [STEP_RESOLVE] = "name resolution",
    [STEP_CONNECT] = "TCP connect",
    [STEP_OPTIONS] = "OPTIONS",
    [STEP_STARTUP] = "STARTUP",
    [STEP_AUTHENTICATE] = "authentication",
    [STEP_REGISTER] = "REGISTER",
    [STEP_LOCAL] = "SELECT * FROM system.local",
    [STEP_PEERS] = "SELECT * FROM system.peers",
    [STEP_HEARTBEAT] = "heartbeat",
};

struct cluster {
    struct event_base *base;
    const struct config *config;
    enum cluster_id id;
    void (*on_topology)(void *context, struct topology *topology);
    void *context;

    /* This round. */
    struct resolve *resolve;
    struct node_list candidates;
    size_t candidate; /* being tried */
    uint64_t round_deadline_ns;
    unsigned failed_rounds;

    /* This connection. */
    int fd;            /* -1: closed */
    int connect_error; /* errno of a connect that failed at once, told by the step timer */
    struct event *readable;
    struct event *writable;
    struct dynbuf input;
    struct dynbuf output;
    enum step step;
    bool is_open; /* the first topology of this connection is out */
    int16_t stream;
    uint8_t version;
    bool requires_authentication;
    bool is_dse;
    int auth_turns;
    bool needs_refresh;
    uint64_t opened_ns;
    struct dynbuf supported; /* bodies kept while the rest is read */
    struct dynbuf local;

    struct event *step_timer;  /* the answer awaited is late */
    struct event *round_timer; /* start a round */
    struct event *heartbeat_timer;
    struct event *refresh_timer;

    /* What outlives connections. */
    char datacenter[256];
    struct topology *topology; /* the last one, for its known hosts; NULL before the first */
    char address[64];
    int failure_count;
};

static void start_candidate(struct cluster *cluster, uint8_t version);
static void connection_failed(struct cluster *cluster, const char *reason);

/* Settings of this side. */

static const char *contact_points(const struct cluster *cluster)
{
    return cluster->id == CLUSTER_ORIGIN ? cluster->config->origin_contact_points
                                         : cluster->config->target_contact_points;
}

static int cql_port(const struct cluster *cluster)
{
    return cluster->id == CLUSTER_ORIGIN ? cluster->config->origin_port
                                         : cluster->config->target_port;
}

static const char *username(const struct cluster *cluster)
{
    return cluster->id == CLUSTER_ORIGIN ? cluster->config->origin_username
                                         : cluster->config->target_username;
}

static const char *password(const struct cluster *cluster)
{
    return cluster->id == CLUSTER_ORIGIN ? cluster->config->origin_password
                                         : cluster->config->target_password;
}

static const char *setting_prefix(const struct cluster *cluster)
{
    return cluster->id == CLUSTER_ORIGIN ? "ORIGIN" : "TARGET";
}

static size_t proxy_count(const struct config *config)
{
    const char *at = config->proxy_addresses;
    char item[64];
    size_t count = 0;
    while (text_list_next(&at, item, sizeof item))
        count++;
    return count == 0 ? 1 : count;
}

/* Timers. */

static void arm(struct event *timer, uint64_t after_ms)
{
    struct timeval after = {.tv_sec = (time_t)(after_ms / 1000),
                            .tv_usec = (suseconds_t)(after_ms % 1000 * 1000)};
    int result = evtimer_add(timer, &after);
    CHECK(result == 0);
}

static uint64_t round_left_ms(const struct cluster *cluster)
{
    uint64_t now = clock_now_ns();
    return now >= cluster->round_deadline_ns ? 0 : (cluster->round_deadline_ns - now) / NS_PER_MS;
}

/* Awaits the answer to step for at most limit_ms, and never past the end of the round that opens a
 * connection. */
static void await(struct cluster *cluster, enum step step, uint64_t limit_ms)
{
    cluster->step = step;
    uint64_t left = cluster->is_open ? limit_ms : round_left_ms(cluster) + 1;
    arm(cluster->step_timer, left < limit_ms ? left : limit_ms);
}

static uint64_t heartbeat_limit_ms(const struct cluster *cluster)
{
    uint64_t interval = (uint64_t)cluster->config->heartbeat_interval_ms;
    return interval < STEP_TIMEOUT_MS ? interval : STEP_TIMEOUT_MS;
}

/* Between half and all of min * 2^n, at most max: many proxies must not come back in one instant.
 */
static uint64_t retry_delay_ms(const struct cluster *cluster)
{
    uint64_t least = (uint64_t)cluster->config->heartbeat_retry_interval_min_ms;
    uint64_t most = (uint64_t)cluster->config->heartbeat_retry_interval_max_ms;
    unsigned doublings = cluster->failed_rounds < 20 ? cluster->failed_rounds : 20;
    uint64_t delay = least << doublings;
    if (delay > most)
        delay = most;
    return delay / 2 + arc4random_uniform((uint32_t)(delay / 2 + 1));
}

/* The socket. */

static void close_connection(struct cluster *cluster)
{
    if (cluster->readable != NULL)
        event_free(cluster->readable);
    if (cluster->writable != NULL)
        event_free(cluster->writable);
    cluster->readable = NULL;
    cluster->writable = NULL;
    if (cluster->fd >= 0)
        close(cluster->fd);
    cluster->fd = -1;
    dynbuf_fini(&cluster->input);
    dynbuf_fini(&cluster->output);
    dynbuf_fini(&cluster->supported);
    dynbuf_fini(&cluster->local);
    evtimer_del(cluster->step_timer);
    evtimer_del(cluster->heartbeat_timer);
    evtimer_del(cluster->refresh_timer);
    cluster->step = STEP_NONE;
    cluster->is_open = false;
    cluster->needs_refresh = false;
}

static void flush(struct cluster *cluster)
{
    while (cluster->output.length > 0) {
        ssize_t sent =
            send(cluster->fd, cluster->output.data, cluster->output.length, MSG_NOSIGNAL);
        if (sent > 0) {
            dynbuf_consume(&cluster->output, (size_t)sent);
        } else if (sent < 0 && errno == EINTR) {
            continue;
        } else if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            event_add(cluster->writable, NULL);
            return;
        } else {
            /* The reader learns of it at once and says why; there is nothing to add here. */
            dynbuf_reset(&cluster->output);
            return;
        }
    }
}

/* Sends one request and awaits its answer. */
static void request(struct cluster *cluster, enum step step, uint8_t opcode,
                    const struct dynbuf *body, uint64_t limit_ms)
{
    uint8_t header[CQL_HEADER_BYTES];
    cluster->stream = (int16_t)((cluster->stream + 1) & 0x7f);
    cql_header_store(header,
                     (struct cql_header){.version = cluster->version,
                                         .stream = cluster->stream,
                                         .opcode = opcode,
                                         .body_length = body == NULL ? 0 : (uint32_t)body->length});
    dynbuf_append(&cluster->output, header, sizeof header);
    if (body != NULL)
        dynbuf_append(&cluster->output, body->data, body->length);
    await(cluster, step, limit_ms);
    if (cluster->output.failed || (body != NULL && body->failed)) {
        connection_failed(cluster, "a request of the proxy is larger than 128 KiB");
        return;
    }
    flush(cluster);
}

/* Requests. */

static void send_options(struct cluster *cluster)
{
    request(cluster, STEP_OPTIONS, CQL_OPCODE_OPTIONS, NULL, STEP_TIMEOUT_MS);
}

static void put_text(struct dynbuf *body, const char *text)
{
    cql_put_string(body, text, strlen(text));
}

static void send_startup(struct cluster *cluster)
{
    struct dynbuf body;
    dynbuf_init(&body, 256);
    cql_put_u16(&body, 1);
    put_text(&body, "CQL_VERSION");
    put_text(&body, "3.0.0");
    request(cluster, STEP_STARTUP, CQL_OPCODE_STARTUP, &body, STEP_TIMEOUT_MS);
    dynbuf_fini(&body);
}

static void send_token(struct cluster *cluster, const void *token, size_t length)
{
    struct dynbuf body;
    dynbuf_init(&body, OUTPUT_MAX);
    cql_put_i32(&body, (int32_t)length);
    dynbuf_append(&body, token, length);
    request(cluster, STEP_AUTHENTICATE, CQL_OPCODE_AUTH_RESPONSE, &body, STEP_TIMEOUT_MS);
    if (body.data != NULL)
        explicit_bzero(body.data, body.length);
    dynbuf_fini(&body);
}

/* RFC 4616: an empty authorization identity, the user, the password. */
static void send_credentials(struct cluster *cluster)
{
    struct dynbuf token;
    dynbuf_init(&token, OUTPUT_MAX / 2);
    dynbuf_append(&token, "", 1);
    dynbuf_append_text(&token, username(cluster));
    dynbuf_append(&token, "", 1);
    dynbuf_append_text(&token, password(cluster));
    send_token(cluster, token.data, token.length);
    if (token.data != NULL)
        explicit_bzero(token.data, token.length);
    dynbuf_fini(&token);
}

static void send_register(struct cluster *cluster)
{
    struct dynbuf body;
    dynbuf_init(&body, 256);
    cql_put_u16(&body, 2);
    put_text(&body, "TOPOLOGY_CHANGE");
    put_text(&body, "STATUS_CHANGE");
    request(cluster, STEP_REGISTER, CQL_OPCODE_REGISTER, &body, STEP_TIMEOUT_MS);
    dynbuf_fini(&body);
}

static void send_query(struct cluster *cluster, enum step step, const char *text)
{
    struct dynbuf body;
    dynbuf_init(&body, 256);
    cql_put_i32(&body, (int32_t)strlen(text));
    dynbuf_append_text(&body, text);
    cql_put_u16(&body, CONSISTENCY_ONE);
    cql_put_u8(&body, 0);
    request(cluster, step, CQL_OPCODE_QUERY, &body, STEP_TIMEOUT_MS);
    dynbuf_fini(&body);
}

static void send_local(struct cluster *cluster)
{
    cluster->needs_refresh = false;
    send_query(cluster, STEP_LOCAL, "SELECT * FROM system.local WHERE key='local'");
}

/* Rounds and failures. */

static void schedule_round(struct cluster *cluster)
{
    arm(cluster->round_timer, retry_delay_ms(cluster));
    cluster->failed_rounds++;
}

static void round_failed(struct cluster *cluster, const char *reason)
{
    char quoted[REASON_BYTES];
    cluster->failure_count++;
    LOG_WARN("control_connection_failed", "cluster=%s tried=%zu failures=%d reason=%s",
             cluster_name(cluster->id), cluster->candidates.count, cluster->failure_count,
             log_quote(quoted, sizeof quoted, reason, strlen(reason)));
    schedule_round(cluster);
}

/* Whatever goes wrong with a connection, open or not, ends here. reason may point into what closing
 * frees. */
static void connection_failed(struct cluster *cluster, const char *reason)
{
    char quoted[REASON_BYTES];
    log_quote(quoted, sizeof quoted, reason, strlen(reason));
    if (cluster->is_open) {
        cluster->failure_count++;
        LOG_WARN("control_connection_lost", "cluster=%s address=%s failures=%d reason=%s",
                 cluster_name(cluster->id), cluster->address, cluster->failure_count, quoted);
        /* A node that accepts and drops connections in a loop must not make us spin. */
        uint64_t lived_ms = (clock_now_ns() - cluster->opened_ns) / NS_PER_MS;
        if (lived_ms >= (uint64_t)cluster->config->heartbeat_retry_interval_max_ms)
            cluster->failed_rounds = 0;
        close_connection(cluster);
        schedule_round(cluster);
        return;
    }
    const struct topology_node *node = &cluster->candidates.nodes[cluster->candidate];
    char text[REASON_BYTES];
    snprintf(text, sizeof text, "%s: %.400s", node->name, reason);
    close_connection(cluster);
    cluster->candidate++;
    if (cluster->candidate >= cluster->candidates.count || round_left_ms(cluster) == 0) {
        round_failed(cluster, text);
        return;
    }
    LOG_INFO("control_connection_attempt_failed", "cluster=%s address=%s reason=%s",
             cluster_name(cluster->id), node->name, quoted);
    start_candidate(cluster, CQL_VERSION_MAX);
}

static void connection_failed_errno(struct cluster *cluster, const char *what, int error)
{
    char reason[160];
    snprintf(reason, sizeof reason, "%s: %s", what, strerror(error));
    connection_failed(cluster, reason);
}

static void try_candidates(struct cluster *cluster)
{
    if (cluster->candidates.count == 0) {
        char reason[160];
        snprintf(reason, sizeof reason, "%s_CASSANDRA_CONTACT_POINTS %s", setting_prefix(cluster),
                 contact_points(cluster)[0] == '\0' ? "is empty" : "resolves to no address");
        cluster->step = STEP_NONE;
        round_failed(cluster, reason);
        return;
    }
    cluster->candidate = 0;
    start_candidate(cluster, CQL_VERSION_MAX);
}

/* Adds nodes, beginning at a random one. */
static void add_candidates(struct cluster *cluster, const struct topology_node *nodes, size_t count)
{
    size_t start = count == 0 ? 0 : arc4random_uniform((uint32_t)count);
    for (size_t i = 0; i < count; i++)
        node_list_add(&cluster->candidates, &nodes[(start + i) % count]);
}

static void on_resolved(void *context, const struct node_list *nodes)
{
    struct cluster *cluster = context;
    cluster->resolve = NULL;
    evtimer_del(cluster->step_timer);
    add_candidates(cluster, nodes->nodes, nodes->count);
    try_candidates(cluster);
}

static void on_round(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct cluster *cluster = context;
    cluster->round_deadline_ns =
        clock_now_ns() + (uint64_t)cluster->config->cluster_connection_timeout_ms * NS_PER_MS;
    node_list_fini(&cluster->candidates);
    if (cluster->topology != NULL) {
        const struct topology *known = cluster->topology;
        add_candidates(cluster, known->nodes, known->node_count);
        add_candidates(cluster, known->spare_nodes, known->spare_count);
    }
    struct node_list literals = {0};
    bool has_names = resolve_literals(contact_points(cluster), cql_port(cluster), &literals);
    add_candidates(cluster, literals.nodes, literals.count);
    node_list_fini(&literals);
    if (has_names) {
        cluster->resolve = resolve_start(cluster->base, contact_points(cluster), cql_port(cluster),
                                         on_resolved, cluster);
        if (cluster->resolve != NULL) {
            await(cluster, STEP_RESOLVE,
                  cluster->candidates.count > 0 ? RESOLVE_TIMEOUT_MS : round_left_ms(cluster) + 1);
            return;
        }
    }
    try_candidates(cluster);
}

/* Answers. */

static void publish(struct cluster *cluster, struct cql_span peers)
{
    const struct config *config = cluster->config;
    struct topology_facts facts = {
        .cluster = cluster->id,
        .requires_authentication = cluster->requires_authentication,
        .protocol_version = cluster->version,
        .endpoint = cluster->candidates.nodes[cluster->candidate],
        .port = cql_port(cluster),
        .is_assigned = cluster->id == CLUSTER_ORIGIN ? config->origin_enable_host_assignment
                                                     : config->target_enable_host_assignment,
        .proxy_index = (size_t)config->proxy_index,
        .proxy_count = proxy_count(config),
        .seed = (uint64_t)arc4random() << 32 | arc4random(),
        .local = {cluster->local.data, cluster->local.length},
        .peers = peers,
        .supported = {cluster->supported.data, cluster->supported.length},
    };
    struct dynbuf reason;
    dynbuf_init(&reason, REASON_BYTES);
    struct topology *topology = topology_build(&facts, cluster->datacenter, &reason);
    dynbuf_fini(&cluster->local);
    if (topology == NULL) {
        connection_failed(cluster, dynbuf_text(&reason));
        dynbuf_fini(&reason);
        return;
    }
    dynbuf_fini(&reason);
    topology_put(cluster->topology);
    cluster->topology = topology;
    cluster->step = STEP_NONE;
    char title[300], place[300];
    log_quote(title, sizeof title, topology->cluster_title, strlen(topology->cluster_title));
    log_quote(place, sizeof place, cluster->datacenter, strlen(cluster->datacenter));
    LOG_INFO(cluster->is_open ? "topology_refreshed" : "control_connection_open",
             "cluster=%s address=%s protocol=%u authentication=%s cluster_name=%s datacenter=%s "
             "hosts=%zu assigned=%zu",
             cluster_name(cluster->id), facts.endpoint.name, cluster->version,
             cluster->requires_authentication ? "yes" : "no", title, place, topology->host_count,
             topology->node_count);
    if (!cluster->is_open) {
        cluster->is_open = true;
        cluster->opened_ns = clock_now_ns();
        cluster->failure_count = 0;
        snprintf(cluster->address, sizeof cluster->address, "%s", facts.endpoint.name);
        arm(cluster->heartbeat_timer, (uint64_t)cluster->config->heartbeat_interval_ms);
    }
    if (cluster->needs_refresh)
        arm(cluster->refresh_timer, REFRESH_DELAY_MS);
    cluster->on_topology(cluster->context, topology);
}

static void unexpected(struct cluster *cluster, struct cql_header header)
{
    char reason[160];
    snprintf(reason, sizeof reason, "unexpected %s (opcode 0x%02x) as answer to %s",
             cql_opcode_name(header.opcode), header.opcode, step_names[cluster->step]);
    connection_failed(cluster, reason);
}

static void on_error(struct cluster *cluster, struct cql_cursor body)
{
    int32_t code = cql_read_i32(&body);
    struct cql_span message = cql_read_string(&body);
    if (body.failed) {
        connection_failed(cluster, "malformed ERROR");
        return;
    }
    if (code == CQL_ERROR_PROTOCOL && cluster->version > CQL_VERSION_MIN && !cluster->is_open) {
        uint8_t lower = (uint8_t)(cluster->version - 1);
        LOG_INFO("control_connection_step_down", "cluster=%s address=%s protocol=%u next=%u",
                 cluster_name(cluster->id), cluster->candidates.nodes[cluster->candidate].name,
                 cluster->version, lower);
        close_connection(cluster);
        start_candidate(cluster, lower);
        return;
    }
    char reason[REASON_BYTES];
    snprintf(reason, sizeof reason, "%s answered with error 0x%04x %s: %.*s",
             step_names[cluster->step], (unsigned)code, cql_error_name(code),
             (int)(message.length < 300 ? message.length : 300), (const char *)message.data);
    connection_failed(cluster, reason);
}

static void on_authenticate(struct cluster *cluster, struct cql_cursor body)
{
    struct cql_span authenticator = cql_read_string(&body);
    if (body.failed) {
        connection_failed(cluster, "malformed AUTHENTICATE");
        return;
    }
    cluster->requires_authentication = true;
    if (username(cluster)[0] == '\0') {
        char reason[160];
        snprintf(reason, sizeof reason,
                 "the cluster asks for authentication and %s_CASSANDRA_USERNAME is empty",
                 setting_prefix(cluster));
        connection_failed(cluster, reason);
        return;
    }
    cluster->is_dse = cql_span_equals(authenticator, DSE_AUTHENTICATOR);
    if (cluster->is_dse)
        send_token(cluster, "PLAIN", 5);
    else
        send_credentials(cluster);
}

static void on_auth_answer(struct cluster *cluster, struct cql_header header,
                           struct cql_cursor body)
{
    if (header.opcode == CQL_OPCODE_AUTH_SUCCESS) {
        send_register(cluster);
    } else if (header.opcode != CQL_OPCODE_AUTH_CHALLENGE) {
        unexpected(cluster, header);
    } else if (++cluster->auth_turns >= AUTH_TURNS_MAX) {
        connection_failed(cluster, "authentication goes on for too many turns");
    } else {
        struct cql_span challenge = cql_read_bytes(&body);
        if (cluster->is_dse && !cql_span_equals(challenge, "PLAIN-START"))
            connection_failed(cluster, "unknown challenge from DseAuthenticator");
        else
            send_credentials(cluster);
    }
}

static void keep_body(struct dynbuf *kept, struct cql_cursor body)
{
    dynbuf_reset(kept);
    dynbuf_append(kept, body.at, cql_cursor_left(&body));
}

static void on_answer(struct cluster *cluster, struct cql_header header, const uint8_t *frame_body)
{
    struct cql_cursor body = cql_open_response(header, frame_body);
    if (body.failed) {
        connection_failed(cluster, "malformed answer: its prelude is longer than the frame");
        return;
    }
    evtimer_del(cluster->step_timer);
    if (header.opcode == CQL_OPCODE_ERROR) {
        on_error(cluster, body);
        return;
    }
    if (header.version != cluster->version) {
        connection_failed(cluster, "answer in another protocol version than asked");
        return;
    }
    enum step step = cluster->step;
    if (step == STEP_OPTIONS && header.opcode == CQL_OPCODE_SUPPORTED) {
        keep_body(&cluster->supported, body);
        send_startup(cluster);
    } else if (step == STEP_STARTUP && header.opcode == CQL_OPCODE_READY) {
        cluster->requires_authentication = false;
        send_register(cluster);
    } else if (step == STEP_STARTUP && header.opcode == CQL_OPCODE_AUTHENTICATE) {
        on_authenticate(cluster, body);
    } else if (step == STEP_AUTHENTICATE) {
        on_auth_answer(cluster, header, body);
    } else if (step == STEP_REGISTER && header.opcode == CQL_OPCODE_READY) {
        send_local(cluster);
    } else if (step == STEP_LOCAL && header.opcode == CQL_OPCODE_RESULT) {
        keep_body(&cluster->local, body);
        send_query(cluster, STEP_PEERS, "SELECT * FROM system.peers");
    } else if (step == STEP_PEERS && header.opcode == CQL_OPCODE_RESULT) {
        publish(cluster, (struct cql_span){body.at, cql_cursor_left(&body)});
    } else if (step == STEP_HEARTBEAT && header.opcode == CQL_OPCODE_SUPPORTED) {
        cluster->step = STEP_NONE;
        cluster->failed_rounds = 0;
        if (cluster->needs_refresh)
            arm(cluster->refresh_timer, REFRESH_DELAY_MS);
    } else {
        unexpected(cluster, header);
    }
}

/* One refresh for a burst of events: the pause begins with the first, and what comes later during
 * it is covered. */
static void on_cluster_event(struct cluster *cluster)
{
    cluster->needs_refresh = true;
    if (cluster->is_open && cluster->step == STEP_NONE &&
        !evtimer_pending(cluster->refresh_timer, NULL))
        arm(cluster->refresh_timer, REFRESH_DELAY_MS);
}

static void on_frame(struct cluster *cluster, struct cql_header header, const uint8_t *body)
{
    if (header.opcode == CQL_OPCODE_EVENT && header.stream == EVENT_STREAM) {
        on_cluster_event(cluster);
        return;
    }
    /* Versions refused are often answered on stream 0, whatever was asked. */
    bool is_mine = header.stream == cluster->stream || header.opcode == CQL_OPCODE_ERROR;
    if (cluster->step == STEP_NONE || !is_mine) {
        char reason[160];
        snprintf(reason, sizeof reason, "%s nobody asked for, on stream %d",
                 cql_opcode_name(header.opcode), header.stream);
        connection_failed(cluster, reason);
        return;
    }
    on_answer(cluster, header, body);
}

/* Takes whole frames off the input. Any of them may end the connection, or even begin the next one,
 * so fd is looked at again; a new connection has an empty input. */
static void consume_input(struct cluster *cluster)
{
    while (cluster->fd >= 0 && cluster->input.length >= CQL_HEADER_BYTES) {
        struct cql_header header = cql_header_load(cluster->input.data);
        if (!header.is_response || header.version == 0 || !cql_opcode_is_response(header.opcode)) {
            connection_failed(cluster, "what it sends is no CQL response");
            return;
        }
        if ((header.flags & CQL_FLAG_COMPRESSED) != 0) {
            connection_failed(cluster, "compressed answer though no compression was agreed");
            return;
        }
        if (header.body_length > FRAME_BODY_MAX) {
            char reason[160];
            snprintf(reason, sizeof reason, "announced a frame of %u bytes; at most %u are taken",
                     header.body_length, FRAME_BODY_MAX);
            connection_failed(cluster, reason);
            return;
        }
        size_t size = CQL_HEADER_BYTES + (size_t)header.body_length;
        if (cluster->input.length < size)
            return;
        /* Handlers may close the connection, which frees the input: they get bytes that are theirs
         * for the call. */
        struct dynbuf frame;
        dynbuf_init(&frame, CQL_HEADER_BYTES + FRAME_BODY_MAX);
        if (!dynbuf_append(&frame, cluster->input.data, size)) {
            connection_failed(cluster, "no memory for a frame");
            return;
        }
        dynbuf_consume(&cluster->input, size);
        if (cluster->input.length == 0 && cluster->input.capacity > KEPT_BUFFER_BYTES)
            dynbuf_fini(&cluster->input);
        on_frame(cluster, header, frame.data + CQL_HEADER_BYTES);
        dynbuf_fini(&frame);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    (void)what;
    struct cluster *cluster = context;
    uint8_t chunk[READ_BYTES];
    for (int i = 0; i < READS_PER_WAKE; i++) {
        ssize_t count = recv(fd, chunk, sizeof chunk, 0);
        if (count > 0) {
            if (!dynbuf_append(&cluster->input, chunk, (size_t)count)) {
                connection_failed(cluster, "no memory for its answer");
                return;
            }
            consume_input(cluster);
            /* Another connection may hold the same descriptor number by now: its own event will
             * tell. */
            if (cluster->input.length == 0)
                return;
        } else if (count == 0) {
            connection_failed(cluster, "closed by the node");
            return;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno != EINTR) {
            connection_failed_errno(cluster, "read", errno);
            return;
        }
    }
}

static void on_writable(evutil_socket_t fd, short what, void *context)
{
    (void)what;
    struct cluster *cluster = context;
    if (cluster->step == STEP_CONNECT) {
        int error = 0;
        socklen_t size = sizeof error;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
            error = errno;
        if (error != 0) {
            connection_failed_errno(cluster, "connect", error);
            return;
        }
        evtimer_del(cluster->step_timer);
        event_add(cluster->readable, NULL);
        send_options(cluster);
        return;
    }
    flush(cluster);
}

/* Connects to the current candidate. Its end is told by on_writable or on_step_timer, also when it
 * fails at once, so that a long list of bad candidates never nests calls. */
static void start_candidate(struct cluster *cluster, uint8_t version)
{
    const struct topology_node *node = &cluster->candidates.nodes[cluster->candidate];
    bool is_last = cluster->candidate + 1 >= cluster->candidates.count;
    cluster->version = version;
    cluster->stream = 0;
    cluster->auth_turns = 0;
    cluster->connect_error = 0;
    await(cluster, STEP_CONNECT, is_last ? round_left_ms(cluster) + 1 : CONNECT_TIMEOUT_MS);
    cluster->fd = socket(node->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (cluster->fd < 0) {
        cluster->connect_error = errno;
        arm(cluster->step_timer, 0);
        return;
    }
    int one = 1;
    setsockopt(cluster->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(cluster->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    cluster->readable =
        event_new(cluster->base, cluster->fd, EV_READ | EV_PERSIST, on_readable, cluster);
    cluster->writable = event_new(cluster->base, cluster->fd, EV_WRITE, on_writable, cluster);
    CHECK(cluster->readable != NULL && cluster->writable != NULL);
    if (connect(cluster->fd, (const struct sockaddr *)&node->address, node->address_length) != 0 &&
        errno != EINPROGRESS) {
        cluster->connect_error = errno;
        arm(cluster->step_timer, 0);
        return;
    }
    event_add(cluster->writable, NULL);
}

/* Timer callbacks. */

static void on_step_timer(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct cluster *cluster = context;
    if (cluster->step == STEP_RESOLVE) {
        resolve_cancel(cluster->resolve);
        cluster->resolve = NULL;
        try_candidates(cluster);
        return;
    }
    if (cluster->step == STEP_CONNECT && cluster->connect_error != 0) {
        connection_failed_errno(cluster, "connect", cluster->connect_error);
        return;
    }
    char reason[160];
    snprintf(reason, sizeof reason, "%s: no answer in time", step_names[cluster->step]);
    connection_failed(cluster, reason);
}

static void on_heartbeat_timer(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct cluster *cluster = context;
    arm(cluster->heartbeat_timer, (uint64_t)cluster->config->heartbeat_interval_ms);
    /* A refresh under way proves the connection as well as a heartbeat does. */
    if (cluster->step == STEP_NONE)
        request(cluster, STEP_HEARTBEAT, CQL_OPCODE_OPTIONS, NULL, heartbeat_limit_ms(cluster));
}

static void on_refresh_timer(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct cluster *cluster = context;
    if (cluster->step == STEP_NONE)
        send_local(cluster);
}

/* Public. */

struct cluster *cluster_new(struct event_base *base, const struct config *config,
                            enum cluster_id id,
                            void (*on_topology)(void *context, struct topology *topology),
                            void *context)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    CHECK(cluster != NULL);
    cluster->base = base;
    cluster->config = config;
    cluster->id = id;
    cluster->on_topology = on_topology;
    cluster->context = context;
    cluster->fd = -1;
    dynbuf_init(&cluster->input, CQL_HEADER_BYTES + FRAME_BODY_MAX + READ_BYTES);
    dynbuf_init(&cluster->output, OUTPUT_MAX);
    dynbuf_init(&cluster->supported, FRAME_BODY_MAX);
    dynbuf_init(&cluster->local, FRAME_BODY_MAX);
    cluster->step_timer = evtimer_new(base, on_step_timer, cluster);
    cluster->round_timer = evtimer_new(base, on_round, cluster);
    cluster->heartbeat_timer = evtimer_new(base, on_heartbeat_timer, cluster);
    cluster->refresh_timer = evtimer_new(base, on_refresh_timer, cluster);
    CHECK(cluster->step_timer != NULL && cluster->round_timer != NULL &&
          cluster->heartbeat_timer != NULL && cluster->refresh_timer != NULL);
    snprintf(cluster->address, sizeof cluster->address, "NOT_CONNECTED");
    arm(cluster->round_timer, 0);
    return cluster;
}

void cluster_free(struct cluster *cluster)
{
    if (cluster == NULL)
        return;
    close_connection(cluster);
    resolve_cancel(cluster->resolve);
    node_list_fini(&cluster->candidates);
    event_free(cluster->step_timer);
    event_free(cluster->round_timer);
    event_free(cluster->heartbeat_timer);
    event_free(cluster->refresh_timer);
    topology_put(cluster->topology);
    free(cluster);
}

void cluster_status(const struct cluster *cluster, struct cluster_status *status)
{
    *status = (struct cluster_status){
        .failure_count = cluster->failure_count,
        .failure_threshold = cluster->config->heartbeat_failure_threshold,
        /* Not is_open: failures below the threshold are forgiven. */
        .is_up = cluster->topology != NULL &&
                 cluster->failure_count < cluster->config->heartbeat_failure_threshold,
    };
    snprintf(status->address, sizeof status->address, "%s", cluster->address);
}
