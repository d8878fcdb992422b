/* Frames and segments of the measuring programs. Each wire belongs to one connection and thus to
 * one thread. It must never copy what can be read where it lies: the tools must cost less than what
 * they measure. */
#include "tests/bench/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/cql_segment.h"

#define READ_ROOM ((size_t)64 * 1024)

void wire_reserve(struct wire_bytes *bytes, size_t length)
{
    if (bytes->begin == bytes->end)
        bytes->begin = bytes->end = 0;
    if (bytes->capacity - bytes->end >= length)
        return;
    size_t used = bytes->end - bytes->begin;
    if (bytes->begin > 0) {
        memmove(bytes->data, bytes->data + bytes->begin, used);
        bytes->begin = 0;
        bytes->end = used;
    }
    if (bytes->capacity - used >= length)
        return;
    size_t capacity = bytes->capacity * 2 > used + length ? bytes->capacity * 2 : used + length;
    uint8_t *data = realloc(bytes->data, capacity);
    if (data == NULL) {
        fprintf(stderr, "no memory for %zu bytes\n", capacity);
        abort();
    }
    bytes->data = data;
    bytes->capacity = capacity;
}

void wire_append(struct wire_bytes *bytes, const void *data, size_t length)
{
    if (length == 0)
        return;
    wire_reserve(bytes, length);
    memcpy(bytes->data + bytes->end, data, length);
    bytes->end += length;
}

void wire_append_u16(struct wire_bytes *bytes, uint16_t value)
{
    wire_reserve(bytes, sizeof value);
    cql_store_u16(bytes->data + bytes->end, value);
    bytes->end += sizeof value;
}

void wire_append_u32(struct wire_bytes *bytes, uint32_t value)
{
    wire_reserve(bytes, sizeof value);
    cql_store_u32(bytes->data + bytes->end, value);
    bytes->end += sizeof value;
}

void wire_append_value(struct wire_bytes *bytes, size_t length)
{
    if (length == 0)
        return;
    wire_reserve(bytes, length);
    memset(bytes->data + bytes->end, 'v', length);
    bytes->end += length;
}

void wire_fini(struct wire *wire)
{
    free(wire->in.data);
    free(wire->joined.data);
    free(wire->pending.data);
    free(wire->out.data);
    *wire = (struct wire){0};
}

uint8_t *wire_room(struct wire *wire, size_t *room)
{
    wire_reserve(&wire->in, READ_ROOM);
    *room = wire->in.capacity - wire->in.end;
    return wire->in.data + wire->in.end;
}

void wire_received(struct wire *wire, size_t count)
{
    wire->in.end += count;
}

/* The frame at data, if it is whole; *total is then its length. */
static enum wire_verdict frame_at(const uint8_t *data, size_t length, struct wire_frame *frame,
                                  size_t *total)
{
    if (length < CQL_HEADER_BYTES)
        return WIRE_MORE;
    frame->header = cql_header_load(data);
    if (frame->header.body_length > CQL_FRAME_BODY_MAX)
        return WIRE_BAD;
    *total = CQL_HEADER_BYTES + (size_t)frame->header.body_length;
    if (length < *total)
        return WIRE_MORE;
    frame->body = data + CQL_HEADER_BYTES;
    return WIRE_FRAME;
}

static enum wire_verdict take_frame(struct wire_bytes *bytes, struct wire_frame *frame)
{
    size_t total = 0;
    enum wire_verdict verdict =
        frame_at(bytes->data + bytes->begin, bytes->end - bytes->begin, frame, &total);
    if (verdict == WIRE_FRAME)
        bytes->begin += total;
    return verdict;
}

/* Takes the next segment of what was received: a plain self-contained one becomes the window, what
 * others hold is joined. */
static enum wire_verdict open_segment(struct wire *wire)
{
    struct cql_segment segment;
    const char *reason = NULL;
    switch (cql_segment_read(wire->in.data + wire->in.begin, wire->in.end - wire->in.begin,
                             wire->is_lz4, &segment, &reason)) {
    case CQL_SEGMENT_MORE:
        return WIRE_MORE;
    case CQL_SEGMENT_BAD:
        return WIRE_BAD;
    case CQL_SEGMENT_DONE:
        break;
    }
    wire->in.begin += segment.total;
    if (segment.inflated_length > 0) {
        wire_reserve(&wire->joined, segment.inflated_length);
        if (!cql_segment_inflate(&segment, wire->joined.data + wire->joined.end))
            return WIRE_BAD;
        wire->joined.end += segment.inflated_length;
    } else if (segment.is_self_contained) {
        wire->window = segment.payload;
        wire->window_length = segment.length;
    } else {
        wire_append(&wire->joined, segment.payload, segment.length);
    }
    return WIRE_FRAME;
}

enum wire_verdict wire_next(struct wire *wire, struct wire_frame *frame)
{
    if (!wire->is_segmented)
        return take_frame(&wire->in, frame);
    for (;;) {
        if (wire->window_length > 0) {
            size_t total = 0;
            if (frame_at(wire->window, wire->window_length, frame, &total) != WIRE_FRAME)
                return WIRE_BAD; /* self-contained means whole */
            wire->window += total;
            wire->window_length -= total;
            return WIRE_FRAME;
        }
        if (wire->joined.end > wire->joined.begin) {
            enum wire_verdict verdict = take_frame(&wire->joined, frame);
            if (verdict != WIRE_MORE)
                return verdict;
        }
        enum wire_verdict verdict = open_segment(wire);
        if (verdict != WIRE_FRAME)
            return verdict;
    }
}

static void put_segment(struct wire *wire, const uint8_t *payload, size_t length, bool is_whole)
{
    struct wire_bytes *out = &wire->out;
    wire_reserve(out, CQL_SEGMENT_LZ4_HEADER_BYTES + CQL_SEGMENT_DEFLATED_MAX +
                          CQL_SEGMENT_TRAILER_BYTES);
    size_t header_bytes = cql_segment_header_bytes(wire->is_lz4);
    uint8_t *header = out->data + out->end;
    uint8_t *to = header + header_bytes;
    size_t stored = wire->is_lz4 ? cql_segment_deflate(payload, length, to) : 0;
    size_t inflated_length = stored > 0 ? length : 0;
    if (stored == 0) {
        memcpy(to, payload, length);
        stored = length;
    }
    cql_segment_put_header(header, wire->is_lz4, stored, inflated_length, is_whole);
    cql_segment_put_trailer(to + stored, cql_segment_crc_add(cql_segment_crc_begin(), to, stored));
    out->end += header_bytes + stored + CQL_SEGMENT_TRAILER_BYTES;
}

void wire_finish(struct wire *wire)
{
    struct wire_bytes *pending = &wire->pending;
    size_t left = pending->end - pending->begin;
    bool is_whole = left <= CQL_SEGMENT_PAYLOAD_MAX;
    while (left > 0) {
        size_t part = left < CQL_SEGMENT_PAYLOAD_MAX ? left : CQL_SEGMENT_PAYLOAD_MAX;
        put_segment(wire, pending->data + pending->begin, part, is_whole);
        pending->begin += part;
        left -= part;
    }
}

uint8_t *wire_put(struct wire *wire, size_t length)
{
    struct wire_bytes *to = &wire->out;
    if (wire->is_segmented) {
        to = &wire->pending;
        if (to->end - to->begin + length > CQL_SEGMENT_PAYLOAD_MAX)
            wire_finish(wire);
    }
    wire_reserve(to, length);
    uint8_t *at = to->data + to->end;
    to->end += length;
    return at;
}

void wire_sent(struct wire *wire, size_t count)
{
    wire->out.begin += count;
}
