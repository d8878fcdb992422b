/* Answers to SELECTs on system.local, system.peers and system.peers_v2. Pure; runs on the workers.
 * Whatever the statement, it writes exactly one body: a result or an error that says what is wrong
 * or not supported. */
#include "dataplane/virtual.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/virtual_bind.h"
#include "dataplane/virtual_hosts.h"
#include "dataplane/virtual_parse.h"
#include "dataplane/virtual_row.h"
#include "proto/cql_response.h"

#define ROWS_GLOBAL_TABLE 0x01
#define COUNT_NAME        "count"
#define PROTOCOL_V4       4

/* `SELECT *, *, …` could ask for this many times the columns there are. */
#define OUTPUTS_MAX 4096

struct output {                          /* one column of the result */
    const struct virtual_column *column; /* NULL: count(*) */
    struct cql_token alias;              /* length 0: none */
};

struct answer {
    const struct virtual_hosts *hosts;
    const struct topology *topology;
    enum virtual_table table;
    struct virtual_statement statement;
    struct virtual_conditions conditions;
    struct output *outputs;
    size_t output_count;
    bool has_count;
    int32_t error;
    char message[512];
};

enum virtual_table virtual_classify(const struct cql_scan *scan, const char *session_keyspace)
{
    if (scan->statement != CQL_STATEMENT_SELECT || !scan->has_table)
        return VIRTUAL_NONE;
    if (scan->has_keyspace ? !cql_token_is_name(scan->keyspace, "system")
                           : strcmp(session_keyspace, "system") != 0)
        return VIRTUAL_NONE;
    if (cql_token_is_name(scan->table, "local"))
        return VIRTUAL_LOCAL;
    if (cql_token_is_name(scan->table, "peers"))
        return VIRTUAL_PEERS;
    return cql_token_is_name(scan->table, "peers_v2") ? VIRTUAL_PEERS_V2 : VIRTUAL_NONE;
}

/* From text to what is to be shown. */

static bool refuse(struct answer *answer, const char *what, struct cql_token name)
{
    char shown[CQL_NAME_MAX + 1];
    answer->error = CQL_ERROR_INVALID;
    snprintf(answer->message, sizeof answer->message, "%s %s", what,
             virtual_show(name, shown, sizeof shown));
    return false;
}

static bool add_output(struct answer *answer, const struct virtual_column *column,
                       struct cql_token alias)
{
    if (answer->output_count == OUTPUTS_MAX) {
        answer->error = CQL_ERROR_INVALID;
        snprintf(answer->message, sizeof answer->message,
                 "a selection of more than %d columns is not supported", OUTPUTS_MAX);
        return false;
    }
    answer->outputs[answer->output_count++] = (struct output){column, alias};
    return true;
}

static bool resolve_selector(struct answer *answer, const struct virtual_selector *selector)
{
    char name[CQL_NAME_MAX + 1];
    size_t length;
    const struct virtual_column *column = NULL;
    if (selector->alias.length > 0 && !cql_token_value(selector->alias, name, sizeof name, &length))
        return refuse(answer, "a name of more than 255 bytes is not supported:", selector->alias);
    switch (selector->kind) {
    case VIRTUAL_SELECT_COUNT:
        answer->has_count = true;
        return add_output(answer, NULL, selector->alias);
    case VIRTUAL_SELECT_COLUMN:
        column = virtual_column_find(answer->topology, answer->table, selector->column);
        if (column == NULL)
            return refuse(answer, "Undefined column name", selector->column);
        return add_output(answer, column, selector->alias);
    case VIRTUAL_SELECT_ALL:
        while ((column = virtual_column_next(answer->topology, answer->table, column)) != NULL) {
            if (!add_output(answer, column, selector->alias))
                return false;
        }
        return true;
    }
    return true;
}

/* Parses text and looks up all it names. Call answer_fini in either case. */
static bool answer_init(struct answer *answer, const struct virtual_hosts *hosts,
                        const struct topology *topology, enum virtual_table table, const char *text,
                        size_t length)
{
    memset(answer, 0, sizeof *answer);
    answer->hosts = hosts;
    answer->topology = topology;
    answer->table = table;
    if (!virtual_parse(text, length, virtual_table_name(table), &answer->statement)) {
        answer->error = answer->statement.error;
        memcpy(answer->message, answer->statement.message, sizeof answer->message);
        return false;
    }
    answer->outputs = calloc(OUTPUTS_MAX, sizeof *answer->outputs);
    CHECK(answer->outputs != NULL);
    for (size_t i = 0; i < answer->statement.selector_count; i++) {
        if (!resolve_selector(answer, &answer->statement.selectors[i]))
            return false;
    }
    return virtual_conditions_prepare(&answer->conditions, &answer->statement, topology, table,
                                      length, &answer->error, answer->message);
}

static void answer_fini(struct answer *answer)
{
    virtual_conditions_fini(&answer->conditions);
    virtual_statement_fini(&answer->statement);
    free(answer->outputs);
}

/* Encoding. */

static void put_text(struct dynbuf *out, const char *text)
{
    cql_put_string(out, text, strlen(text));
}

static void put_table(const struct answer *answer, struct dynbuf *out)
{
    put_text(out, "system");
    put_text(out, virtual_table_name(answer->table));
}

static void put_result_metadata(const struct answer *answer, struct dynbuf *out)
{
    cql_put_i32(out, ROWS_GLOBAL_TABLE);
    cql_put_i32(out, (int32_t)answer->output_count);
    put_table(answer, out);
    for (size_t i = 0; i < answer->output_count; i++) {
        const struct output *output = &answer->outputs[i];
        char name[CQL_NAME_MAX + 1];
        size_t length;
        if (output->alias.length > 0 && cql_token_value(output->alias, name, sizeof name, &length))
            cql_put_string(out, name, length);
        else
            put_text(out,
                     output->column == NULL ? COUNT_NAME : virtual_column_name(output->column));
        /* bigint as in Cassandra; zdm-proxy says int, which drivers that read a long cannot take.
         */
        if (output->column == NULL)
            virtual_type_put(VIRTUAL_TYPE_BIGINT, out);
        else
            virtual_column_put_type(answer->topology, output->column, out);
    }
}

static void put_value(struct dynbuf *out, const struct dynbuf *value)
{
    cql_put_i32(out, (int32_t)value->length);
    dynbuf_append(out, value->data, value->length);
}

static void put_null(struct dynbuf *out)
{
    cql_put_i32(out, -1);
}

/* proxy: NULL when no row is left, which only a count shows. */
static void put_row(const struct answer *answer, const size_t *proxy, size_t count,
                    struct dynbuf *scratch, struct dynbuf *out)
{
    for (size_t i = 0; i < answer->output_count && !out->failed; i++) {
        const struct virtual_column *column = answer->outputs[i].column;
        dynbuf_reset(scratch);
        if (column == NULL) {
            cql_put_i32(scratch, 0);
            cql_put_i32(scratch, (int32_t)count);
            put_value(out, scratch);
        } else if (proxy != NULL &&
                   virtual_value_put(answer->hosts, answer->topology, column, *proxy, scratch)) {
            if (scratch->failed)
                out->failed = true;
            put_value(out, scratch);
        } else {
            put_null(out);
        }
    }
}

static void put_rows(const struct answer *answer, struct dynbuf *out)
{
    const struct virtual_hosts *hosts = answer->hosts;
    struct dynbuf scratch;
    dynbuf_init(&scratch, out->maximum);
    size_t *proxies = calloc(hosts->count, sizeof *proxies);
    CHECK(proxies != NULL);
    size_t count = 0;
    for (size_t proxy = 0; proxy < hosts->count; proxy++) {
        bool is_listed = (proxy == hosts->self) == (answer->table == VIRTUAL_LOCAL);
        if (is_listed &&
            virtual_conditions_match(&answer->conditions, hosts, answer->topology, proxy, &scratch))
            proxies[count++] = proxy;
    }
    if (answer->has_count) {
        cql_put_i32(out, 1);
        put_row(answer, count == 0 ? NULL : &proxies[0], count, &scratch, out);
    } else {
        size_t shown = count < answer->conditions.limit ? count : answer->conditions.limit;
        cql_put_i32(out, (int32_t)shown);
        for (size_t i = 0; i < shown && !out->failed; i++)
            put_row(answer, &proxies[i], count, &scratch, out);
    }
    free(proxies);
    dynbuf_fini(&scratch);
}

/* Ends every answer: takes back what was written if it became too large, and writes the error if
 * there is one. */
static void finish(struct answer *answer, bool is_good, size_t start, struct dynbuf *out,
                   uint8_t *opcode)
{
    if (is_good && out->failed) {
        is_good = false;
        answer->error = CQL_ERROR_SERVER;
        snprintf(answer->message, sizeof answer->message,
                 "the result on system.%s is larger than the %zu bytes the proxy allows for it",
                 virtual_table_name(answer->table), out->maximum);
    }
    *opcode = CQL_OPCODE_RESULT;
    if (!is_good) {
        out->length = start;
        out->failed = false;
        *opcode = CQL_OPCODE_ERROR;
        cql_put_error(out, answer->error, answer->message);
    }
    answer_fini(answer);
}

void virtual_query(const struct virtual_hosts *hosts, const struct topology *topology,
                   enum virtual_table table, const char *text, size_t length,
                   const struct virtual_value *values, size_t value_count, uint8_t protocol_version,
                   struct dynbuf *out, uint8_t *opcode)
{
    (void)protocol_version; /* all versions encode these types and results alike */
    struct answer answer;
    size_t start = out->length;
    bool is_good = answer_init(&answer, hosts, topology, table, text, length) &&
                   virtual_conditions_bind(&answer.conditions, values, value_count, &answer.error,
                                           answer.message);
    if (is_good) {
        cql_put_i32(out, CQL_RESULT_ROWS);
        put_result_metadata(&answer, out);
        put_rows(&answer, out);
    }
    finish(&answer, is_good, start, out, opcode);
}

/* The position of the one marker that fixes the partition key, or -1: none does, or too many claim
 * to. */
static int key_marker(const struct answer *answer)
{
    int found = -1;
    for (size_t i = 0; i < answer->statement.marker_count; i++) {
        const struct virtual_marker *marker = &answer->conditions.markers[i];
        if (marker->column == NULL || !virtual_column_is_key(marker->column) ||
            marker->operation != VIRTUAL_EQUAL)
            continue;
        if (found >= 0)
            return -1;
        found = (int)i;
    }
    return found;
}

static void put_bind_metadata(const struct answer *answer, uint8_t protocol_version,
                              struct dynbuf *out)
{
    size_t count = answer->statement.marker_count;
    cql_put_i32(out, count > 0 ? ROWS_GLOBAL_TABLE : 0);
    cql_put_i32(out, (int32_t)count);
    if (protocol_version >= PROTOCOL_V4) {
        int key = key_marker(answer);
        cql_put_i32(out, key >= 0 ? 1 : 0);
        if (key >= 0)
            cql_put_u16(out, (uint16_t)key);
    }
    if (count == 0)
        return;
    put_table(answer, out);
    for (size_t i = 0; i < count; i++) {
        static const uint8_t list[2] = {0x00, 0x20};
        const struct virtual_marker *marker = &answer->conditions.markers[i];
        char name[CQL_NAME_MAX + 1];
        size_t length = virtual_marker_name(marker, name, sizeof name);
        cql_put_string(out, name, length);
        if (marker->kind == VIRTUAL_MARKER_IN)
            dynbuf_append(out, list, sizeof list);
        virtual_type_put(
            marker->column == NULL ? VIRTUAL_TYPE_INT : virtual_column_type(marker->column), out);
    }
}

static void make_id(const char *text, size_t length, const char *session_keyspace, uint8_t id[16])
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    unsigned size = 0;
    uint8_t bytes[EVP_MAX_MD_SIZE];
    CHECK(digest != NULL);
    int result = EVP_DigestInit_ex(digest, EVP_md5(), NULL) &&
                 EVP_DigestUpdate(digest, text, length) &&
                 EVP_DigestUpdate(digest, session_keyspace, strlen(session_keyspace)) &&
                 EVP_DigestFinal_ex(digest, bytes, &size);
    EVP_MD_CTX_free(digest);
    CHECK(result == 1 && size == 16);
    memcpy(id, bytes, 16);
}

void virtual_prepare(const struct virtual_hosts *hosts, const struct topology *topology,
                     enum virtual_table table, const char *text, size_t length,
                     const char *session_keyspace, uint8_t protocol_version, uint8_t id[16],
                     struct dynbuf *out, uint8_t *opcode)
{
    struct answer answer;
    size_t start = out->length;
    bool is_good = answer_init(&answer, hosts, topology, table, text, length);
    if (is_good) {
        make_id(text, length, session_keyspace, id);
        cql_put_i32(out, CQL_RESULT_PREPARED);
        cql_put_string(out, id, 16); /* [short bytes]: the same form */
        if (cql_version_has_metadata_id(protocol_version))
            cql_put_string(out, id, 16); /* of the result's metadata: the statement fixes both */
        put_bind_metadata(&answer, protocol_version, out);
        put_result_metadata(&answer, out);
    }
    finish(&answer, is_good, start, out, opcode);
}
