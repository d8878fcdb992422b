/* PREPARE in flight, from question to registry entry. Used by one worker. It must never keep more
 * than bounded copies: what a cluster answers may be as large as a frame. */
#include "dataplane/preparation.h"

#include <stdlib.h>
#include <string.h>

#include "proto/cql_metadata.h"

/* Columns that need more than this are taken for different. */
#define COLUMNS_BYTES_MAX ((size_t)256 * 1024)

struct preparation *preparation_new(struct statement_class statement, struct cql_span text,
                                    const char *keyspace)
{
    size_t text_length = text.length <= PREPARED_TEXT_MAX ? text.length : 0;
    size_t keyspace_length = strlen(keyspace);
    struct preparation *preparation = malloc(sizeof *preparation + text_length + keyspace_length);
    if (preparation == NULL)
        return NULL;
    *preparation = (struct preparation){.statement = statement};
    dynbuf_init(&preparation->columns, COLUMNS_BYTES_MAX);
    if (text_length > 0) {
        memcpy(preparation->bytes, text.data, text_length);
        preparation->text = (struct cql_span){preparation->bytes, text_length};
    }
    memcpy(preparation->bytes + text_length, keyspace, keyspace_length);
    preparation->keyspace = (struct cql_span){preparation->bytes + text_length, keyspace_length};
    return preparation;
}

void preparation_free(struct preparation *preparation)
{
    if (preparation == NULL)
        return;
    dynbuf_fini(&preparation->columns);
    free(preparation);
}

static void copy_id(struct prepared_id *id, struct cql_span span)
{
    if (span.data == NULL || span.length > CQL_ID_MAX)
        return;
    id->length = (uint8_t)span.length;
    memcpy(id->bytes, span.data, span.length);
}

static struct cql_span span_of(const struct prepared_id *id)
{
    return (struct cql_span){id->bytes, id->length};
}

void preparation_note_target(struct preparation *preparation, struct cql_header header,
                             const uint8_t *body)
{
    struct cql_prepared_result result;
    /* Metadata that cannot be read cost the comparison, not the statement. */
    bool is_whole = cql_read_prepared(header, body, &result);
    copy_id(&preparation->id, result.id);
    copy_id(&preparation->metadata_id, result.metadata_id);
    preparation->has_columns =
        is_whole && cql_metadata_columns(result.result_metadata, &preparation->columns);
}

static bool same_columns(const struct preparation *preparation, struct cql_span metadata)
{
    const struct dynbuf *target = &preparation->columns;
    struct dynbuf origin;
    dynbuf_init(&origin, COLUMNS_BYTES_MAX);
    bool is_same = preparation->has_columns && cql_metadata_columns(metadata, &origin) &&
                   origin.length == target->length &&
                   (origin.length == 0 || memcmp(origin.data, target->data, origin.length) == 0);
    dynbuf_fini(&origin);
    return is_same;
}

void preparation_ids(const struct preparation *preparation, struct cql_span last,
                     struct cql_span ids[CLUSTER_COUNT])
{
    bool is_single = preparation->missing != 0;
    ids[CLUSTER_ORIGIN] = last;
    ids[CLUSTER_TARGET] = is_single ? last : span_of(&preparation->id);
    for (int i = 0; i < CLUSTER_COUNT; i++)
        if ((preparation->missing & 1u << i) != 0)
            ids[i] = (struct cql_span){NULL, 0};
}

struct prepared *preparation_finish(const struct preparation *preparation, struct cql_header header,
                                    const uint8_t *body, struct cql_span id,
                                    struct function_plan *functions)
{
    struct cql_prepared_result result;
    bool is_whole = cql_read_prepared(header, body, &result);
    bool is_single = preparation->missing != 0;
    if (result.id.data == NULL || (!is_single && preparation->id.length == 0)) {
        free(functions);
        return NULL;
    }
    struct prepared_facts facts = {
        .id = id,
        .ids = {result.id, is_single ? result.id : span_of(&preparation->id)},
        .missing = preparation->missing,
        .routing_serial = preparation->routing_serial,
        .columns_differ = !is_whole || !same_columns(preparation, result.result_metadata),
        .statement = preparation->statement,
        .functions = functions,
        .text = preparation->text,
        .keyspace = preparation->keyspace,
    };
    if (!is_single && result.metadata_id.length > 0 && result.metadata_id.length <= CQL_ID_MAX &&
        preparation->metadata_id.length > 0) {
        facts.metadata_ids[CLUSTER_ORIGIN] = result.metadata_id;
        facts.metadata_ids[CLUSTER_TARGET] = span_of(&preparation->metadata_id);
    }
    struct prepared *prepared = prepared_new(&facts);
    if (prepared == NULL)
        free(functions);
    return prepared;
}
