/* Who is behind each connection the front makes to the web server: keyed by the local port of that
 * connection, noted before it is made. A connection that is not in here did not come through the
 * front. Thread-safe, bounded. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/check.h"

#define PEER_TABLE_MAX    1024
#define PEER_ADDRESS_SIZE 46

struct peer_table;

struct peer {
    char address[PEER_ADDRESS_SIZE]; /* "" on the local socket */
    bool is_tls;
    bool is_local; /* the local socket, and uid is who connected */
    uid_t uid;
};

struct peer_table *peer_table_new(void);
void peer_table_free(struct peer_table *table); /* NULL is allowed */
/* false: the table is full, or the port is taken. */
MUST_CHECK bool peer_table_add(struct peer_table *table, uint16_t port, const struct peer *peer);
/* Before the connection is closed, so that nobody can inherit its port. */
void peer_table_remove(struct peer_table *table, uint16_t port);
/* false: nobody is known there. */
MUST_CHECK bool peer_table_find(struct peer_table *table, uint16_t port, struct peer *peer);
