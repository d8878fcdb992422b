/* The proxy's own answers for system.local, system.peers and system.peers_v2: drivers see the
 * proxies as the nodes of one cluster. Pure: topology and text in, RESULT or ERROR bodies out. Runs
 * only for these rare queries, so it may allocate. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/dynbuf.h"
#include "dataplane/topology.h"
#include "proto/cql_scan.h"

struct config;

enum virtual_table { VIRTUAL_NONE, VIRTUAL_LOCAL, VIRTUAL_PEERS, VIRTUAL_PEERS_V2 };

/* Which virtual table a SELECT reads, given the keyspace in force for unqualified names ("" for
 * none; exact case). */
enum virtual_table virtual_classify(const struct cql_scan *scan, const char *session_keyspace);

/* The proxies as virtual nodes, derived once from config. */
struct virtual_hosts;
struct virtual_hosts *virtual_hosts_new(const struct config *config);
void virtual_hosts_free(struct virtual_hosts *hosts);

/* host_id of an item of PROXY_ADDRESSES: SHA-1 based, version 5, over the 16-byte (v4-mapped) form
 * of its address and the two bytes of its port if it names one. text must hold 37 bytes. false: it
 * is no IP literal. */
bool virtual_host_id(const char *address, char text[37]);
/* Token t (0 <= t < tokens) of proxy i of n: floor(2^64 / (tokens*n)) * (t*n + i) - 2^63. */
int64_t virtual_token(unsigned tokens, unsigned proxies, unsigned proxy, unsigned t);

/* Bound values of a QUERY or EXECUTE, borrowed. name.data is NULL for positional values. */
struct virtual_value {
    struct cql_span name;
    struct cql_span value;
};

/* Answers a QUERY (or the EXECUTE of such a statement): writes a whole frame body to out and its
 * opcode to *opcode (RESULT, or ERROR with INVALID and a text that says what is not supported: no
 * accepted query is left without an answer). topology: of the system-queries cluster.
 * protocol_version: the client's, 3 or 4. */
void virtual_query(const struct virtual_hosts *hosts, const struct topology *topology,
                   enum virtual_table table, const char *text, size_t length,
                   const struct virtual_value *values, size_t value_count, uint8_t protocol_version,
                   struct dynbuf *out, uint8_t *opcode);

/* Answers a PREPARE of such a statement: RESULT/Prepared with id MD5(text ‖ session keyspace), bind
 * metadata for its markers and the result metadata; or ERROR. id receives the 16 bytes when *opcode
 * is RESULT. */
void virtual_prepare(const struct virtual_hosts *hosts, const struct topology *topology,
                     enum virtual_table table, const char *text, size_t length,
                     const char *session_keyspace, uint8_t protocol_version, uint8_t id[16],
                     struct dynbuf *out, uint8_t *opcode);
