/* Settings of TLS: their cross-checks, with zdm-proxy's words where it has them, and one shape for
 * all three sides. Pure: opens no file. */
#include "dataplane/config_tls.h"

static struct tls_settings proxy_settings(const struct config *config)
{
    return (struct tls_settings){
        .bundle = "",
        .authorities = config->proxy_tls_ca_path,
        .certificate = config->proxy_tls_cert_path,
        .key = config->proxy_tls_key_path,
        .authorities_name = "PROXY_TLS_CA_PATH",
        .certificate_name = "PROXY_TLS_CERT_PATH",
        .key_name = "PROXY_TLS_KEY_PATH",
        .is_enabled = config->proxy_tls_cert_path[0] != '\0',
        .requires_client_certificate = config->proxy_tls_require_client_auth,
    };
}

static struct tls_settings origin_settings(const struct config *config)
{
    return (struct tls_settings){
        .bundle = config->origin_secure_connect_bundle_path,
        .authorities = config->origin_tls_server_ca_path,
        .certificate = config->origin_tls_client_cert_path,
        .key = config->origin_tls_client_key_path,
        .authorities_name = "ORIGIN_TLS_SERVER_CA_PATH",
        .certificate_name = "ORIGIN_TLS_CLIENT_CERT_PATH",
        .key_name = "ORIGIN_TLS_CLIENT_KEY_PATH",
        .is_enabled = config->origin_tls_enabled || config->origin_tls_server_ca_path[0] != '\0' ||
                      config->origin_secure_connect_bundle_path[0] != '\0',
        .verifies_names = config->origin_tls_verify_hostname,
    };
}

static struct tls_settings target_settings(const struct config *config)
{
    return (struct tls_settings){
        .bundle = config->target_secure_connect_bundle_path,
        .authorities = config->target_tls_server_ca_path,
        .certificate = config->target_tls_client_cert_path,
        .key = config->target_tls_client_key_path,
        .authorities_name = "TARGET_TLS_SERVER_CA_PATH",
        .certificate_name = "TARGET_TLS_CLIENT_CERT_PATH",
        .key_name = "TARGET_TLS_CLIENT_KEY_PATH",
        .is_enabled = config->target_tls_enabled || config->target_tls_server_ca_path[0] != '\0' ||
                      config->target_secure_connect_bundle_path[0] != '\0',
        .verifies_names = config->target_tls_verify_hostname,
    };
}

struct tls_settings config_tls(const struct config *config, enum tls_side side)
{
    return side == TLS_PROXY    ? proxy_settings(config)
           : side == TLS_ORIGIN ? origin_settings(config)
                                : target_settings(config);
}

/* The authorities may be left out where they are of no use: zdm-proxy asks for them even then. */
static bool check_proxy(const struct config *config, struct dynbuf *error)
{
    struct tls_settings tls = config_tls(config, TLS_PROXY);
    bool has_authorities = tls.authorities[0] != '\0';
    bool has_certificate = tls.certificate[0] != '\0';
    bool has_key = tls.key[0] != '\0';
    bool is_used = has_authorities || has_certificate || has_key || tls.requires_client_certificate;
    if (!is_used ||
        (has_certificate && has_key && (has_authorities || !tls.requires_client_certificate)))
        return true;
    dynbuf_append_text(error, "incomplete Proxy TLS configuration: when enabling proxy TLS, please "
                              "specify CA path, Cert path and Key path (PROXY_TLS_CA_PATH, "
                              "PROXY_TLS_CERT_PATH, PROXY_TLS_KEY_PATH; the CA may be left out "
                              "unless PROXY_TLS_REQUIRE_CLIENT_AUTH is true)");
    return false;
}

static bool check_cluster(const struct config *config, enum cluster_id cluster,
                          struct dynbuf *error)
{
    struct tls_settings tls = config_tls(config, tls_side_of(cluster));
    bool is_origin = cluster == CLUSTER_ORIGIN;
    const char *title = is_origin ? "Origin" : "Target";
    bool explicitly = is_origin ? config->origin_tls_enabled : config->target_tls_enabled;
    bool has_authorities = tls.authorities[0] != '\0';
    bool has_certificate = tls.certificate[0] != '\0';
    bool has_key = tls.key[0] != '\0';
    if (tls.bundle[0] != '\0' && (has_authorities || has_certificate || has_key || explicitly)) {
        dynbuf_printf(error,
                      "Incorrect TLS configuration for %s: Secure Connect Bundle and custom TLS "
                      "parameters cannot be specified at the same time.",
                      title);
        return false;
    }
    if (has_certificate == has_key && (!has_certificate || has_authorities || explicitly))
        return true;
    dynbuf_printf(error,
                  "incomplete TLS configuration for %s: when using mutual TLS, please specify "
                  "Server CA path, Client Cert path and Client Key path (%s, %s, %s)",
                  title, tls.authorities_name, tls.certificate_name, tls.key_name);
    return false;
}

bool config_check_tls(const struct config *config, struct dynbuf *error)
{
    return check_cluster(config, CLUSTER_ORIGIN, error) &&
           check_cluster(config, CLUSTER_TARGET, error) && check_proxy(config, error);
}
