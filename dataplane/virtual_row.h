/* The columns of the virtual tables and the values in them. Private to the virtual tables. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/dynbuf.h"
#include "dataplane/virtual.h"
#include "dataplane/virtual_hosts.h"
#include "proto/cql_token.h"

enum virtual_type {
    VIRTUAL_TYPE_TEXT,
    VIRTUAL_TYPE_INET,
    VIRTUAL_TYPE_INT,
    VIRTUAL_TYPE_BIGINT,
    VIRTUAL_TYPE_UUID,
    VIRTUAL_TYPE_BOOLEAN,
    VIRTUAL_TYPE_TEXT_SET,
    VIRTUAL_TYPE_UUID_BLOB_MAP,
};

struct virtual_column;

/* "local", "peers" or "peers_v2". */
const char *virtual_table_name(enum virtual_table table);

/* The next column of `*` after previous (NULL: the first); NULL at the end. Only those that exist
 * for this cluster. */
const struct virtual_column *virtual_column_next(const struct topology *topology,
                                                 enum virtual_table table,
                                                 const struct virtual_column *previous);
/* The column a name token means, or NULL. */
const struct virtual_column *virtual_column_find(const struct topology *topology,
                                                 enum virtual_table table, struct cql_token name);
const char *virtual_column_name(const struct virtual_column *column);
enum virtual_type virtual_column_type(const struct virtual_column *column);
/* The only partition key column of its table. */
bool virtual_column_is_key(const struct virtual_column *column);

/* "text", for messages. */
const char *virtual_type_name(enum virtual_type type);
/* Appends the [option] that stands for type. */
void virtual_type_put(enum virtual_type type, struct dynbuf *out);
/* The same for a column as the result shows it: where values are copied, the type the cluster gave
 * them. */
void virtual_column_put_type(const struct topology *topology, const struct virtual_column *column,
                             struct dynbuf *out);

/* Appends the value of column in the row of proxy. false: it is null, nothing was appended. */
bool virtual_value_put(const struct virtual_hosts *hosts, const struct topology *topology,
                       const struct virtual_column *column, size_t proxy, struct dynbuf *value);
