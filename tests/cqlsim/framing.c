/* Envelopes out of what came, envelopes into what goes. Owned by the main thread. An envelope is
 * handled when all of it is there; a length that is announced is compared with what is allowed and
 * never allocated by: buffers grow with the bytes that have come. */
#include "framing.h"

#include <stdio.h>

static size_t waiting(const struct connection *connection)
{
    return connection->out.length + connection->wire.length - connection->sent +
           connection->deferred_bytes;
}

bool framing_is_full(const struct connection *connection)
{
    return waiting(connection) > CONNECTION_HIGH_WATER;
}

static bool speaks(const struct server *server, unsigned version)
{
    for (size_t i = 0; i < server->version_count; i++)
        if (server->versions[i] == version)
            return true;
    return false;
}

/* As Cassandra does: on stream 0, in the version that was tried if it is an unfinished one, else in
 * the highest that is not beyond 5, finished or not. */
static void refuse_version(struct connection *connection, const struct wire_header *header)
{
    const struct server *server = connection->server;
    unsigned highest = server->versions[server->version_count - 1];
    struct dynbuf text;
    dynbuf_init(&text, 256);
    if (server->beta != 0 && header->version == server->beta) {
        dynbuf_printf(&text, "Beta version of the protocol used (%s), but USE_BETA flag is unset",
                      wire_beta_name(server->beta));
    } else {
        dynbuf_printf(&text,
                      "Invalid or unsupported protocol version (%u); supported versions are (",
                      header->version & 0x7FU);
        for (size_t i = 0; i < server->version_count; i++)
            dynbuf_printf(&text, "%s%s", i > 0 ? ", " : "", wire_version_name(server->versions[i]));
        dynbuf_printf(&text, "%s%s)", server->beta != 0 ? ", " : "",
                      server->beta != 0 ? wire_beta_name(server->beta) : "");
    }
    if (server->beta != 0 && (header->version == server->beta || server->beta <= 5))
        highest = server->beta;
    request_protocol_error(connection, (uint8_t)highest, 0, dynbuf_text(&text));
    dynbuf_fini(&text);
}

/* Handles the envelope at data; false when it is not all there or was none. */
static bool take_envelope(struct connection *connection, const uint8_t *data, size_t length,
                          size_t *used)
{
    struct server *server = connection->server;
    struct wire_header header;
    if (length < WIRE_HEADER_BYTES)
        return false;
    wire_header_read(data, &header);
    if (!speaks(server, header.version)) {
        refuse_version(connection, &header);
        return false;
    }
    if (header.length > WIRE_MAX_BODY) {
        request_protocol_error(connection, header.version, header.stream,
                               "Request is too big: a frame's body may have 268435456 bytes");
        return false;
    }
    if (length - WIRE_HEADER_BYTES < header.length)
        return false;
    *used += WIRE_HEADER_BYTES + header.length;
    const uint8_t *body = data + WIRE_HEADER_BYTES;
    if (connection->compression == COMPRESSION_NONE || wire_has_segments(header.version) ||
        (header.flags & WIRE_FLAG_COMPRESSED) == 0) {
        request_handle(connection, &header, body);
        return true;
    }
    const char *problem;
    if (compression_inflate(connection->compression, body, header.length, WIRE_MAX_BODY,
                            &server->inflated, &problem)) {
        header.length = (uint32_t)server->inflated.length;
        request_handle(connection, &header, server->inflated.data);
    } else {
        request_protocol_error(connection, header.version, header.stream, problem);
    }
    return true;
}

/* Takes the next segment out of in; false when there is none or it was bad. */
static bool take_segment(struct connection *connection, size_t *used)
{
    struct dynbuf *in = &connection->in;
    struct segment segment = {0};
    bool inside = connection->envelopes.length > 0;
    switch (segment_take(in->data + *used, in->length - *used,
                         connection->compression == COMPRESSION_LZ4, &segment,
                         &connection->envelopes)) {
    case SEGMENT_MORE:
        return false;
    case SEGMENT_BAD:
        request_protocol_error(connection, (uint8_t)connection->version, 0, segment.problem);
        return false;
    case SEGMENT_DONE:
        break;
    }
    *used += segment.used;
    connection->split = !segment.self_contained;
    if (inside && segment.self_contained) {
        request_protocol_error(connection, (uint8_t)connection->version, 0,
                               "a self-contained segment came in the middle of an envelope");
        return false;
    }
    return true;
}

/* Envelopes of the segments taken so far. False once they are used up. */
static bool take_from_segments(struct connection *connection)
{
    struct dynbuf *envelopes = &connection->envelopes;
    size_t used = 0;
    bool taken = take_envelope(connection, envelopes->data, envelopes->length, &used);
    dynbuf_consume(envelopes, used);
    if (connection->closing)
        return false;
    bool left = envelopes->length > 0;
    if (left && (connection->split ? taken : !taken)) {
        request_protocol_error(connection, (uint8_t)connection->version, 0,
                               connection->split
                                   ? "bytes after the envelope that was split into segments"
                                   : "a self-contained segment ends in the middle of an envelope");
        return false;
    }
    if (!left && envelopes->capacity > CONNECTION_KEEP_CAPACITY)
        dynbuf_fini(envelopes);
    return taken && left;
}

void framing_process(struct connection *connection)
{
    struct dynbuf *in = &connection->in;
    size_t used = 0;
    while (!connection->closing && in->length - used + connection->envelopes.length > 0) {
        if (framing_is_full(connection)) {
            connection_pause(connection);
            break;
        }
        if (!connection->segmented) {
            if (!take_envelope(connection, in->data + used, in->length - used, &used))
                break;
        } else if (connection->envelopes.length == 0 || connection->split) {
            if (!take_segment(connection, &used))
                break;
            take_from_segments(connection);
        } else {
            take_from_segments(connection);
        }
    }
    dynbuf_consume(in, used);
    if (in->length == 0 && in->capacity > CONNECTION_KEEP_CAPACITY)
        dynbuf_fini(in);
}

static void put_segment(struct connection *connection, const uint8_t *data, size_t length,
                        bool self_contained, enum corruption corruption)
{
    segment_put(&connection->wire, data, length, self_contained,
                connection->compression == COMPRESSION_LZ4, corruption);
}

/* Whole envelopes: as many to a segment as fit, the large ones cut up. */
static void put_segments(struct connection *connection, const uint8_t *data, size_t length,
                         enum corruption corruption)
{
    const struct server *server = connection->server;
    size_t limit = server->segment_limit;
    size_t start = 0;
    size_t at = 0;
    while (at < length) {
        struct wire_header header;
        CHECK(length - at >= WIRE_HEADER_BYTES);
        wire_header_read(data + at, &header);
        size_t size = WIRE_HEADER_BYTES + header.length;
        CHECK(size <= length - at);
        if (at > start && (server->segment_alone || at + size - start > limit)) {
            put_segment(connection, data + start, at - start, true, corruption);
            start = at;
        }
        at += size;
        if (size <= limit)
            continue;
        for (; start < at; start += limit < at - start ? limit : at - start)
            put_segment(connection, data + start, limit < at - start ? limit : at - start, false,
                        corruption);
    }
    if (at > start)
        put_segment(connection, data + start, at - start, true, corruption);
}

void framing_seal(struct connection *connection)
{
    struct dynbuf *out = &connection->out;
    struct dynbuf *wire = &connection->wire;
    if (out->length == 0)
        return;
    if (connection->segmented) {
        put_segments(connection, out->data, out->length, CORRUPT_NOTHING);
    } else if (wire->length == 0) {
        struct dynbuf empty = *wire;
        *wire = *out;
        *out = empty;
        return;
    } else {
        dynbuf_append(wire, out->data, out->length);
    }
    dynbuf_reset(out);
    if (out->capacity > CONNECTION_KEEP_CAPACITY)
        dynbuf_fini(out);
}

/* Lies about the length, or writes bytes no decompressor takes; the frame stays a frame. */
static void spoil_body(struct connection *connection, size_t start, enum corruption corruption)
{
    struct dynbuf *out = &connection->out;
    uint8_t *body = out->data + start + WIRE_HEADER_BYTES;
    size_t length = out->length - start - WIRE_HEADER_BYTES;
    size_t prefix = connection->compression == COMPRESSION_LZ4 ? 4 : 1;
    if (corruption == CORRUPT_LENGTH && length >= 4)
        memcpy(body,
               connection->compression == COMPRESSION_LZ4 ? "\x7F\xFF\xFF\xFF" : "\xFF\xFF\xFF\x7F",
               4);
    else if (length > prefix)
        memset(body + prefix, 0xFF, length - prefix);
}

void framing_seal_spoiled(struct connection *connection, size_t start, enum corruption corruption)
{
    struct dynbuf *out = &connection->out;
    if (!connection->segmented) {
        if (connection->compression != COMPRESSION_NONE && corruption >= CORRUPT_BODY)
            spoil_body(connection, start, corruption);
        return;
    }
    struct bytes last = bytes_of(out->data + start, out->length - start);
    if (start > 0)
        put_segments(connection, out->data, start, CORRUPT_NOTHING);
    put_segments(connection, last.data, (size_t)last.length, corruption);
    dynbuf_reset(out);
    connection_mark_dirty(connection);
}

void framing_compress(struct connection *connection, size_t start)
{
    struct dynbuf *out = &connection->out;
    if (connection->compression == COMPRESSION_NONE || wire_has_segments(connection->version))
        return;
    struct dynbuf body;
    dynbuf_init(&body, out->maximum);
    compression_deflate(connection->compression, out->data + start + WIRE_HEADER_BYTES,
                        out->length - start - WIRE_HEADER_BYTES, &body);
    out->length = start + WIRE_HEADER_BYTES;
    out->data[start + 1] |= WIRE_FLAG_COMPRESSED;
    dynbuf_append(out, body.data, body.length);
    dynbuf_fini(&body);
}

void framing_switch(struct connection *connection)
{
    framing_seal(connection);
    connection->segmented = true;
}
