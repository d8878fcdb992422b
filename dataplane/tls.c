/* TLS connections: OpenSSL's calls on non-blocking sockets, its errors as words, its sessions kept
 * for resumption. Runs on the thread of the connection's stream. Never blocks, knows no events;
 * what one call does is bounded, whatever the peer sends. */
#include "dataplane/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "dataplane/metrics.h"
#include "dataplane/topology.h"
#include "dataplane/transport.h"

/* Times one call sends; what is left waits for the next turn. */
#define SENDS_PER_CALL 4

/* Encrypted bytes the socket did not take. Above the first limit nothing more is read, so that
 * answers TLS itself owes (to requests for new keys) do not pile up; the second is never reached.
 */
#define UNSENT_HIGH ((size_t)128 * 1024)
#define UNSENT_MAX  ((size_t)1024 * 1024)

/* Nodes whose sessions are kept. */
#define SESSIONS_MAX 256

enum tls_failure {
#define TLS_FAILURE(symbol, text) TLS_FAILURE_##symbol,
#include "dataplane/tls_failures.def"
#undef TLS_FAILURE
    TLS_FAILURE_COUNT
};

struct tls_session {
    char node[sizeof(((struct topology_node *)0)->name)];
    SSL_SESSION *session;
};

struct tls_sessions {
    struct tls_context *context; /* whose sessions these are */
    struct tls_session *entries;
    size_t count;
};

struct tls_connection {
    SSL *ssl;
    int fd;
    struct dynbuf unsent; /* encrypted, in order */
    uint8_t *sink;        /* where encrypted bytes go during tls_write; NULL: to unsent */
    size_t sink_length, sink_room;
    struct tls_context *context;
    struct metrics_block *metrics;
    struct tls_sessions *sessions;
    bool is_begun;       /* the handshake */
    bool is_established; /* the handshake is over */
    bool has_read;       /* the peer has sent data: it has accepted us, too */
    bool has_more;       /* reading may go on without a new readiness event */
    bool has_failed;     /* nothing more can be said, not even goodbye */
    char peer[sizeof(((struct topology_node *)0)->server_name)]; /* whose certificate is expected */
    char node[sizeof(((struct topology_node *)0)->name)];
    char error[160];
};

/* ---- sessions ---- */

struct tls_sessions *tls_sessions_new(void)
{
    struct tls_sessions *sessions = calloc(1, sizeof *sessions);
    CHECK(sessions != NULL);
    return sessions;
}

static void forget_sessions(struct tls_sessions *sessions)
{
    for (size_t i = 0; i < sessions->count; i++)
        SSL_SESSION_free(sessions->entries[i].session);
    free(sessions->entries);
    tls_context_put(sessions->context);
    *sessions = (struct tls_sessions){0};
}

void tls_sessions_free(struct tls_sessions *sessions)
{
    if (sessions != NULL)
        forget_sessions(sessions);
    free(sessions);
}

static struct tls_session *find_session(const struct tls_sessions *sessions, const char *node)
{
    for (size_t i = 0; i < sessions->count; i++)
        if (strcmp(sessions->entries[i].node, node) == 0)
            return &sessions->entries[i];
    return NULL;
}

int tls_keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_connection *connection = SSL_get_app_data(ssl);
    struct tls_sessions *sessions = connection->sessions;
    if (sessions == NULL || sessions->context != connection->context)
        return 0;
    struct tls_session *entry = find_session(sessions, connection->node);
    if (entry == NULL) {
        if (sessions->count >= SESSIONS_MAX)
            return 0;
        struct tls_session *grown =
            realloc(sessions->entries, (sessions->count + 1) * sizeof *grown);
        if (grown == NULL)
            return 0;
        sessions->entries = grown;
        entry = &grown[sessions->count++];
        *entry = (struct tls_session){0};
        memcpy(entry->node, connection->node, sizeof entry->node);
    }
    SSL_SESSION_free(entry->session);
    entry->session = session;
    return 1;
}

/* Sessions of another context were agreed on under other rules. */
static void offer_session(struct tls_connection *connection)
{
    struct tls_sessions *sessions = connection->sessions;
    if (sessions == NULL)
        return;
    if (sessions->context != connection->context) {
        forget_sessions(sessions);
        sessions->context = tls_context_get(connection->context);
    }
    const struct tls_session *entry = find_session(sessions, connection->node);
    if (entry != NULL)
        SSL_set_session(connection->ssl, entry->session);
}

/* ---- counting ---- */

static const struct {
    enum metric full, resumed, failures[TLS_FAILURE_COUNT];
} counters[TLS_SIDE_COUNT] = {
#define TLS_FAILURE(symbol, text) METRIC_TLS_FAILED_PROXY_##symbol,
    [TLS_PROXY] = {METRIC_TLS_FULL_PROXY,
                   METRIC_TLS_RESUMED_PROXY,
                   {
#include "dataplane/tls_failures.def"
                   }},
#undef TLS_FAILURE
#define TLS_FAILURE(symbol, text) METRIC_TLS_FAILED_ORIGIN_##symbol,
    [TLS_ORIGIN] = {METRIC_TLS_FULL_ORIGIN,
                    METRIC_TLS_RESUMED_ORIGIN,
                    {
#include "dataplane/tls_failures.def"
                    }},
#undef TLS_FAILURE
#define TLS_FAILURE(symbol, text) METRIC_TLS_FAILED_TARGET_##symbol,
    [TLS_TARGET] = {METRIC_TLS_FULL_TARGET,
                    METRIC_TLS_RESUMED_TARGET,
                    {
#include "dataplane/tls_failures.def"
                    }},
#undef TLS_FAILURE
};

static void count(struct tls_connection *connection, enum metric metric)
{
    if (connection->metrics != NULL)
        metrics_add(connection->metrics, metric, 1);
}

static void count_failure(struct tls_connection *connection, enum tls_failure failure)
{
    count(connection, counters[connection->context->side].failures[failure]);
}

/* ---- errors ---- */

static enum tls_failure verification_failure(struct tls_connection *connection)
{
    long result = SSL_get_verify_result(connection->ssl);
    const char *text = X509_verify_cert_error_string(result);
    switch (result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        snprintf(connection->error, sizeof connection->error, "certificate has expired");
        return TLS_FAILURE_EXPIRED;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        snprintf(connection->error, sizeof connection->error,
                 "its certificate is not for %.100s (%s)", connection->peer, text);
        return TLS_FAILURE_NAME;
    default:
        snprintf(connection->error, sizeof connection->error,
                 "certificate signed by unknown authority or unusable (%s)", text);
        return TLS_FAILURE_UNTRUSTED;
    }
}

/* Words for what OpenSSL complains about; those zdm-proxy's operators look for are kept. */
static enum tls_failure protocol_failure(struct tls_connection *connection, unsigned long code)
{
    char *error = connection->error;
    size_t size = sizeof connection->error;
    int reason = ERR_GET_REASON(code);
    const char *text = ERR_reason_error_string(code);
    if (text == NULL)
        text = "unknown";
    switch (ERR_GET_LIB(code) == ERR_LIB_SSL ? reason : 0) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
        return verification_failure(connection);
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        snprintf(error, size, "client didn't provide a certificate");
        return TLS_FAILURE_NO_CERTIFICATE;
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
        if (connection->is_established)
            break;
        snprintf(error, size, "first record does not look like a TLS handshake");
        return TLS_FAILURE_NOT_TLS;
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        snprintf(error, size, "closed during the TLS handshake");
        return TLS_FAILURE_CLOSED;
    default:
        if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET) {
            snprintf(error, size, "refused by the peer (%s)", text);
            return TLS_FAILURE_REFUSED;
        }
    }
    snprintf(error, size, "TLS: %s", text);
    return TLS_FAILURE_PROTOCOL;
}

/* The connection is done for: says why, and counts it if it never carried anything. */
static ssize_t fail(struct tls_connection *connection, int kind, int system_error)
{
    enum tls_failure failure = TLS_FAILURE_CLOSED;
    unsigned long code = ERR_peek_error();
    connection->has_failed = true;
    connection->has_more = true; /* so that it is not waited for */
    if (kind == SSL_ERROR_SSL && code != 0)
        failure = protocol_failure(connection, code);
    else if (kind == SSL_ERROR_SYSCALL && system_error != 0)
        snprintf(connection->error, sizeof connection->error, "%s", strerror(system_error));
    else
        snprintf(connection->error, sizeof connection->error, "%s",
                 connection->is_established ? "peer_closed" : "closed during the TLS handshake");
    ERR_clear_error();
    if (!connection->has_read)
        count_failure(connection, failure);
    return TRANSPORT_FAILED;
}

/* After an OpenSSL call that returned result <= 0. */
static ssize_t stop(struct tls_connection *connection, int result, int system_error)
{
    int kind = SSL_get_error(connection->ssl, result);
    switch (kind) {
    case SSL_ERROR_WANT_READ:
        return TRANSPORT_WANTS_READ;
    case SSL_ERROR_WANT_WRITE:
        return TRANSPORT_WANTS_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        return TRANSPORT_END;
    default:
        return fail(connection, kind, system_error);
    }
}

const char *tls_error(const struct tls_connection *connection)
{
    /* The text outlives the connection: the owner is told after it has been closed. */
    static _Thread_local char text[sizeof connection->error];
    memcpy(text, connection->error, sizeof text);
    return text;
}

/* ---- encrypted output ---- */

/* OpenSSL writes into memory of ours, so that it never sits on half a record: it could not answer a
 * request for new keys then (and would give up the connection). */
static int on_output(BIO *bio, const char *bytes, size_t length, size_t *written)
{
    struct tls_connection *connection = BIO_get_data(bio);
    *written = length;
    if (connection->sink != NULL && connection->sink_room - connection->sink_length >= length) {
        memcpy(connection->sink + connection->sink_length, bytes, length);
        connection->sink_length += length;
        return 1;
    }
    return connection->sink_length == 0 && dynbuf_append(&connection->unsent, bytes, length);
}

static long on_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP;
}

static BIO_METHOD *output_method;
static pthread_once_t output_once = PTHREAD_ONCE_INIT;

static void make_output_method(void)
{
    output_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream output");
    CHECK(output_method != NULL);
    BIO_meth_set_write_ex(output_method, on_output);
    BIO_meth_set_ctrl(output_method, on_control);
}

/* Sends bytes as far as the socket takes them; how many, or TRANSPORT_FAILED. */
static ssize_t send_some(struct tls_connection *connection, const uint8_t *bytes, size_t length)
{
    ssize_t sent;
    do
        sent = send(connection->fd, bytes, length, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno == EAGAIN)
        return 0;
    return sent < 0 ? fail(connection, SSL_ERROR_SYSCALL, errno) : sent;
}

/* 1: all is sent; or an enum transport_stop. */
static ssize_t send_unsent(struct tls_connection *connection)
{
    struct dynbuf *unsent = &connection->unsent;
    if (unsent->length == 0)
        return 1;
    ssize_t sent = send_some(connection, unsent->data, unsent->length);
    if (sent < 0)
        return sent;
    dynbuf_consume(unsent, (size_t)sent);
    if (unsent->length > 0)
        return TRANSPORT_WANTS_WRITE;
    dynbuf_fini(unsent); /* a connection that is not stuck holds none */
    return 1;
}

/* ---- making ---- */

static struct tls_connection *new_connection(struct tls_context *context,
                                             struct metrics_block *metrics)
{
    struct tls_connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL)
        return NULL;
    connection->ssl = SSL_new(context->ssl);
    if (connection->ssl == NULL) {
        ERR_clear_error();
        free(connection);
        return NULL;
    }
    connection->context = tls_context_get(context);
    connection->metrics = metrics;
    connection->fd = -1;
    dynbuf_init(&connection->unsent, UNSENT_MAX);
    SSL_set_app_data(connection->ssl, connection);
    return connection;
}

struct tls_connection *tls_accept(struct tls_context *context, struct metrics_block *metrics)
{
    struct tls_connection *connection = new_connection(context, metrics);
    if (connection != NULL)
        SSL_set_accept_state(connection->ssl);
    return connection;
}

/* Whom the certificate must be for: the name the node was asked for by, or its address. */
static bool expect_peer(struct tls_connection *connection, const struct topology_node *node)
{
    X509_VERIFY_PARAM *rules = SSL_get0_param(connection->ssl);
    const void *inet = NULL;
    size_t length = 0;
    if (node->server_name[0] != '\0') {
        snprintf(connection->peer, sizeof connection->peer, "%s", node->server_name);
        X509_VERIFY_PARAM_set_hostflags(rules, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        return X509_VERIFY_PARAM_set1_host(rules, node->server_name, 0) == 1;
    }
    snprintf(connection->peer, sizeof connection->peer, "the address of %s", node->name);
    if (node->address.ss_family == AF_INET) {
        inet = &((const struct sockaddr_in *)&node->address)->sin_addr;
        length = sizeof(struct in_addr);
    } else if (node->address.ss_family == AF_INET6) {
        inet = &((const struct sockaddr_in6 *)&node->address)->sin6_addr;
        length = sizeof(struct in6_addr);
    }
    return inet != NULL && X509_VERIFY_PARAM_set1_ip(rules, inet, length) == 1;
}

struct tls_connection *tls_connect(struct tls_context *context, struct metrics_block *metrics,
                                   struct tls_sessions *sessions, const struct topology_node *node)
{
    const char *asked = node->is_behind_sni ? node->name : node->server_name;
    struct tls_connection *connection = new_connection(context, metrics);
    if (connection == NULL)
        return NULL;
    SSL_set_connect_state(connection->ssl);
    memcpy(connection->node, node->name, sizeof connection->node);
    if ((asked[0] != '\0' && SSL_set_tlsext_host_name(connection->ssl, asked) != 1) ||
        (context->verifies_names && !expect_peer(connection, node))) {
        ERR_clear_error();
        tls_free(connection);
        return NULL;
    }
    connection->sessions = sessions;
    offer_session(connection);
    return connection;
}

bool tls_set_socket(struct tls_connection *connection, int fd)
{
    ERR_clear_error();
    pthread_once(&output_once, make_output_method);
    BIO *input = BIO_new_socket(fd, BIO_NOCLOSE);
    BIO *output = BIO_new(output_method);
    if (input == NULL || output == NULL) {
        BIO_free(input);
        BIO_free(output);
        ERR_clear_error();
        return false;
    }
    BIO_set_data(output, connection);
    BIO_set_init(output, 1);
    SSL_set_bio(connection->ssl, input, output);
    connection->fd = fd;
    connection->is_begun = SSL_is_server(connection->ssl) == 1; /* it is the client's turn */
    return true;
}

void tls_free(struct tls_connection *connection)
{
    if (connection == NULL)
        return;
    if (connection->is_begun && !connection->is_established && !connection->has_failed)
        count_failure(connection, TLS_FAILURE_UNFINISHED);
    SSL_free(connection->ssl);
    dynbuf_fini(&connection->unsent);
    tls_context_put(connection->context);
    free(connection);
}

/* ---- the connection at work ---- */

ssize_t tls_handshake(struct tls_connection *connection)
{
    if (connection->has_failed)
        return TRANSPORT_FAILED;
    connection->is_begun = true;
    ERR_clear_error();
    errno = 0;
    int result = SSL_do_handshake(connection->ssl);
    ssize_t why = result == 1 ? 1 : stop(connection, result, errno);
    if (why == TRANSPORT_END)
        why = fail(connection, SSL_ERROR_ZERO_RETURN, 0);
    ssize_t sent = send_unsent(connection); /* a flight, or the alert that says what is wrong */
    if (why == TRANSPORT_FAILED || sent == TRANSPORT_FAILED)
        return TRANSPORT_FAILED;
    if (why != 1)
        return sent == 1 ? why : sent;
    connection->is_established = true;
    connection->has_more = SSL_has_pending(connection->ssl) == 1;
    enum tls_side side = connection->context->side;
    count(connection,
          SSL_session_reused(connection->ssl) == 1 ? counters[side].resumed : counters[side].full);
    return 1;
}

ssize_t tls_read(struct tls_connection *connection, void *to, size_t size)
{
    uint8_t *bytes = to;
    size_t filled = 0;
    if (connection->has_failed)
        return TRANSPORT_FAILED;
    if (connection->unsent.length > UNSENT_HIGH) {
        ssize_t sent = send_unsent(connection);
        connection->has_more = false;
        if (sent != 1)
            return sent;
    }
    ERR_clear_error();
    while (filled < size) {
        size_t got = 0;
        errno = 0;
        int result = SSL_read_ex(connection->ssl, bytes + filled, size - filled, &got);
        if (result != 1) {
            ssize_t why = stop(connection, result, errno);
            connection->has_more = filled > 0 && why != TRANSPORT_WANTS_READ;
            return filled > 0 ? (ssize_t)filled : why;
        }
        connection->has_read = true;
        filled += got;
    }
    connection->has_more = SSL_has_pending(connection->ssl) == 1;
    return (ssize_t)filled;
}

/* The bytes of the next record, from byte skip of the parts on: in place if they lie together, else
 * gathered. length 0: there are none. */
static const uint8_t *next_record(const struct iovec *parts, size_t count_of_parts, size_t skip,
                                  uint8_t *record, size_t *length)
{
    size_t i = 0;
    *length = 0;
    while (i < count_of_parts && skip >= parts[i].iov_len)
        skip -= parts[i++].iov_len;
    if (i == count_of_parts)
        return NULL;
    const uint8_t *first = (const uint8_t *)parts[i].iov_base + skip;
    size_t left = parts[i].iov_len - skip;
    if (left >= TLS_RECORD_BYTES || i + 1 == count_of_parts) {
        *length = left < TLS_RECORD_BYTES ? left : TLS_RECORD_BYTES;
        return first;
    }
    for (; i < count_of_parts && *length < TLS_RECORD_BYTES; i++, skip = 0) {
        size_t room = TLS_RECORD_BYTES - *length;
        size_t part = parts[i].iov_len - skip;
        part = part < room ? part : room;
        memcpy(record + *length, (const uint8_t *)parts[i].iov_base + skip, part);
        *length += part;
    }
    return record;
}

/* Encrypts records into the sink until it is full or the parts end. The bytes taken, or an enum
 * transport_stop. */
static ssize_t encrypt(struct tls_connection *connection, const struct iovec *parts,
                       size_t count_of_parts, size_t skip, uint8_t *record)
{
    size_t done = 0;
    for (size_t i = 0; i < TLS_RECORDS_PER_SEND; i++) {
        size_t length, written = 0;
        const uint8_t *bytes = next_record(parts, count_of_parts, skip + done, record, &length);
        if (length == 0)
            break;
        errno = 0;
        int result = SSL_write_ex(connection->ssl, bytes, length, &written);
        if (result != 1) {
            ssize_t why = stop(connection, result, errno);
            return why == TRANSPORT_END ? fail(connection, SSL_ERROR_ZERO_RETURN, 0) : why;
        }
        done += written;
    }
    return (ssize_t)done;
}

ssize_t tls_write(struct tls_connection *connection, const struct iovec *parts,
                  size_t count_of_parts, uint8_t *scratch)
{
    size_t done = 0;
    if (connection->has_failed)
        return TRANSPORT_FAILED;
    ERR_clear_error();
    ssize_t sent = send_unsent(connection);
    for (int i = 0; i < SENDS_PER_CALL && sent == 1; i++) {
        connection->sink = scratch + TLS_RECORD_BYTES;
        connection->sink_room = TLS_SCRATCH_BYTES - TLS_RECORD_BYTES;
        ssize_t taken = encrypt(connection, parts, count_of_parts, done, scratch);
        size_t length = connection->sink_length;
        const uint8_t *sink = connection->sink;
        connection->sink = NULL;
        connection->sink_length = 0;
        if (taken <= 0)
            return taken < 0 && done == 0 ? taken : (ssize_t)done;
        done += (size_t)taken;
        sent = send_some(connection, sink, length);
        if (sent < 0)
            return TRANSPORT_FAILED;
        if ((size_t)sent < length) {
            if (!dynbuf_append(&connection->unsent, sink + sent, length - (size_t)sent))
                return fail(connection, SSL_ERROR_SYSCALL, ENOMEM);
            break;
        }
        sent = 1;
    }
    return sent < 0 && done == 0 ? sent : (ssize_t)done;
}

void tls_say_goodbye(struct tls_connection *connection)
{
    if (!connection->is_established || connection->has_failed)
        return;
    ERR_clear_error();
    SSL_shutdown(connection->ssl); /* once: the peer's own goodbye is not waited for */
    ERR_clear_error();
    connection->has_read = true; /* whatever goes wrong now is nobody's failed handshake */
    if (send_unsent(connection) == TRANSPORT_FAILED)
        dynbuf_fini(&connection->unsent);
}

bool tls_has_more(const struct tls_connection *connection)
{
    return connection->has_more;
}

bool tls_has_unsent(const struct tls_connection *connection)
{
    return connection->unsent.length > 0;
}
