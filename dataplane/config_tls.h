/* Settings of TLS: what spans several of them, and what they come to for one side. */
#pragma once

#include "common/check.h"
#include "common/dynbuf.h"
#include "dataplane/config.h"
#include "dataplane/tls_side.h"

/* The settings of one side, whatever their names. Paths are "" where nothing is set. */
struct tls_settings {
    const char *bundle; /* Astra secure-connect bundle; excludes the rest (clusters only) */
    const char *authorities, *certificate, *key;
    const char *authorities_name, *certificate_name, *key_name; /* of the settings */
    bool is_enabled;                                            /* this side speaks TLS */
    bool requires_client_certificate;                           /* TLS_PROXY */
    bool verifies_names;                                        /* clusters */
};

struct tls_settings config_tls(const struct config *config, enum tls_side side);

/* The rules that span the TLS settings. false: *error says which is broken. Opens no file. */
MUST_CHECK bool config_check_tls(const struct config *config, struct dynbuf *error);
