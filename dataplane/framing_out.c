/* Writing segments: envelopes are appended behind room for a segment's header and the segment is
 * sealed when it is full or the turn ends. Runs on the thread of the stream's loop. Bytes of an
 * open segment are not counted in stream->queued: until it is sealed they cannot go out. It is
 * never longer than CQL_SEGMENT_PAYLOAD_MAX, which bounds what is not counted. */
#include "dataplane/framing.h"

#include <string.h>

#include "dataplane/stream_parts.h"

bool framing_make(struct stream *stream)
{
    struct stream_loop *loop = stream->loop;
    if (loop->framing == NULL)
        loop->framing = malloc(sizeof *loop->framing);
    if (stream->framing == NULL && loop->framing != NULL)
        stream->framing = calloc(1, sizeof *stream->framing);
    return stream->framing != NULL;
}

void framing_end(struct stream *stream)
{
    if (stream->framing == NULL)
        return;
    chunk_put(&stream->loop->chunks, stream->framing->raw);
    free(stream->framing);
    stream->framing = NULL;
    stream->reads_segments = stream->writes_segments = false;
}

bool framing_begin_writing(struct stream *stream, bool is_lz4)
{
    CHECK(!stream->writes_segments);
    if (!framing_make(stream))
        return false;
    stream->framing->writes_lz4 = is_lz4;
    stream->writes_segments = true;
    return true;
}

/* ---- segments ---- */

static bool open_segment(struct stream *stream)
{
    struct framing *framing = stream->framing;
    size_t header = cql_segment_header_bytes(framing->writes_lz4);
    struct chunk *tail = stream_tail(stream, header);
    if (tail == NULL)
        return false;
    framing->head = tail;
    framing->head_at = tail->end;
    framing->length = 0;
    tail->end += header;
    stream_mark_dirty(stream);
    return true;
}

static bool add_copy(struct stream *stream, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        struct chunk *tail = stream_tail(stream, 1);
        if (tail == NULL)
            return false;
        size_t part = chunk_room(tail) < length ? chunk_room(tail) : length;
        memcpy(tail->bytes + tail->end, bytes, part);
        tail->end += part;
        bytes += part;
        length -= part;
    }
    return true;
}

/* A run of the open segment's payload within one chunk. */
struct run {
    const struct chunk *chunk;
    const uint8_t *bytes;
    size_t length;
};

static struct run first_run(const struct framing *framing)
{
    size_t from = framing->head_at + cql_segment_header_bytes(framing->writes_lz4);
    return (struct run){framing->head, framing->head->bytes + from, framing->head->end - from};
}

static bool next_run(struct run *run)
{
    const struct chunk *chunk = run->chunk->next;
    if (chunk == NULL)
        return false;
    *run = (struct run){chunk, chunk->bytes + chunk->start, chunk->end - chunk->start};
    return true;
}

static uint32_t checksum(const struct framing *framing)
{
    uint32_t crc = cql_segment_crc_begin();
    struct run run = first_run(framing);
    do
        crc = cql_segment_crc_add(crc, run.bytes, run.length);
    while (next_run(&run));
    return crc;
}

/* The payload in one piece: where it is, if it is, or copied together. */
static const uint8_t *gather(struct stream *stream)
{
    struct framing *framing = stream->framing;
    uint8_t *gathered = stream->loop->framing->gathered;
    struct run run = first_run(framing);
    size_t length = 0;
    if (run.length == framing->length)
        return run.bytes;
    do {
        memcpy(gathered + length, run.bytes, run.length);
        length += run.length;
    } while (next_run(&run));
    CHECK(length == framing->length);
    return gathered;
}

/* Takes the payload out of the output again, whose last segment it is. */
static void drop_payload(struct stream *stream)
{
    struct chunk *head = stream->framing->head;
    head->end = stream->framing->head_at + CQL_SEGMENT_LZ4_HEADER_BYTES;
    while (head->next != NULL) {
        struct chunk *rest = head->next;
        head->next = rest->next;
        chunk_put(&stream->loop->chunks, rest);
    }
    stream->output_last = head;
}

static bool seal(struct stream *stream)
{
    struct framing *framing = stream->framing;
    size_t header = cql_segment_header_bytes(framing->writes_lz4);
    size_t wire_length, inflated_length = 0;
    uint8_t *deflated = stream->loop->framing->deflated;
    uint8_t trailer[CQL_SEGMENT_TRAILER_BYTES];
    uint32_t crc;
    if (framing->writes_lz4 &&
        (wire_length = cql_segment_deflate(gather(stream), framing->length, deflated)) > 0) {
        inflated_length = framing->length;
        crc = cql_segment_crc_add(cql_segment_crc_begin(), deflated, wire_length);
        drop_payload(stream);
        if (!add_copy(stream, deflated, wire_length))
            return false;
    } else {
        wire_length = framing->length;
        crc = checksum(framing);
    }
    cql_segment_put_header(framing->head->bytes + framing->head_at, framing->writes_lz4,
                           wire_length, inflated_length, !framing->is_large);
    cql_segment_put_trailer(trailer, crc);
    if (!add_copy(stream, trailer, sizeof trailer))
        return false;
    stream->queued += header + wire_length + sizeof trailer;
    framing->head = NULL;
    framing->length = 0;
    return true;
}

bool framing_seal(struct stream *stream)
{
    const struct framing *framing = stream->framing;
    if (framing->head == NULL || (framing->left > 0 && !framing->is_large))
        return true;
    return seal(stream);
}

/* ---- envelopes ---- */

/* Room in an open segment for an envelope of total bytes, or for the beginning of a large one. */
static bool begin_envelope(struct stream *stream, size_t total)
{
    struct framing *framing = stream->framing;
    bool is_large = total > CQL_SEGMENT_PAYLOAD_MAX;
    /* What takes more than one chunk may come in parts over many turns; the small ones before it do
     * not wait for its end. */
    bool is_apart = total > CHUNK_BYTES || framing->length + total > CQL_SEGMENT_PAYLOAD_MAX;
    if (framing->head != NULL && is_apart && !seal(stream))
        return false;
    framing->is_large = is_large;
    return framing->head != NULL || open_segment(stream);
}

static bool end_envelope(struct stream *stream)
{
    struct framing *framing = stream->framing;
    if (framing->is_large && framing->head != NULL && !seal(stream))
        return false;
    framing->is_large = false;
    return true;
}

/* How many of length bytes the open segment still takes, opening one if need be; 0: memory is out.
 */
static size_t segment_room(struct stream *stream, size_t length)
{
    struct framing *framing = stream->framing;
    if (framing->head != NULL && framing->length == CQL_SEGMENT_PAYLOAD_MAX && !seal(stream))
        return 0;
    if (framing->head == NULL && !open_segment(stream))
        return 0;
    size_t room = CQL_SEGMENT_PAYLOAD_MAX - framing->length;
    return length < room ? length : room;
}

/* Takes what belongs to the next envelope's header from bytes. false: memory is out. */
static bool take_header(struct stream *stream, const uint8_t *bytes, size_t length, size_t *taken)
{
    struct framing *framing = stream->framing;
    *taken = CQL_HEADER_BYTES - framing->header_length;
    if (*taken > length)
        *taken = length;
    memcpy(framing->header + framing->header_length, bytes, *taken);
    framing->header_length += *taken;
    if (framing->header_length < CQL_HEADER_BYTES)
        return true;
    size_t body_length = cql_header_load(framing->header).body_length;
    framing->header_length = 0;
    if (!begin_envelope(stream, CQL_HEADER_BYTES + body_length) ||
        !add_copy(stream, framing->header, CQL_HEADER_BYTES))
        return false;
    framing->length += CQL_HEADER_BYTES;
    framing->left = body_length;
    return body_length > 0 || end_envelope(stream);
}

uint8_t *framing_reserve(struct stream *stream, size_t length)
{
    struct framing *framing = stream->framing;
    CHECK(framing->left == 0 && framing->header_length == 0);
    /* Most envelopes join others of their turn. */
    bool is_joining = framing->head != NULL && stream_has_room(stream, length) &&
                      framing->length + length <= CQL_SEGMENT_PAYLOAD_MAX;
    if (!is_joining && (!begin_envelope(stream, length) || stream_tail(stream, length) == NULL))
        return NULL;
    struct chunk *tail = stream->output_last;
    uint8_t *room = tail->bytes + tail->end;
    tail->end += length;
    framing->length += length;
    stream_mark_dirty(stream);
    return room;
}

/* Envelopes, or parts of them, which lie in chunk unless that is NULL: views of it then. */
static bool add_envelopes(struct stream *stream, struct chunk *chunk, const uint8_t *bytes,
                          size_t length)
{
    struct framing *framing = stream->framing;
    while (length > 0) {
        size_t part;
        if (framing->left == 0) {
            if (!take_header(stream, bytes, length, &part))
                return false;
        } else {
            part = segment_room(stream, framing->left < length ? framing->left : length);
            if (part == 0 ||
                !(chunk == NULL
                      ? add_copy(stream, bytes, part)
                      : stream_add_view(stream, chunk, (size_t)(bytes - chunk->bytes), part)))
                return false;
            framing->length += part;
            framing->left -= part;
            if (framing->left == 0 && !end_envelope(stream))
                return false;
        }
        bytes += part;
        length -= part;
    }
    stream_mark_dirty(stream);
    return true;
}

bool framing_write(struct stream *stream, const uint8_t *bytes, size_t length)
{
    return add_envelopes(stream, NULL, bytes, length);
}

bool framing_write_view(struct stream *stream, struct chunk *chunk, size_t start, size_t length)
{
    return add_envelopes(stream, chunk, chunk->bytes + start, length);
}
