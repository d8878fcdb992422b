/* Sets of protocol versions: which ones a cluster speaks, which ones clients may use. A set is a
 * number with a bit for each version the proxy knows. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "common/dynbuf.h"
#include "proto/cql_cursor.h"

/* The versions the node with this SUPPORTED body ([string multimap]) speaks: those of its
 * PROTOCOL_VERSIONS that are no beta. Where it names none, what the connection that asked has
 * shown: control_version and v3. body may be anything. */
uint8_t versions_of_node(struct cql_span supported, uint8_t control_version);
/* Whether version (the number in a frame header) is in the set. */
bool versions_have(uint8_t set, uint8_t version);
/* The highest version of the set that a client which has tried `tried` may be led to: DSE's own
 * only if it tried one of them. 0: none. */
uint8_t versions_highest(uint8_t set, uint8_t tried);
/* A name out of PROTOCOL_VERSIONS, such as "4/v4"; 0: not one we know. */
uint8_t versions_find(struct cql_span name);
/* "3/v3, 4/v4": as Cassandra lists them. */
void versions_print(uint8_t set, struct dynbuf *out);

/* A list as in BLOCKED_PROTOCOL_VERSIONS: 2 to 5, v2 to v5, DseV1, Dse_V1, …, in any case, between
 * commas. false: *bad is the item that is none of them. */
MUST_CHECK bool versions_parse(const char *list, uint8_t *set, char bad[64]);
/* What such a list may hold, for a message. */
#define VERSIONS_NAMES "[2 3 4 5 DseV1 DseV2 Dse_V1 Dse_V2 v2 v3 v4 v5]"
