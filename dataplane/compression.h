/* Compressed frames of protocol v3 and v4 on their way through the proxy: they are forwarded as
 * they came and opened only to be looked at. Room for the plain bytes belongs to a worker and is
 * used again for every frame. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/check.h"
#include "proto/cql_compression.h"
#include "proto/cql_frame.h"

/* More than this is given back when the next frame needs less. */
#define COMPRESSION_ROOM_KEPT ((size_t)256 * 1024)

struct compression_room {
    uint8_t *bytes;
    size_t capacity;
};

void compression_room_fini(struct compression_room *room);

/* Makes a frame plain: *header loses the compression flag and takes the plain length, *body becomes
 * the plain body, in room until its next use. A frame that is not compressed stays as it is. false:
 * the body is corrupt, announces more than limit bytes (or than it can stand for), no compression
 * was agreed on, or memory is out; *reason says which. */
MUST_CHECK bool compression_open(struct compression_room *room, enum cql_compression agreed,
                                 size_t limit, struct cql_header *header, const uint8_t **body,
                                 const char **reason);
