/* Protocol versions: the one table of those the proxy can carry, and sets of them. Pure; never
 * trusts a length of what a node has sent. */
#include "dataplane/versions.h"

#include <string.h>
#include <strings.h>

#include "dataplane/text_list.h"
#include "proto/cql_frame.h"

/* In ascending order. names: what settings call it, besides its number. */
static const struct {
    uint8_t version;
    const char *listed; /* in PROTOCOL_VERSIONS; NULL: never spoken, but may be blocked */
    const char *names[3];
} versions[] = {
    {2, NULL, {"2", "v2"}},
    {3, "3/v3", {"3", "v3"}},
    {4, "4/v4", {"4", "v4"}},
    {5, "5/v5", {"5", "v5"}},
    {CQL_VERSION_DSE1, "65/dse-v1", {"DseV1", "Dse_V1"}},
    {CQL_VERSION_DSE2, "66/dse-v2", {"DseV2", "Dse_V2"}},
};

static uint8_t bit(size_t row)
{
    return (uint8_t)(1u << row);
}

static uint8_t set_of(uint8_t version)
{
    for (size_t row = 0; row < ARRAY_COUNT(versions); row++) {
        if (versions[row].version == version && versions[row].listed != NULL)
            return bit(row);
    }
    return 0;
}

uint8_t versions_find(struct cql_span name)
{
    for (size_t row = 0; row < ARRAY_COUNT(versions); row++) {
        if (versions[row].listed != NULL && cql_span_equals(name, versions[row].listed))
            return bit(row);
    }
    return 0;
}

uint8_t versions_of_node(struct cql_span supported, uint8_t control_version)
{
    uint8_t set = 0;
    struct cql_cursor cursor = cql_cursor_over(supported.data, supported.length);
    if (supported.data != NULL) {
        for (uint16_t left = cql_read_u16(&cursor); left > 0 && !cursor.failed; left--) {
            bool is_wanted = cql_span_equals(cql_read_string(&cursor), "PROTOCOL_VERSIONS");
            for (uint16_t count = cql_read_u16(&cursor); count > 0 && !cursor.failed; count--) {
                struct cql_span name = cql_read_string(&cursor);
                if (is_wanted && !cursor.failed)
                    set |= versions_find(name);
            }
        }
    }
    return set != 0 ? set : set_of(control_version) | set_of(CQL_VERSION_MIN);
}

bool versions_have(uint8_t set, uint8_t version)
{
    return (set & set_of(version)) != 0;
}

uint8_t versions_highest(uint8_t set, uint8_t tried)
{
    uint8_t highest = 0;
    for (size_t row = 0; row < ARRAY_COUNT(versions); row++) {
        uint8_t version = versions[row].version;
        bool is_fit = version < CQL_VERSION_DSE1 || tried >= CQL_VERSION_DSE1;
        if ((set & bit(row)) != 0 && is_fit)
            highest = version;
    }
    return highest;
}

void versions_print(uint8_t set, struct dynbuf *out)
{
    const char *separator = "";
    for (size_t row = 0; row < ARRAY_COUNT(versions); row++) {
        if ((set & bit(row)) == 0 || versions[row].listed == NULL)
            continue;
        dynbuf_printf(out, "%s%s", separator, versions[row].listed);
        separator = ", ";
    }
}

static uint8_t named(const char *name)
{
    for (size_t row = 0; row < ARRAY_COUNT(versions); row++) {
        for (size_t i = 0; versions[row].names[i] != NULL; i++) {
            if (strcasecmp(versions[row].names[i], name) == 0)
                return bit(row);
        }
    }
    return 0;
}

bool versions_parse(const char *list, uint8_t *set, char bad[64])
{
    *set = 0;
    while (text_list_next(&list, bad, 64)) {
        uint8_t one = named(bad);
        if (one == 0)
            return false;
        *set |= one;
    }
    return true;
}
