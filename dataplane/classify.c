/* Statement classes, from the scan of the text. Pure; called once per QUERY, PREPARE, never for
 * EXECUTE. */
#include "dataplane/classify.h"

#include <string.h>

static bool is_system_keyspace(const char *keyspace)
{
    return strcmp(keyspace, "system") == 0 || strncmp(keyspace, "system_", 7) == 0 ||
           strncmp(keyspace, "dse_", 4) == 0;
}

/* The keyspace a statement names. Folded only where its first letter leaves a doubt. */
static bool names_system_keyspace(struct cql_token token)
{
    struct cql_name name;
    char first = token.text[token.kind == CQL_TOKEN_QUOTED_NAME] | 0x20;
    if (LIKELY(first != 's' && first != 'd'))
        return false;
    cql_scan_name(token, &name);
    return is_system_keyspace(name.text);
}

static struct statement_class classify_select(const struct cql_scan *scan,
                                              const char *session_keyspace)
{
    bool is_system = scan->has_table && (scan->has_keyspace ? names_system_keyspace(scan->keyspace)
                                                            : is_system_keyspace(session_keyspace));
    if (LIKELY(!is_system))
        return (struct statement_class){.class = REQUEST_READ};
    enum virtual_table table = virtual_classify(scan, session_keyspace);
    return (struct statement_class){
        .class = table == VIRTUAL_NONE ? REQUEST_SYSTEM_READ : REQUEST_VIRTUAL, .table = table};
}

struct statement_class classify_statement(const char *text, size_t length, const char *keyspace)
{
    struct cql_scan scan;
    cql_scan(text, length, &scan);
    switch (scan.statement) {
    case CQL_STATEMENT_SELECT:
        return classify_select(&scan, keyspace);
    case CQL_STATEMENT_USE:
        return (struct statement_class){.class = REQUEST_USE};
    case CQL_STATEMENT_DESCRIBE:
        /* A server-side DESCRIBE reads the schema; the two clusters rarely agree on its text, and
         * a 3.x cluster does not know it. */
        return (struct statement_class){.class = REQUEST_SYSTEM_READ};
    case CQL_STATEMENT_BATCH:
        return (struct statement_class){
            .class = REQUEST_WRITE,
            .write_type = scan.is_conditional ? WRITE_CAS
                          : scan.is_counter   ? WRITE_COUNTER
                          : scan.is_unlogged  ? WRITE_UNLOGGED_BATCH
                                              : WRITE_BATCH,
            .takes_timestamp = !scan.is_conditional && !scan.is_counter && !scan.has_timestamp,
            .may_call = scan.may_call,
        };
    case CQL_STATEMENT_INSERT:
    case CQL_STATEMENT_UPDATE:
    case CQL_STATEMENT_DELETE:
        return (struct statement_class){
            .class = REQUEST_WRITE,
            .write_type = scan.is_conditional ? WRITE_CAS : WRITE_SIMPLE,
            .takes_timestamp = !scan.is_conditional && !scan.has_timestamp,
            .may_call = scan.may_call,
        };
    default:
        return (struct statement_class){
            .class = REQUEST_WRITE,
            .write_type = WRITE_SIMPLE,
        };
    }
}

const char *write_type_name(enum write_type type)
{
    static const char *const names[] = {"SIMPLE", "BATCH", "UNLOGGED_BATCH", "COUNTER", "CAS"};
    return names[type];
}
