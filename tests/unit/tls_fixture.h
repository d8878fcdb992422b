/* For the tests of TLS: certificates made on the spot, and a peer whose every byte the test passes
 * on itself, in pieces of its choice. */
#pragma once

#include "stream_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <sys/socket.h>

#include "dataplane/metrics.h"
#include "dataplane/tls.h"
#include "dataplane/topology.h"

#define DAY_S 86400

/* A self-signed certificate, its own authority, as PEM texts. */
struct identity {
    char *certificate, *key;
};

static inline char *text_of_bio(BIO *bio)
{
    char *data;
    long length = BIO_get_mem_data(bio, &data);
    char *text = malloc((size_t)length + 1);
    assert_non_null(text);
    memcpy(text, data, (size_t)length);
    text[length] = '\0';
    BIO_free(bio);
    return text;
}

/* names: "DNS:a.example,IP:127.0.0.1", or NULL for none. */
static inline struct identity make_identity(const char *names, long begins_s, long ends_s)
{
    struct identity identity;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    assert_non_null(key);
    assert_non_null(certificate);
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), begins_s);
    X509_gmtime_adj(X509_getm_notAfter(certificate), ends_s);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    if (names != NULL) {
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
        assert_non_null(extension);
        X509_add_ext(certificate, extension, -1);
        X509_EXTENSION_free(extension);
    }
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    BIO *out = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(out, certificate);
    identity.certificate = text_of_bio(out);
    out = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
    identity.key = text_of_bio(out);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return identity;
}

static inline void drop_identity(struct identity *identity)
{
    free(identity->certificate);
    free(identity->key);
}

static inline struct tls_pem pem(const char *text, const char *file)
{
    return (struct tls_pem){text, strlen(text), file};
}

/* The proxy's side towards clients, showing identity. */
static inline struct tls_context *server_context(const struct identity *identity)
{
    struct dynbuf error;
    struct tls_options options = {.side = TLS_PROXY,
                                  .certificate = pem(identity->certificate, "cert.pem"),
                                  .key = pem(identity->key, "key.pem")};
    dynbuf_init(&error, KIB);
    struct tls_context *context = tls_context_new(&options, &error);
    assert_string_equal(dynbuf_text(&error), "");
    assert_non_null(context);
    dynbuf_fini(&error);
    return context;
}

/* The proxy's side towards the origin, trusting identity. */
static inline struct tls_context *cluster_context(const struct identity *identity,
                                                  bool verifies_names)
{
    struct dynbuf error;
    struct tls_options options = {.side = TLS_ORIGIN,
                                  .authorities = pem(identity->certificate, "ca.pem"),
                                  .verifies_names = verifies_names};
    dynbuf_init(&error, KIB);
    struct tls_context *context = tls_context_new(&options, &error);
    assert_string_equal(dynbuf_text(&error), "");
    assert_non_null(context);
    dynbuf_fini(&error);
    return context;
}

/* The other end: OpenSSL over memory, its bytes carried by the test. */
struct peer {
    SSL_CTX *context;
    SSL *ssl;
    BIO *in, *out;
    int fd;
    size_t piece;      /* most bytes passed on at a time */
    bool has_sent;     /* the last time bytes were carried */
    bool is_over;      /* the other side has said goodbye */
    bool has_failed;   /* a TLS error */
    struct dynbuf got; /* decrypted */
};

static inline void prepare_peer(struct peer *peer, int version, const struct identity *shown)
{
    *peer = (struct peer){.fd = -1, .piece = MIB};
    dynbuf_init(&peer->got, 64 * MIB);
    peer->context = SSL_CTX_new(shown == NULL ? TLS_client_method() : TLS_server_method());
    assert_non_null(peer->context);
    SSL_CTX_set_min_proto_version(peer->context, version);
    SSL_CTX_set_max_proto_version(peer->context, version);
    if (shown != NULL) {
        BIO *bio = BIO_new_mem_buf(shown->certificate, -1);
        X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        BIO_free(bio);
        bio = BIO_new_mem_buf(shown->key, -1);
        EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
        BIO_free(bio);
        assert_int_equal(SSL_CTX_use_certificate(peer->context, certificate), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(peer->context, key), 1);
        X509_free(certificate);
        EVP_PKEY_free(key);
        SSL_CTX_set_session_id_context(peer->context, (const unsigned char *)"peer", 4);
    }
}

static inline void start_peer(struct peer *peer, bool is_server, int fd)
{
    peer->fd = fd;
    peer->ssl = SSL_new(peer->context);
    peer->in = BIO_new(BIO_s_mem());
    peer->out = BIO_new(BIO_s_mem());
    SSL_set_bio(peer->ssl, peer->in, peer->out);
    if (is_server)
        SSL_set_accept_state(peer->ssl);
    else
        SSL_set_connect_state(peer->ssl);
}

static inline void stop_peer(struct peer *peer)
{
    SSL_free(peer->ssl);
    peer->ssl = NULL;
}

static inline void drop_peer(struct peer *peer)
{
    stop_peer(peer);
    SSL_CTX_free(peer->context);
    dynbuf_fini(&peer->got);
}

/* Passes one piece each way and lets OpenSSL look at it. true: something moved. */
static inline bool carry(struct peer *peer)
{
    char bytes[16 * 1024];
    size_t most = peer->piece < sizeof bytes ? peer->piece : sizeof bytes;
    bool moved = false;
    ERR_clear_error();
    ssize_t got = recv(peer->fd, bytes, most, MSG_DONTWAIT);
    if (got > 0)
        moved = BIO_write(peer->in, bytes, (int)got) == got;
    if (!SSL_is_init_finished(peer->ssl)) {
        int result = SSL_do_handshake(peer->ssl);
        peer->has_failed = result != 1 && SSL_get_error(peer->ssl, result) == SSL_ERROR_SSL;
    }
    if (SSL_is_init_finished(peer->ssl)) {
        int count;
        while ((count = SSL_read(peer->ssl, bytes, sizeof bytes)) > 0) {
            assert_true(dynbuf_append(&peer->got, bytes, (size_t)count));
            moved = true;
        }
        int why = SSL_get_error(peer->ssl, count);
        peer->is_over = why == SSL_ERROR_ZERO_RETURN;
        peer->has_failed = peer->has_failed || why == SSL_ERROR_SSL;
    }
    char *waiting;
    long length = BIO_get_mem_data(peer->out, &waiting);
    peer->has_sent = length > 0;
    if (length > 0) {
        size_t part = (size_t)length < most ? (size_t)length : most;
        ssize_t sent = send(peer->fd, waiting, part, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            assert_int_equal(BIO_read(peer->out, bytes, (int)sent), sent);
            moved = true;
        }
    }
    return moved;
}

/* Turns the loop and carries until condition. */
#define CARRY_UNTIL(fixture, peer, condition)                                                      \
    for (uint64_t until = clock_now_ns() + 30 * NS_PER_S; !(condition);) {                         \
        if (clock_now_ns() > until)                                                                \
            fail_msg("never: %s", #condition);                                                     \
        if (!carry(peer) || (peer)->has_sent)                                                      \
            turn(fixture);                                                                         \
    }

/* The node a client stream dials, with or without a name. */
static inline struct topology_node node_at(const struct sockaddr_in *address, const char *name)
{
    struct topology_node node = {.address_length = sizeof *address};
    memcpy(&node.address, address, sizeof *address);
    snprintf(node.name, sizeof node.name, "127.0.0.1:%u", ntohs(address->sin_port));
    snprintf(node.server_name, sizeof node.server_name, "%s", name);
    return node;
}

static inline int open_listener(struct sockaddr_in *address)
{
    socklen_t length = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)address, length), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)address, &length), 0);
    return fd;
}
