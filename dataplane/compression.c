/* Opening compressed frames. Runs on a worker, with the worker's room; what that room may grow to
 * is the caller's limit, and it grows only for lengths the body at hand can really have. */
#include "dataplane/compression.h"

#include <stdlib.h>

void compression_room_fini(struct compression_room *room)
{
    free(room->bytes);
    *room = (struct compression_room){NULL, 0};
}

static bool make_room(struct compression_room *room, size_t length)
{
    bool is_too_large = room->capacity > COMPRESSION_ROOM_KEPT && length <= COMPRESSION_ROOM_KEPT;
    if (LIKELY(room->capacity >= length && !is_too_large && room->bytes != NULL))
        return true;
    size_t capacity = length <= COMPRESSION_ROOM_KEPT / 8   ? COMPRESSION_ROOM_KEPT / 8
                      : length <= COMPRESSION_ROOM_KEPT / 2 ? COMPRESSION_ROOM_KEPT
                                                            : length + length / 4;
    compression_room_fini(room);
    room->bytes = malloc(capacity);
    room->capacity = room->bytes == NULL ? 0 : capacity;
    return room->bytes != NULL;
}

bool compression_open(struct compression_room *room, enum cql_compression agreed, size_t limit,
                      struct cql_header *header, const uint8_t **body, const char **reason)
{
    size_t inflated;
    if (LIKELY((header->flags & CQL_FLAG_COMPRESSED) == 0))
        return true;
    if (agreed == CQL_COMPRESSION_NONE) {
        *reason = "a compressed frame came though no compression was agreed on";
        return false;
    }
    if (!cql_inflated_length(agreed, *body, header->body_length, limit, &inflated, reason))
        return false;
    if (!make_room(room, inflated)) {
        *reason = "out of memory for a compressed body";
        return false;
    }
    if (!cql_inflate(agreed, *body, header->body_length, room->bytes, inflated, reason))
        return false;
    header->flags &= (uint8_t)~CQL_FLAG_COMPRESSED;
    header->body_length = (uint32_t)inflated;
    *body = room->bytes;
    return true;
}
