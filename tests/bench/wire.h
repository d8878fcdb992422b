/* The bytes of one CQL connection, for the load generator and the stub alike: frames out of what
 * was received, frames into what is to be sent, in protocol v4 (bodies plain or lz4) and v5
 * (segments, plain or lz4). Buffers are reused, so that a running connection allocates nothing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/cql_frame.h"

/* A reusable run of bytes; [begin, end) of data is in use. */
struct wire_bytes {
    uint8_t *data;
    size_t begin;
    size_t end;
    size_t capacity;
};

struct wire {
    bool is_segmented; /* v5, once STARTUP is answered; set by the owner */
    bool is_lz4;       /* of segments when segmented, else of bodies; set by the owner */
    struct wire_bytes in;
    struct wire_bytes joined;  /* envelopes that do not lie whole in one plain segment */
    struct wire_bytes pending; /* envelopes of the segment being filled */
    struct wire_bytes out;
    const uint8_t *window; /* envelopes still to be read of the current segment */
    size_t window_length;
};

struct wire_frame {
    struct cql_header header;
    const uint8_t *body; /* as on the wire; valid until the next wire_room */
};

enum wire_verdict {
    WIRE_MORE,
    WIRE_FRAME,
    WIRE_BAD,
};

void wire_fini(struct wire *wire);

/* Where received bytes go: *room (at least 64 KiB) of them. Only after wire_next said MORE. */
uint8_t *wire_room(struct wire *wire, size_t *room);
void wire_received(struct wire *wire, size_t count);
/* The next whole frame of what was received. */
enum wire_verdict wire_next(struct wire *wire, struct wire_frame *frame);

/* Where one frame of length bytes, header included, is to be written; valid until the next call. */
uint8_t *wire_put(struct wire *wire, size_t length);
/* Ends the turn: what was put becomes bytes to send, [out.begin, out.end) of out.data. */
void wire_finish(struct wire *wire);
/* count bytes of them were sent. */
void wire_sent(struct wire *wire, size_t count);
static inline size_t wire_unsent(const struct wire *wire)
{
    return wire->out.end - wire->out.begin;
}

/* Makes room for length bytes behind end, growing when it must; ends the process without memory. */
void wire_reserve(struct wire_bytes *bytes, size_t length);
void wire_append(struct wire_bytes *bytes, const void *data, size_t length);
void wire_append_u16(struct wire_bytes *bytes, uint16_t value);
void wire_append_u32(struct wire_bytes *bytes, uint32_t value);
/* length letters: the value that is written and read everywhere. */
void wire_append_value(struct wire_bytes *bytes, size_t length);
