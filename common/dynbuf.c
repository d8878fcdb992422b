/* Growable byte buffer with a ceiling. Owned by one thread at a time. */
#include "common/dynbuf.h"

#include <stdarg.h>
#include <string.h>

void dynbuf_init(struct dynbuf *buffer, size_t maximum)
{
    *buffer = (struct dynbuf){.maximum = maximum};
}

void dynbuf_fini(struct dynbuf *buffer)
{
    free(buffer->data);
    *buffer = (struct dynbuf){.maximum = buffer->maximum};
}

void dynbuf_reset(struct dynbuf *buffer)
{
    buffer->length = 0;
    buffer->failed = false;
}

static bool reserve(struct dynbuf *buffer, size_t extra)
{
    if (buffer->failed || extra > buffer->maximum - buffer->length) {
        buffer->failed = true;
        return false;
    }
    size_t needed = buffer->length + extra + 1;
    if (needed <= buffer->capacity)
        return true;
    size_t capacity = buffer->capacity == 0 ? 256 : buffer->capacity;
    while (capacity < needed)
        capacity *= 2;
    uint8_t *data = realloc(buffer->data, capacity);
    if (data == NULL) {
        buffer->failed = true;
        return false;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

bool dynbuf_append(struct dynbuf *buffer, const void *bytes, size_t length)
{
    if (!reserve(buffer, length))
        return false;
    if (length > 0)
        memcpy(buffer->data + buffer->length, bytes, length);
    buffer->length += length;
    buffer->data[buffer->length] = '\0';
    return true;
}

bool dynbuf_append_text(struct dynbuf *buffer, const char *text)
{
    return dynbuf_append(buffer, text, strlen(text));
}

bool dynbuf_printf(struct dynbuf *buffer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0 || !reserve(buffer, (size_t)length))
        return false;
    va_start(arguments, format);
    vsnprintf((char *)buffer->data + buffer->length, (size_t)length + 1, format, arguments);
    va_end(arguments);
    buffer->length += (size_t)length;
    return true;
}

void dynbuf_consume(struct dynbuf *buffer, size_t count)
{
    CHECK(count <= buffer->length);
    if (count == 0)
        return;
    memmove(buffer->data, buffer->data + count, buffer->length - count);
    buffer->length -= count;
    buffer->data[buffer->length] = '\0';
}

const char *dynbuf_text(const struct dynbuf *buffer)
{
    return buffer->data == NULL ? "" : (const char *)buffer->data;
}
