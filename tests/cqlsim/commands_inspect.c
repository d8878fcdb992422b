/* Commands that look: counts, rows, what came. Owned by the main thread. */
#include "commands.h"

#include <inttypes.h>
#include <strings.h>

#include "restrictions.h"

/* Requests by protocol version, connections by the compression they agreed on. */
static void print_versions(const struct server *server, struct dynbuf *out)
{
    dynbuf_append_text(out, "}, \"versions\": {");
    const char *separator = "";
    for (unsigned i = 0; i < ARRAY_COUNT(server->by_version); i++) {
        if (server->by_version[i] == 0)
            continue;
        dynbuf_printf(out, "%s\"%u\": %" PRIu64, separator, i, server->by_version[i]);
        separator = ", ";
    }
    dynbuf_append_text(out, "}, \"compression\": {");
    for (enum compression i = 0; i < COMPRESSION_LIMIT; i++)
        dynbuf_printf(out, "%s\"%s\": %" PRIu64, i > 0 ? ", " : "", compression_name(i),
                      server->by_compression[i]);
}

static void print_tls(const struct server *server, struct dynbuf *out)
{
    dynbuf_append_text(out, "}, \"tls\": {");
    if (server->tls == NULL)
        return;
    const struct tls_counts *counts = tls_counts(server->tls);
    dynbuf_printf(out,
                  "\"handshakes\": %" PRIu64 ", \"resumed\": %" PRIu64 ", \"failed\": %" PRIu64
                  ", \"protocol\": \"%s\", \"server_name\": ",
                  counts->handshakes, counts->resumed, counts->failed, counts->protocol);
    type_print_json_text(out, bytes_text(counts->server_name));
    dynbuf_append_text(out, ", \"client_subject\": ");
    type_print_json_text(out, bytes_text(counts->client_subject));
}

void command_stats(struct server *server, struct words *words, struct dynbuf *out)
{
    (void)words;
    size_t registered = 0;
    size_t waiting = 0;
    for (struct list *node = server->connections.next; node != &server->connections;
         node = node->next) {
        const struct connection *connection = CONTAINER_OF(node, struct connection, node);
        registered += connection->registered != 0;
        waiting += connection->out.length + connection->wire.length - connection->sent;
    }
    dynbuf_append_text(out, "ok {\"opcodes\": {");
    const char *separator = "";
    for (unsigned i = 0; i < OP_LIMIT; i++) {
        if (server->by_opcode[i] == 0 || wire_opcode_name(i) == NULL)
            continue;
        dynbuf_printf(out, "%s\"%s\": %" PRIu64, separator, wire_opcode_name(i),
                      server->by_opcode[i]);
        separator = ", ";
    }
    print_versions(server, out);
    print_tls(server, out);
    dynbuf_append_text(out, "}, \"statements\": {");
    for (unsigned i = 0; i < CLASS_LIMIT; i++)
        dynbuf_printf(out, "%s\"%s\": %" PRIu64, i > 0 ? ", " : "", execute_class_name(i),
                      server->by_class[i]);
    dynbuf_printf(out,
                  "}, \"system_statements\": %" PRIu64 ", \"errors\": %" PRIu64
                  ", \"protocol_errors\": %" PRIu64 ", \"connections_open\": %zu"
                  ", \"connections_total\": %" PRIu64
                  ", \"registered\": %zu, \"prepared\": %zu, \"output_waiting\": %zu}\n",
                  server->system_statements, server->errors, server->protocol_errors, server->open,
                  server->accepted, registered, server->prepared.count, waiting);
}

/* last-request [OPCODE] [reads|writes] */
void command_last_request(struct server *server, struct words *words, struct dynbuf *out)
{
    unsigned opcode = OP_LIMIT;
    enum last_kind kind = LAST_KINDS;
    const char *word;
    while ((word = command_word(words)) != NULL) {
        if (strcasecmp(word, "reads") == 0) {
            kind = LAST_READ;
        } else if (strcasecmp(word, "writes") == 0) {
            kind = LAST_WRITE;
        } else if ((opcode = wire_opcode_parse(word)) == OP_LIMIT) {
            dynbuf_printf(out, "error %.40s is no opcode, reads or writes\n", word);
            return;
        }
    }
    const struct last_request *last = last_request_find(&server->last_requests, opcode, kind);
    dynbuf_append_text(out, "ok ");
    if (last == NULL)
        dynbuf_append_text(out, "null");
    else
        last_request_print(last, out);
    dynbuf_append_text(out, "\n");
}

static void dump_writetimes(struct dynbuf *out, const struct table *table,
                            const struct partition *partition, const struct row *row, int64_t now)
{
    for (size_t i = 0; i < table->column_count; i++) {
        const struct column *column = table->columns[i];
        if (column->kind <= COLUMN_CLUSTERING)
            continue;
        const struct row *of = column->kind == COLUMN_STATIC ? partition->statics : row;
        const struct cell *cell = storage_cell(partition, of, column->cell, now);
        dynbuf_append_text(out, ", \"writetime(");
        dynbuf_append_text(out, column->name);
        if (cell == NULL)
            dynbuf_append_text(out, ")\": null");
        else
            dynbuf_printf(out, ")\": %" PRId64, cell->timestamp);
    }
    if (row != NULL && row->created != STORAGE_NEVER)
        dynbuf_printf(out, ", \"writetime()\": %" PRId64, row->created);
}

static void dump_row(struct dynbuf *out, const struct table *table,
                     const struct partition *partition, const struct row *row, int64_t now,
                     bool writetimes)
{
    dynbuf_append_text(out, "{");
    for (size_t i = 0; i < table->column_count; i++) {
        const struct column *column = table->columns[i];
        if (i > 0)
            dynbuf_append_text(out, ", ");
        type_print_json_text(out, bytes_text(column->name));
        dynbuf_append_text(out, ": ");
        type_print_json(out, column->type, restrictions_column_value(column, partition, row, now));
    }
    if (writetimes)
        dump_writetimes(out, table, partition, row, now);
    dynbuf_append_text(out, "}\n");
}

void command_dump(struct server *server, struct words *words, struct dynbuf *out)
{
    char *name = (char *)(uintptr_t)command_word(words);
    char *dot = name == NULL ? NULL : strchr(name, '.');
    const char *option = command_word(words);
    bool writetimes = option != NULL && strcasecmp(option, "writetime") == 0;
    if (dot == NULL || (option != NULL && !writetimes)) {
        dynbuf_append_text(out, "error dump takes KEYSPACE.TABLE [writetime]\n");
        return;
    }
    *dot = '\0';
    const struct keyspace *keyspace = schema_keyspace(&server->engine.schema, name);
    const struct table *table = keyspace == NULL ? NULL : schema_table(keyspace, dot + 1);
    if (table == NULL || table->generate != NULL) {
        dynbuf_append_text(out, "error there is no such table\n");
        return;
    }
    int64_t now = engine_timestamp(&server->engine) / 1000000;
    size_t rows = 0;
    for (struct omap_node *at = omap_first(&table->partitions); at != NULL; at = omap_next(at)) {
        const struct partition *partition = at->item;
        size_t before = rows;
        for (struct omap_node *row = omap_first(&partition->rows); row != NULL;
             row = omap_next(row)) {
            if (!storage_row_visible(partition, row->item, now))
                continue;
            dump_row(out, table, partition, row->item, now, writetimes);
            rows++;
        }
        if (rows == before && storage_row_visible(partition, partition->statics, now)) {
            dump_row(out, table, partition, NULL, now, writetimes);
            rows++;
        }
    }
    dynbuf_printf(out, "ok %zu\n", rows);
}
