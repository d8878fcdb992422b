/* The server's side of TLS by OpenSSL, on sockets that never block. Owned by the main thread. The
 * handshake happens on the way of the first read. */
#include "tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"

struct tls {
    SSL_CTX *context;
    struct tls_counts counts;
};

struct tls_session {
    struct tls *tls;
    SSL *ssl;
    bool established;
    bool failed;
};

static bool refuse(const char *what, const char *file)
{
    char reason[256];
    ERR_error_string_n(ERR_peek_last_error(), reason, sizeof reason);
    LOG_ERROR("tls_failed", "what=\"%s\" file=%s reason=\"%s\"", what, file, reason);
    return false;
}

/* Old versions need weak signatures to be allowed. */
static bool choose_version(SSL_CTX *context, const char *version)
{
    static const struct {
        const char *name;
        int number;
    } known[] = {{"1.1", TLS1_1_VERSION}, {"1.2", TLS1_2_VERSION}, {"1.3", TLS1_3_VERSION}};
    if (version == NULL)
        return SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1;
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        if (strcmp(known[i].name, version) != 0)
            continue;
        if (known[i].number == TLS1_1_VERSION)
            SSL_CTX_set_security_level(context, 0);
        return SSL_CTX_set_min_proto_version(context, known[i].number) == 1 &&
               SSL_CTX_set_max_proto_version(context, known[i].number) == 1;
    }
    return refuse("the version must be 1.1, 1.2 or 1.3", version);
}

static bool configure(SSL_CTX *context, const struct tls_options *options)
{
    static const unsigned char id[] = "cqlsim";
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_id_context(context, id, sizeof id - 1);
    if (!choose_version(context, options->version))
        return false;
    if (SSL_CTX_use_certificate_chain_file(context, options->certificate) != 1)
        return refuse("no certificate", options->certificate);
    if (SSL_CTX_use_PrivateKey_file(context, options->key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(context) != 1)
        return refuse("no key of the certificate", options->key);
    if (options->authorities != NULL) {
        if (SSL_CTX_load_verify_locations(context, options->authorities, NULL) != 1)
            return refuse("no certificates of authorities", options->authorities);
        SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(options->authorities));
        SSL_CTX_set_verify(context,
                           SSL_VERIFY_PEER |
                               (options->require_client ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                           NULL);
    }
    return true;
}

struct tls *tls_open(const struct tls_options *options)
{
    struct tls *tls = calloc(1, sizeof *tls);
    CHECK(tls != NULL);
    tls->context = SSL_CTX_new(TLS_server_method());
    CHECK(tls->context != NULL);
    if (configure(tls->context, options))
        return tls;
    tls_close(tls);
    return NULL;
}

void tls_close(struct tls *tls)
{
    if (tls == NULL)
        return;
    SSL_CTX_free(tls->context);
    free(tls);
}

const struct tls_counts *tls_counts(const struct tls *tls)
{
    return &tls->counts;
}

struct tls_session *tls_session_open(struct tls *tls, int fd)
{
    struct tls_session *session = calloc(1, sizeof *session);
    CHECK(session != NULL);
    session->tls = tls;
    session->ssl = SSL_new(tls->context);
    CHECK(session->ssl != NULL && SSL_set_fd(session->ssl, fd) == 1);
    SSL_set_accept_state(session->ssl);
    return session;
}

void tls_session_close(struct tls_session *session)
{
    if (session == NULL)
        return;
    ERR_clear_error();
    if (session->established && !session->failed)
        SSL_shutdown(session->ssl);
    SSL_free(session->ssl);
    free(session);
}

static void note_handshake(struct tls_session *session)
{
    struct tls_counts *counts = &session->tls->counts;
    const char *name = SSL_get_servername(session->ssl, TLSEXT_NAMETYPE_host_name);
    X509 *client = SSL_get0_peer_certificate(session->ssl);
    session->established = true;
    counts->handshakes++;
    counts->resumed += SSL_session_reused(session->ssl) == 1;
    snprintf(counts->server_name, sizeof counts->server_name, "%s", name == NULL ? "" : name);
    snprintf(counts->protocol, sizeof counts->protocol, "%s", SSL_get_version(session->ssl));
    counts->client_subject[0] = '\0';
    if (client != NULL)
        X509_NAME_oneline(X509_get_subject_name(client), counts->client_subject,
                          sizeof counts->client_subject);
}

static ssize_t result_of(struct tls_session *session, int result, bool *wants_write)
{
    if (!session->established && SSL_is_init_finished(session->ssl))
        note_handshake(session);
    if (result > 0)
        return result;
    int error = SSL_get_error(session->ssl, result);
    *wants_write = error == SSL_ERROR_WANT_WRITE;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return TLS_AGAIN;
    if (error == SSL_ERROR_ZERO_RETURN)
        return 0;
    session->failed = true;
    session->tls->counts.failed += !session->established;
    return TLS_FAILED;
}

ssize_t tls_read(struct tls_session *session, void *data, size_t length, bool *wants_write)
{
    ERR_clear_error();
    return result_of(session, SSL_read(session->ssl, data, (int)length), wants_write);
}

ssize_t tls_write(struct tls_session *session, const void *data, size_t length, bool *wants_write)
{
    ERR_clear_error();
    if (length > INT32_MAX)
        length = INT32_MAX;
    return result_of(session, SSL_write(session->ssl, data, (int)length), wants_write);
}
