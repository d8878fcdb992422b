/* What a statement is to the proxy. Pure. */
#pragma once

#include <stddef.h>

#include "dataplane/virtual.h"
#include "proto/cql_scan.h"

enum request_class {
    REQUEST_READ,        /* SELECT: the primary only */
    REQUEST_SYSTEM_READ, /* SELECT of a system keyspace, DESCRIBE: the system-queries cluster only
                          */
    REQUEST_VIRTUAL,     /* SELECT of system.local, peers, peers_v2: answered by the proxy */
    REQUEST_WRITE,       /* every other statement: both. Answers to these and the above are passed
                            on unread, but for errors */
    REQUEST_USE,         /* both; its answer names the session's keyspace */
    REQUEST_CONTROL,     /* PREPARE, REGISTER: both, untracked */
    REQUEST_HEARTBEAT,   /* the proxy's own OPTIONS on an idle upstream */
};

/* The writeType of a write timeout (native protocol v4, section 9). */
enum write_type {
    WRITE_SIMPLE,
    WRITE_BATCH,
    WRITE_UNLOGGED_BATCH,
    WRITE_COUNTER,
    WRITE_CAS,
};

struct statement_class {
    enum request_class class;
    enum virtual_table table; /* REQUEST_VIRTUAL only */
    enum write_type write_type;
    bool takes_timestamp; /* a write whose text says nothing of when it happened, and which is no
                             lightweight transaction or counter batch: the proxy may say it */
    bool may_call;        /* a write in whose text a call without arguments may stand */
};

/* keyspace: the one unqualified names belong to, exact case, "" for none. */
struct statement_class classify_statement(const char *text, size_t length, const char *keyspace);

/* "SIMPLE", … as on the wire. */
const char *write_type_name(enum write_type type);
