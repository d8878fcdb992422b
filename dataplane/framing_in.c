/* Reading segments: from raw bytes to the plain run of envelopes the stream's owner knows. Runs on
 * the thread of the stream's loop. Allocates by what has arrived, never by what a header announces;
 * touches nothing of a stream that its owner closed while it was being given data. */
#include "dataplane/framing.h"

#include <stdio.h>
#include <string.h>

#include "dataplane/stream_parts.h"

bool framing_begin_reading(struct stream *stream, bool is_lz4)
{
    CHECK(!stream->reads_segments);
    if (!framing_make(stream))
        return false;
    stream->framing->reads_lz4 = is_lz4;
    stream->framing->is_fresh = stream->input != NULL;
    stream->reads_segments = true;
    if (stream->input != NULL)
        stream_look_again(stream);
    return true;
}

static void lose_bad(struct stream *stream, const char *reason)
{
    char text[96];
    snprintf(text, sizeof text, FRAMING_BAD_SEGMENT ": %s", reason);
    stream_lose(stream, text);
}

/* ---- raw bytes ---- */

/* What was kept of the input before the switch is the beginning of the segments. */
static void take_fresh(struct stream *stream)
{
    struct framing *framing = stream->framing;
    if (!framing->is_fresh)
        return;
    framing->is_fresh = false;
    framing->raw = stream->input;
    stream->input = NULL;
    stream->input_need = 0;
}

/* Keeps raw bytes, which may lie in chunk (NULL, or one that the caller owns and hands over). */
static void keep_raw(struct stream *stream, struct chunk *chunk, const uint8_t *data, size_t length)
{
    struct chunk_pool *chunks = &stream->loop->chunks;
    bool is_small = length <= CHUNK_BYTES;
    struct chunk *kept = NULL;
    if (length > 0 && chunk != NULL && is_small == (chunk->capacity == CHUNK_BYTES) &&
        chunk->capacity >= length && chunk->references == 1) {
        kept = chunk;
        memmove(kept->bytes, data, length);
    } else if (length > 0) {
        kept = is_small ? chunk_new(chunks) : chunk_new_large(chunks, length + STREAM_READ_BYTES);
        if (kept != NULL)
            memcpy(kept->bytes, data, length);
    }
    if (chunk != kept)
        chunk_put(chunks, chunk);
    if (length > 0 && kept == NULL) {
        stream_lose(stream, "out_of_memory");
        return;
    }
    if (kept != NULL) {
        kept->start = 0;
        kept->end = length;
    }
    stream->framing->raw = kept;
}

/* ---- plain bytes ---- */

/* Bytes up to the end of a large envelope that the owner wants whole; returns how many, or -1: the
 * memory for them is out and the stream lost. */
static ssize_t add_to_large(struct stream *stream, const uint8_t *data, size_t length)
{
    struct chunk *kept = stream->input;
    size_t part = stream->input_need - kept->end;
    if (part > length)
        part = length;
    if (chunk_room(kept) < part) {
        /* By doubling, and never for more than has arrived and once again as much. */
        size_t capacity = 2 * (kept->end + part);
        if (capacity > stream->input_need)
            capacity = stream->input_need;
        if (!chunk_grow(&stream->loop->chunks, &stream->input, capacity)) {
            stream_lose(stream, "out_of_memory");
            return -1;
        }
        kept = stream->input;
    }
    memcpy(kept->bytes + kept->end, data, part);
    kept->end += part;
    return (ssize_t)part;
}

/* The owner has been given something and may have paused over it. */
static void note_pause(struct stream *stream)
{
    stream->framing->is_held = stream->paused != 0;
}

/* Gives the owner the payload of one segment, behind what it could not use of the last one. */
static void feed(struct stream *stream, const uint8_t *data, size_t length)
{
    struct chunk *kept = stream->input;
    uint32_t life = stream->life;
    if (stream_is_waiting_for_large(stream)) {
        ssize_t added = add_to_large(stream, data, length);
        if (added < 0 || stream_is_waiting_for_large(stream))
            return;
        if ((size_t)added < length) {
            lose_bad(stream, "it goes on behind the envelope it ends");
            return;
        }
        kept = stream->input;
        stream_deliver(stream, kept->bytes, kept->end, kept);
    } else if (kept == NULL) {
        stream_deliver(stream, data, length, NULL);
    } else {
        /* At most STREAM_WHOLE_FRAME, or the owner would have said how much it needs. */
        CHECK(kept->end + length <= STREAM_SCRATCH_BYTES);
        uint8_t *joined = stream->loop->scratch;
        memcpy(joined, kept->bytes, kept->end);
        memcpy(joined + kept->end, data, length);
        stream_deliver(stream, joined, kept->end + length, NULL);
    }
    if (stream->life == life)
        note_pause(stream);
}

/* What was left because of a pause, once it is over. */
static void feed_held(struct stream *stream)
{
    uint32_t life = stream->life;
    stream->framing->is_held = false;
    if (stream->input == NULL)
        return;
    stream_deliver_kept(stream);
    if (stream->life == life)
        note_pause(stream);
}

/* One segment, whole and checked. */
static void take_segment(struct stream *stream, const struct cql_segment *segment)
{
    uint32_t life = stream->life;
    const uint8_t *payload = segment->payload;
    size_t length = segment->length;
    if (segment->is_self_contained && stream->input != NULL) {
        lose_bad(stream, "self-contained, but in the middle of an envelope");
        return;
    }
    if (segment->inflated_length > 0) {
        uint8_t *inflated = stream->loop->framing->inflated;
        if (!cql_segment_inflate(segment, inflated)) {
            lose_bad(stream, "payload is no LZ4 block of the announced length");
            return;
        }
        payload = inflated;
        length = segment->inflated_length;
    }
    if (length > 0)
        feed(stream, payload, length);
    if (stream->life == life && stream->paused == 0 && segment->is_self_contained &&
        stream->input != NULL)
        lose_bad(stream, "self-contained, but ends within an envelope");
}

/* Takes all whole segments at data, which lies in chunk unless that is NULL; chunk is the caller's
 * and handed over. Keeps the rest. */
static void decode(struct stream *stream, struct chunk *chunk, const uint8_t *data, size_t length)
{
    uint32_t life = stream->life;
    size_t done = 0;
    if (stream->framing->is_held)
        feed_held(stream);
    while (stream->life == life && stream->paused == 0) {
        struct cql_segment segment;
        const char *reason = NULL;
        enum cql_segment_verdict verdict = cql_segment_read(
            data + done, length - done, stream->framing->reads_lz4, &segment, &reason);
        if (verdict == CQL_SEGMENT_MORE)
            break;
        done += segment.total;
        if (verdict == CQL_SEGMENT_BAD)
            lose_bad(stream, reason);
        else
            take_segment(stream, &segment);
    }
    if (stream->life == life)
        keep_raw(stream, chunk, data + done, length - done);
    else
        chunk_put(&stream->loop->chunks, chunk);
}

/* ---- what stream.c calls ---- */

void framing_receive(struct stream *stream)
{
    struct stream_loop *loop = stream->loop;
    struct framing *framing = stream->framing;
    take_fresh(stream);
    struct chunk *raw = framing->raw;
    size_t kept = raw == NULL ? 0 : raw->end;
    uint8_t *room = loop->framing->raw;
    if (kept >= CQL_SEGMENT_BYTES_MAX) { /* whole segments that were paused over */
        framing_resume(stream);
        return;
    }
    if (kept > CHUNK_BYTES) {
        if (chunk_room(raw) < STREAM_READ_BYTES &&
            !chunk_grow(&loop->chunks, &framing->raw, raw->capacity + STREAM_READ_BYTES)) {
            stream_lose(stream, "out_of_memory");
            return;
        }
        raw = framing->raw;
        room = raw->bytes;
    } else if (kept > 0) {
        memcpy(room, raw->bytes, kept);
    }
    ssize_t got = transport_read(&stream->transport, room + kept, STREAM_READ_BYTES);
    if (got <= 0) {
        stream_read_nothing(stream, got);
        return;
    }
    stream->last_read_ns = loop->now_ns;
    framing->raw = NULL;
    if (kept > CHUNK_BYTES)
        raw->end = kept + (size_t)got;
    decode(stream, raw, room, kept + (size_t)got);
}

void framing_resume(struct stream *stream)
{
    take_fresh(stream);
    struct chunk *raw = stream->framing->raw;
    stream->framing->raw = NULL;
    decode(stream, raw, raw == NULL ? NULL : raw->bytes, raw == NULL ? 0 : raw->end);
}

void framing_take_over(struct stream *stream, const uint8_t *data, size_t length)
{
    struct chunk *old = stream->input;
    stream->input = NULL;
    stream->input_need = 0;
    stream->framing->is_fresh = false;
    uint32_t life = stream->life;
    keep_raw(stream, NULL, data, length);
    chunk_put(&stream->loop->chunks, old); /* data may have lain in it */
    if (stream->life == life && length > 0)
        stream_look_again(stream);
}
