/* Prepared statements by id. */
#pragma once

#include "ast.h"
#include "common/list.h"
#include "omap.h"

#define PREPARED_MAX 20000

struct prepared {
    struct list node; /* oldest first */
    uint8_t id[16];
    struct arena arena;
    const struct statement *statement;
    const char *text;
    uint8_t result_id[16]; /* of the result metadata when it was last prepared */
    const char *keyspace;  /* the session's when it was prepared, or NULL */
    struct prepared *next_in_bucket;
};

#define PREPARED_BUCKETS 4096

struct prepared_registry {
    struct list all;
    size_t count;
    struct prepared *buckets[PREPARED_BUCKETS];
    const char *salt; /* makes other ids, as other releases do; NULL: MD5 of keyspace and query */
};

void prepared_init(struct prepared_registry *registry);
/* Forgets everything. */
void prepared_clear(struct prepared_registry *registry);
struct prepared *prepared_find(struct prepared_registry *registry, const uint8_t id[16]);
/* Parses and keeps a statement, putting out the oldest beyond PREPARED_MAX; NULL with failure when
 * it does not parse. One that is there already is returned as it is. */
struct prepared *prepared_add(struct prepared_registry *registry, const char *keyspace,
                              struct bytes query, struct failure *failure);
void prepared_remove(struct prepared_registry *registry, struct prepared *prepared);
