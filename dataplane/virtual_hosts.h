/* The proxies as the nodes of one virtual cluster: addresses, host ids and tokens. Private to the
 * virtual tables; the functions that make them are declared in virtual.h. Immutable once made: all
 * workers read it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/dynbuf.h"

#define VIRTUAL_RACK        "rack0"
#define VIRTUAL_PARTITIONER "org.apache.cassandra.dht.Murmur3Partitioner"

struct virtual_host {
    uint8_t address[16];
    uint8_t address_length; /* 4 or 16 */
    uint8_t id[16];
    int32_t port; /* its own in PROXY_ADDRESSES, or PROXY_QUERY_PORT */
};

struct virtual_hosts {
    struct virtual_host *hosts; /* in the order of PROXY_ADDRESSES */
    size_t count;
    size_t self; /* PROXY_INDEX */
    unsigned tokens;
};

/* Appends the tokens of one proxy as a set<text> value (element count, then [bytes] each). */
void virtual_hosts_put_tokens(const struct virtual_hosts *hosts, size_t proxy,
                              struct dynbuf *value);
