/* Clock readings and UUIDs for the functions the proxy evaluates. function_source_make may run on
 * any worker, each with its own source; what is shared is one atomic number. No system call but one
 * for every 64 random UUIDs (clock_gettime is none). */
#include "dataplane/function_source.h"

#include <openssl/rand.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

/* From 1582-10-15 to 1970-01-01, in hundreds of nanoseconds (RFC 4122, section 4.1.4). */
#define GREGORIAN_OFFSET 0x01B21DD213814000ULL

#define NS_PER_DAY (86400 * 1000000000ULL)

static struct {
    _Atomic bool is_seeded;
    uint8_t node[6];
    uint16_t sequence;
    _Atomic uint64_t last; /* the time of the last version 1 UUID */
} process;

static void fill_random(uint8_t *out, size_t length)
{
    /* Without randomness there are no unique ids: better stop than hand out the same one twice. */
    CHECK(RAND_bytes(out, (int)length) == 1);
}

void function_source_seed(void)
{
    uint8_t sequence[2];
    if (atomic_exchange(&process.is_seeded, true))
        return;
    fill_random(process.node, sizeof process.node);
    fill_random(sequence, sizeof sequence);
    process.node[0] |= 0x01; /* multicast: no network card's address (section 4.5) */
    process.sequence = cql_load_u16(sequence) & 0x3fff;
}

void function_source_init(struct function_source *source)
{
    source->random_used = sizeof source->random;
}

static uint64_t wall_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

/* The time now, but always later than any time given before, by any worker. */
static uint64_t next_time(uint64_t now)
{
    uint64_t last = atomic_load_explicit(&process.last, memory_order_relaxed);
    uint64_t next;
    do
        next = now > last ? now : last + 1;
    while (!atomic_compare_exchange_weak_explicit(&process.last, &last, next, memory_order_relaxed,
                                                  memory_order_relaxed));
    return next;
}

void function_source_put_timeuuid(uint8_t out[16], uint64_t time, uint16_t sequence,
                                  const uint8_t node[6])
{
    cql_store_u32(out, (uint32_t)time);
    cql_store_u16(out + 4, (uint16_t)(time >> 32));
    cql_store_u16(out + 6, (uint16_t)(0x1000 | ((time >> 48) & 0x0fff)));
    cql_store_u16(out + 8, (uint16_t)(0x8000 | (sequence & 0x3fff)));
    memcpy(out + 10, node, 6);
}

static void put_uuid(struct function_source *source, uint8_t out[16])
{
    if (source->random_used == sizeof source->random) {
        fill_random(source->random, sizeof source->random);
        source->random_used = 0;
    }
    memcpy(out, source->random + source->random_used, 16);
    source->random_used += 16;
    out[6] = (uint8_t)((out[6] & 0x0f) | 0x40);
    out[8] = (uint8_t)((out[8] & 0x3f) | 0x80);
}

static void put_u64(struct function_value *value, uint64_t number)
{
    value->length = 8;
    cql_store_u32(value->bytes, (uint32_t)(number >> 32));
    cql_store_u32(value->bytes + 4, (uint32_t)number);
}

void function_source_make(void *context, enum function_kind kind, struct function_value *value)
{
    struct function_source *source = context;
    switch (kind) {
    case FUNCTION_TIMEUUID:
        value->length = 16;
        function_source_put_timeuuid(value->bytes, next_time(wall_ns() / 100 + GREGORIAN_OFFSET),
                                     process.sequence, process.node);
        break;
    case FUNCTION_TIMESTAMP:
        put_u64(value, wall_ns() / 1000000);
        break;
    case FUNCTION_DATE:
        value->length = 4;
        cql_store_u32(value->bytes, (uint32_t)(wall_ns() / NS_PER_DAY + ((uint64_t)1 << 31)));
        break;
    case FUNCTION_TIME:
        put_u64(value, wall_ns() % NS_PER_DAY);
        break;
    default:
        value->length = 16;
        put_uuid(source, value->bytes);
    }
}
