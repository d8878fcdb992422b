/* What +, - and [] do to lists, sets and maps, each a serialized value taken apart and put together
 * again. Pure. */
#include <stdlib.h>

#include "execution.h"
#include "wire.h"

struct entry {
    struct bytes key;   /* element of a list or set, key of a map */
    struct bytes value; /* maps only */
    size_t order;
};

struct entries {
    const struct cql_type *type;
    struct entry *items;
    size_t count;
};

static void load(struct arena *arena, const struct cql_type *type, struct bytes value,
                 struct entries *entries)
{
    struct type_walk walk;
    struct bytes element;
    type_walk_start(&walk, type, value);
    while (type_walk_next(&walk, &element, NULL)) {
        struct entry *entry =
            arena_push(arena, (void **)&entries->items, &entries->count, sizeof *entry);
        *entry = (struct entry){.key = element, .order = entries->count};
        if (type->id == TYPE_MAP)
            CHECK(type_walk_next(&walk, &entry->value, NULL));
    }
}

static int compare_entries(const void *left, const void *right, void *context)
{
    const struct entry *a = left;
    const struct entry *b = right;
    const struct entries *entries = context;
    int order = type_compare(entries->type->parts[0], a->key, b->key);
    if (order != 0)
        return order;
    return a->order < b->order ? -1 : a->order > b->order;
}

/* Sorted by key; of equal keys the last stays. */
static void normalize(struct entries *entries)
{
    if (entries->type->id == TYPE_LIST || entries->count < 2)
        return;
    qsort_r(entries->items, entries->count, sizeof *entries->items, compare_entries, entries);
    size_t kept = 0;
    for (size_t i = 0; i < entries->count; i++) {
        bool again = kept > 0 && type_compare(entries->type->parts[0], entries->items[kept - 1].key,
                                              entries->items[i].key) == 0;
        entries->items[again ? kept - 1 : kept++] = entries->items[i];
    }
    entries->count = kept;
}

/* An empty collection is null, as it is for Cassandra's cells. */
static struct bytes store(struct arena *arena, const struct entries *entries)
{
    if (entries->count == 0 && !entries->type->frozen)
        return bytes_null();
    struct dynbuf out;
    dynbuf_init(&out, WIRE_MAX_BODY * 2UL);
    wire_put_i32(&out, (int32_t)entries->count);
    for (size_t i = 0; i < entries->count; i++) {
        wire_put_bytes(&out, entries->items[i].key);
        if (entries->type->id == TYPE_MAP)
            wire_put_bytes(&out, entries->items[i].value);
    }
    CHECK(!out.failed);
    struct bytes value = arena_bytes(arena, bytes_of(out.data, out.length));
    dynbuf_fini(&out);
    return value;
}

struct bytes collection_normalize(struct arena *arena, const struct cql_type *type,
                                  struct bytes value)
{
    if (!type_is_collection(type) || value.length < 4)
        return value;
    struct entries entries = {.type = type};
    load(arena, type, value, &entries);
    size_t count = entries.count;
    bool sorted = true;
    for (size_t i = 1; i < count && type->id != TYPE_LIST && sorted; i++)
        sorted = type_compare(type->parts[0], entries.items[i - 1].key, entries.items[i].key) < 0;
    if (sorted && (count > 0 || type->frozen))
        return value;
    normalize(&entries);
    return store(arena, &entries);
}

struct bytes collection_add(struct arena *arena, const struct cql_type *type, struct bytes current,
                            struct bytes added)
{
    struct entries entries = {.type = type};
    load(arena, type, current, &entries);
    load(arena, type, added, &entries);
    normalize(&entries);
    return store(arena, &entries);
}

struct bytes collection_prepend(struct arena *arena, const struct cql_type *type,
                                struct bytes current, struct bytes added)
{
    return collection_add(arena, type, added, current);
}

struct bytes collection_subtract(struct arena *arena, const struct cql_type *type,
                                 struct bytes current, struct bytes removed)
{
    struct entries entries = {.type = type};
    struct entries gone = {.type = type};
    const struct cql_type *elements =
        type->id == TYPE_MAP ? type_collection(arena, TYPE_SET, type->parts[0]) : type;
    load(arena, type, current, &entries);
    load(arena, elements, removed, &gone);
    size_t kept = 0;
    for (size_t i = 0; i < entries.count; i++) {
        bool drop = false;
        for (size_t j = 0; j < gone.count && !drop; j++)
            drop = type_compare(type->parts[0], entries.items[i].key, gone.items[j].key) == 0;
        if (!drop)
            entries.items[kept++] = entries.items[i];
    }
    entries.count = kept;
    return store(arena, &entries);
}

bool collection_put(struct arena *arena, const struct cql_type *type, struct bytes current,
                    struct bytes key, struct bytes value, struct bytes *result)
{
    struct entries entries = {.type = type};
    load(arena, type, current, &entries);
    size_t at = 0;
    if (type->id == TYPE_LIST) {
        int32_t index = key.length == 4 ? wire_load_i32(key.data) : -1;
        if (index < 0 || (size_t)index >= entries.count)
            return false;
        at = (size_t)index;
    } else {
        while (at < entries.count && type_compare(type->parts[0], entries.items[at].key, key) != 0)
            at++;
    }
    if (value.length < 0) {
        if (at < entries.count) {
            memmove(entries.items + at, entries.items + at + 1,
                    (entries.count - at - 1) * sizeof *entries.items);
            entries.count--;
        }
    } else {
        if (at == entries.count) {
            struct entry *entry =
                arena_push(arena, (void **)&entries.items, &entries.count, sizeof *entry);
            *entry = (struct entry){.key = key, .order = entries.count};
        }
        if (type->id == TYPE_LIST)
            entries.items[at].key = value;
        else
            entries.items[at].value = value;
        normalize(&entries);
    }
    *result = store(arena, &entries);
    return true;
}

struct bytes collection_get(const struct cql_type *type, struct bytes current, struct bytes key)
{
    struct type_walk walk;
    struct bytes element;
    struct bytes value;
    type_walk_start(&walk, type, current);
    while (type->id == TYPE_MAP && type_walk_next(&walk, &element, NULL) &&
           type_walk_next(&walk, &value, NULL))
        if (type_compare(type->parts[0], element, key) == 0)
            return value;
    return bytes_null();
}

bool collection_contains(const struct cql_type *type, struct bytes current, struct bytes wanted,
                         bool key)
{
    struct type_walk walk;
    struct bytes element;
    const struct cql_type *element_type;
    type_walk_start(&walk, type, current);
    for (size_t i = 0; type_walk_next(&walk, &element, &element_type); i++) {
        bool candidate = type->id != TYPE_MAP || (i % 2 == 0) == key;
        if (candidate && type_compare(element_type, element, wanted) == 0)
            return true;
    }
    return false;
}
