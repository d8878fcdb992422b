/* Ids of prepared statements that a client was told nobody knows. Its driver prepares such a
 * statement again and, most of them, expects the same id: another one is an error to them, and the
 * statement is lost to the application until it starts again. The origin's id and the target's are
 * different where they hash different things (before Cassandra 3.0.26, 3.11.12 and 4.0.2 the
 * keyspace in use was part of every id, CASSANDRA-15252), and what a client has prepared while one
 * cluster alone was in use it knows by that cluster's id. So it is answered with the id it asked
 * about. */
#pragma once

#include "dataplane/prepared.h"

/* The latest of one session, of the length all known servers use. */
#define REFUSED_IDS_MAX 128

struct refused_ids; /* NULL: none yet */

/* Notes one. Without memory it is not noted: the client is then given the usual id. */
void refused_ids_add(struct refused_ids **refused, struct cql_span id);
void refused_ids_free(struct refused_ids *refused); /* NULL is allowed */

/* Whether a client that was refused an id has now prepared that statement again: ids are those it
 * has on the clusters, empty where it was not prepared. The id, in refused or ids; length 0: none.
 */
struct cql_span refused_ids_match(const struct refused_ids *refused,
                                  struct prepared_registry *registry,
                                  const struct cql_span ids[CLUSTER_COUNT]);
