/* TLS contexts of the front. One thread at a time. Must never ask for a passphrase, and never give
 * up a certificate that works for files that do not. */
#include "controlplane/front_tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "common/log.h"
#include "controlplane/metrics.h"

#define FILES 3

static const unsigned char session_context[] = "cloudgate-control";
static const char *const settings[FILES] = {"CONTROL_TLS_CERT_PATH", "CONTROL_TLS_KEY_PATH",
                                            "CONTROL_TLS_CLIENT_CA_PATH"};

/* What tells one version of a file from the next. */
struct stamp {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
};

struct front_tls {
    SSL_CTX *context;
    time_t not_after;
    char *paths[FILES];
    struct stamp loaded[FILES]; /* when they were last tried */
    struct stamp seen[FILES];   /* when they were last looked at */
};

static void stamp_files(const struct front_tls *tls, struct stamp stamps[FILES])
{
    memset(stamps, 0, FILES * sizeof *stamps); /* padding too: they are compared as bytes */
    for (size_t i = 0; i < FILES; i++) {
        struct stat file;
        if (tls->paths[i][0] == '\0' || stat(tls->paths[i], &file) != 0)
            continue;
        stamps[i].device = file.st_dev;
        stamps[i].inode = file.st_ino;
        stamps[i].size = file.st_size;
        stamps[i].changed = file.st_mtim;
    }
}

static int refuse_passphrase(char *buffer, int size, int is_writing, void *context)
{
    (void)buffer;
    (void)size;
    (void)is_writing;
    (void)context;
    return -1;
}

static bool explain(const struct front_tls *tls, size_t which, const char *what, char *error,
                    size_t error_size)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);
    snprintf(error, error_size, "%s=\"%s\": %s: %s", settings[which], tls->paths[which], what,
             reason == NULL ? "no reason given" : reason);
    ERR_clear_error();
    return false;
}

static time_t end_of(const X509 *certificate)
{
    struct tm when;
    if (certificate == NULL || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &when) != 1)
        return 0;
    return timegm(&when);
}

static bool fill(const struct front_tls *tls, SSL_CTX *context, char *error, size_t error_size)
{
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE |
                                     SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF); /* tickets only */
    SSL_CTX_set_session_id_context(context, session_context, sizeof session_context - 1);
    SSL_CTX_set_default_passwd_cb(context, refuse_passphrase);
    if (SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1)
        return explain(tls, 0, "no cipher is left", error, error_size);
    if (SSL_CTX_use_certificate_chain_file(context, tls->paths[0]) != 1)
        return explain(tls, 0, "no usable PEM certificate", error, error_size);
    if (SSL_CTX_use_PrivateKey_file(context, tls->paths[1], SSL_FILETYPE_PEM) != 1)
        return explain(tls, 1, "no usable PEM private key for that certificate", error, error_size);
    if (SSL_CTX_check_private_key(context) != 1)
        return explain(tls, 1, "not the private key of that certificate", error, error_size);
    if (tls->paths[2][0] == '\0')
        return true;
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(tls->paths[2]);
    if (names == NULL || SSL_CTX_load_verify_locations(context, tls->paths[2], NULL) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return explain(tls, 2, "no usable PEM certificates of authorities", error, error_size);
    }
    SSL_CTX_set_client_CA_list(context, names); /* the context owns them now */
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return true;
}

static SSL_CTX *load(const struct front_tls *tls, time_t *not_after, char *error, size_t error_size)
{
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    CHECK(context != NULL);
    if (!fill(tls, context, error, error_size)) {
        SSL_CTX_free(context);
        return NULL;
    }
    *not_after = end_of(SSL_CTX_get0_certificate(context));
    return context;
}

static void take(struct front_tls *tls, SSL_CTX *context, time_t not_after)
{
    SSL_CTX_free(tls->context); /* connections that have it keep it alive */
    tls->context = context;
    tls->not_after = not_after;
    control_metrics_set(CONTROL_METRIC_CERTIFICATE_EXPIRY, (int64_t)not_after);
}

struct front_tls *front_tls_new(const char *cert_path, const char *key_path,
                                const char *client_ca_path, char *error, size_t error_size)
{
    const char *const paths[FILES] = {cert_path, key_path, client_ca_path};
    struct front_tls *tls = calloc(1, sizeof *tls);
    time_t not_after;
    CHECK(tls != NULL);
    for (size_t i = 0; i < FILES; i++) {
        tls->paths[i] = strdup(paths[i]);
        CHECK(tls->paths[i] != NULL);
    }
    stamp_files(tls, tls->loaded);
    memcpy(tls->seen, tls->loaded, sizeof tls->seen);
    SSL_CTX *context = load(tls, &not_after, error, error_size);
    if (context == NULL) {
        front_tls_free(tls);
        return NULL;
    }
    take(tls, context, not_after);
    if (not_after <= time(NULL))
        LOG_WARN("tls_certificate_expired", "not_after=%lld", (long long)not_after);
    return tls;
}

void front_tls_free(struct front_tls *tls)
{
    if (tls == NULL)
        return;
    SSL_CTX_free(tls->context);
    for (size_t i = 0; i < FILES; i++)
        free(tls->paths[i]);
    free(tls);
}

struct ssl_st *front_tls_accept(struct front_tls *tls, int fd)
{
    SSL *ssl = SSL_new(tls->context);
    if (ssl != NULL && SSL_set_fd(ssl, fd) != 1) {
        SSL_free(ssl);
        ssl = NULL;
    }
    if (ssl != NULL)
        SSL_set_accept_state(ssl);
    return ssl;
}

void front_tls_reload(struct front_tls *tls)
{
    char error[512], quoted[700];
    time_t not_after = 0, now = time(NULL);
    stamp_files(tls, tls->loaded);
    SSL_CTX *context = load(tls, &not_after, error, sizeof error);
    if (context != NULL && not_after <= now && tls->not_after > now) {
        snprintf(error, sizeof error, "CONTROL_TLS_CERT_PATH=\"%s\": this certificate has expired",
                 tls->paths[0]);
        SSL_CTX_free(context);
        context = NULL;
    }
    if (context == NULL) {
        control_metrics_add(CONTROL_METRIC_TLS_RELOADS_FAILED, 1);
        LOG_ERROR("tls_reload_failed", "reason=%s still_in_force_until=%lld",
                  log_quote(quoted, sizeof quoted, error, strlen(error)),
                  (long long)tls->not_after);
        return;
    }
    take(tls, context, not_after);
    control_metrics_add(CONTROL_METRIC_TLS_RELOADS_DONE, 1);
    LOG_INFO("tls_reloaded", "not_after=%lld", (long long)not_after);
}

void front_tls_watch(struct front_tls *tls)
{
    struct stamp now[FILES];
    stamp_files(tls, now);
    bool is_still = memcmp(now, tls->seen, sizeof now) == 0;
    memcpy(tls->seen, now, sizeof now);
    if (is_still && memcmp(now, tls->loaded, sizeof now) != 0)
        front_tls_reload(tls);
}
