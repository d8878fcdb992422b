/* TLS contexts: PEM texts to an SSL_CTX. Made on the main thread, then read by all. Never reads a
 * file and never asks anybody for a passphrase. */
#include "dataplane/tls_context.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdatomic.h>
#include <string.h>

#define CHAIN_MAX 64 /* certificates of one PEM file that is sent to the peer */

static const unsigned char session_context[] = "cloudgate-proxy";

const char *tls_take_reason(void)
{
    unsigned long code = ERR_get_error();
    const char *text = code == 0 ? NULL : ERR_reason_error_string(code);
    ERR_clear_error();
    return text == NULL ? "no reason given" : text;
}

void tls_init(void)
{
    OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL);
}

/* A key under a passphrase is refused: nobody is there to type it. */
static int refuse_passphrase(char *buffer, int size, int is_writing, void *context)
{
    (void)buffer;
    (void)size;
    (void)is_writing;
    *(bool *)context = true;
    return -1;
}

static BIO *open_pem(const struct tls_pem *pem)
{
    BIO *bio = BIO_new_mem_buf(pem->text, (int)pem->length);
    CHECK(bio != NULL);
    return bio;
}

static bool next_certificate(BIO *bio, X509 **certificate)
{
    bool is_encrypted = false;
    *certificate = PEM_read_bio_X509_AUX(bio, NULL, refuse_passphrase, &is_encrypted);
    return *certificate != NULL;
}

/* After next_certificate said no: true if the text simply ended. */
static bool is_at_end(void)
{
    unsigned long code = ERR_peek_last_error();
    return ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
}

static int64_t not_after(const X509 *certificate)
{
    struct tm when;
    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &when) != 1)
        return 0;
    return (int64_t)timegm(&when);
}

static void keep_expiry(struct tls_context *context, const struct tls_pem *pem, int64_t when)
{
    for (size_t i = 0; i < context->expiry_count; i++) {
        struct tls_expiry *known = &context->expiries[i];
        if (strcmp(known->file, pem->file) != 0)
            continue;
        known->not_after = when < known->not_after ? when : known->not_after;
        return; /* one file, one series: what runs out first */
    }
    CHECK(context->expiry_count < TLS_EXPIRIES_MAX);
    char *file = strdup(pem->file);
    CHECK(file != NULL);
    context->expiries[context->expiry_count++] = (struct tls_expiry){file, when};
}

/* Trusts every certificate of the text. An authority that has run out beside its successor is no
 * trouble, so the latest end counts. */
static bool use_authorities(struct tls_context *context, const struct tls_pem *pem,
                            bool tells_clients, struct dynbuf *error)
{
    X509_STORE *store = SSL_CTX_get_cert_store(context->ssl);
    BIO *bio = open_pem(pem);
    int64_t latest = 0;
    size_t count = 0;
    bool is_good = true;
    for (X509 *certificate; is_good && next_certificate(bio, &certificate); count++) {
        int64_t end = not_after(certificate);
        latest = end > latest ? end : latest;
        is_good = X509_STORE_add_cert(store, certificate) == 1 &&
                  (!tells_clients || SSL_CTX_add_client_CA(context->ssl, certificate) == 1);
        X509_free(certificate);
    }
    BIO_free(bio);
    if (!is_good || count == 0 || !is_at_end()) {
        dynbuf_printf(error, "%s: no PEM certificates of authorities can be read from it: %s",
                      pem->file, tls_take_reason());
        return false;
    }
    ERR_clear_error();
    keep_expiry(context, pem, latest);
    return true;
}

/* The certificate the peer is shown, followed by those of the authorities between it and the root.
 */
static bool use_certificate(struct tls_context *context, const struct tls_pem *pem,
                            struct dynbuf *error)
{
    BIO *bio = open_pem(pem);
    X509 *certificate;
    int64_t earliest = 0;
    size_t count = 0;
    bool is_good = true;
    while (is_good && count < CHAIN_MAX && next_certificate(bio, &certificate)) {
        int64_t end = not_after(certificate);
        if (count == 0 || end < earliest)
            earliest = end;
        is_good = (count == 0 ? SSL_CTX_use_certificate(context->ssl, certificate)
                              : SSL_CTX_add1_chain_cert(context->ssl, certificate)) == 1;
        X509_free(certificate);
        count++;
    }
    BIO_free(bio);
    if (!is_good || count == 0 || !is_at_end()) {
        dynbuf_printf(error, "%s: no usable PEM certificate: %s", pem->file, tls_take_reason());
        return false;
    }
    ERR_clear_error();
    keep_expiry(context, pem, earliest);
    return true;
}

static bool use_key(struct tls_context *context, const struct tls_options *options,
                    struct dynbuf *error)
{
    bool is_encrypted = false;
    BIO *bio = open_pem(&options->key);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, refuse_passphrase, &is_encrypted);
    BIO_free(bio);
    if (key == NULL) {
        dynbuf_printf(error, "%s: no usable PEM private key: %s", options->key.file,
                      is_encrypted ? "it is under a passphrase, which is not supported"
                                   : tls_take_reason());
        ERR_clear_error();
        return false;
    }
    bool is_good = SSL_CTX_use_PrivateKey(context->ssl, key) == 1 &&
                   SSL_CTX_check_private_key(context->ssl) == 1;
    EVP_PKEY_free(key);
    if (!is_good)
        dynbuf_printf(error, "%s: it is not the private key of the certificate in %s: %s",
                      options->key.file, options->certificate.file, tls_take_reason());
    return is_good;
}

static bool fill(struct tls_context *context, const struct tls_options *options,
                 struct dynbuf *error)
{
    SSL_CTX *ssl = context->ssl;
    bool is_server = options->side == TLS_PROXY;
    SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
    /* CQL frames tell their length: a connection that ends without a goodbye hides nothing. */
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    /* Without AUTO_RETRY one call handles a bounded number of messages that carry no data. */
    SSL_CTX_clear_mode(ssl, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ssl, 1);
    /* Tickets only: the keys live in the context, which all threads share, and nothing is kept
     * here for clients. */
    SSL_CTX_set_session_id_context(ssl, session_context, sizeof session_context - 1);
    SSL_CTX_set_session_cache_mode(ssl, is_server ? SSL_SESS_CACHE_OFF
                                                  : SSL_SESS_CACHE_CLIENT |
                                                        SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(ssl, tls_keep_session);
    /* As Go does for zdm-proxy: whatever is in the file is trusted, root or not. */
    X509_STORE_set_flags(SSL_CTX_get_cert_store(ssl), X509_V_FLAG_PARTIAL_CHAIN);
    if (options->authorities.text != NULL) {
        if (!use_authorities(context, &options->authorities, options->requires_client_certificate,
                             error))
            return false;
    } else if (!is_server && SSL_CTX_set_default_verify_paths(ssl) != 1) {
        dynbuf_printf(error, "the system's certificate authorities cannot be read: %s",
                      tls_take_reason());
        return false;
    }
    if (options->certificate.text != NULL &&
        (!use_certificate(context, &options->certificate, error) ||
         !use_key(context, options, error)))
        return false;
    int verifies = is_server && !options->requires_client_certificate
                       ? SSL_VERIFY_NONE
                       : SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ssl, verifies, NULL);
    return true;
}

struct tls_context *tls_context_new(const struct tls_options *options, struct dynbuf *error)
{
    struct tls_context *context = calloc(1, sizeof *context);
    CHECK(context != NULL);
    atomic_init(&context->references, 1);
    context->side = options->side;
    context->verifies_names = options->verifies_names;
    ERR_clear_error();
    context->ssl =
        SSL_CTX_new(options->side == TLS_PROXY ? TLS_server_method() : TLS_client_method());
    if (context->ssl == NULL)
        dynbuf_printf(error, "OpenSSL refuses to start: %s", tls_take_reason());
    else if (fill(context, options, error))
        return context;
    tls_context_put(context);
    return NULL;
}

struct tls_context *tls_context_get(struct tls_context *context)
{
    if (context != NULL)
        atomic_fetch_add_explicit(&context->references, 1, memory_order_relaxed);
    return context;
}

void tls_context_put(struct tls_context *context)
{
    if (context == NULL ||
        atomic_fetch_sub_explicit(&context->references, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(context->ssl);
    for (size_t i = 0; i < context->expiry_count; i++)
        free(context->expiries[i].file);
    free(context);
}
