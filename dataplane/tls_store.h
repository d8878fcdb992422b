/* The TLS files of all three sides: read at the start, read again on request and when they change.
 * Lives on the main thread; what it makes (tls_context) is given to the threads that use it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/check.h"
#include "common/dynbuf.h"
#include "dataplane/cluster_id.h"
#include "dataplane/metrics.h"
#include "dataplane/tls_side.h"

struct bundle;
struct config;
struct event_base;
struct tls_context;
struct tls_store;

/* Series of zdm_tls_certificate_expiry_seconds at most. */
#define TLS_CERTIFICATES_MAX 6

/* Reads everything. on_change runs for each side that speaks TLS whenever it has a new context,
 * also from inside this call; the callee takes its own reference. NULL: *error names the file and
 * what is wrong with it. */
struct tls_store *
tls_store_new(struct event_base *base, const struct config *config, struct metrics_block *metrics,
              void (*on_change)(void *context, enum tls_side side, struct tls_context *tls),
              void *context, struct dynbuf *error);
void tls_store_free(struct tls_store *store); /* NULL is allowed */

/* Reads all files again, changed or not. A side whose files are broken keeps what it has. */
void tls_store_reload(struct tls_store *store);

/* The cluster's secure-connect bundle as last read; NULL: it has none. Borrowed until the next turn
 * of the loop. */
const struct bundle *tls_store_bundle(const struct tls_store *store, enum cluster_id cluster);

/* Fills at most TLS_CERTIFICATES_MAX facts about certificates in force; how many. Borrowed as
 * above. */
size_t tls_store_certificates(const struct tls_store *store,
                              struct metrics_certificate certificates[TLS_CERTIFICATES_MAX]);
