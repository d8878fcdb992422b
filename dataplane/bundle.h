/* Astra secure-connect bundles: what is in the zip, and what the metadata service it leads to says
 * about the cluster. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/check.h"
#include "common/dynbuf.h"
#include "dataplane/resolve.h"
#include "dataplane/tls_context.h"

struct bundle;
struct bundle_fetch;
struct event_base;

/* Reads the zip: config.json (host, port), ca.crt, cert, key. NULL: *error says what is wrong. */
struct bundle *bundle_open(const char *path, struct dynbuf *error);
void bundle_free(struct bundle *bundle); /* NULL is allowed */

/* Its PEM texts, borrowed. */
struct tls_pem bundle_authorities(const struct bundle *bundle);
struct tls_pem bundle_certificate(const struct bundle *bundle);
struct tls_pem bundle_key(const struct bundle *bundle);

/* What the metadata service has told, borrowed for the call. */
struct bundle_metadata {
    const char *error; /* NULL: all is well; else the rest is empty */
    const char *datacenter;
    const struct node_list *nodes; /* one a host id, at the SNI proxy's address */
};

/* Asks the metadata service for contact_info, over HTTPS with the bundle's certificates, on a
 * thread of its own. on_done runs once on base's thread, unless cancelled before; after it has been
 * called, or after bundle_fetch_cancel, the handle is gone. NULL: no thread or descriptor can be
 * had. */
struct bundle_fetch *bundle_fetch_start(struct event_base *base, const struct bundle *bundle,
                                        void (*on_done)(void *context,
                                                        const struct bundle_metadata *metadata),
                                        void *context);
/* The thread ends by itself within its time limit, and its result is thrown away. */
void bundle_fetch_cancel(struct bundle_fetch *fetch); /* NULL is allowed */

/* Reads the body of a metadata answer: contact_info {local_dc, sni_proxy_address, contact_points}.
 * nodes get their names, server_name and is_behind_sni, but no address yet. Pure. false: *error
 * says what is wrong. */
struct bundle_contacts {
    char datacenter[256];
    char proxy_host[256];
    int proxy_port;
    struct node_list nodes;
};
MUST_CHECK bool bundle_read_metadata(const char *body, size_t length,
                                     struct bundle_contacts *contacts, struct dynbuf *error);
