/* Bump allocation. Owned by one thread; never frees a single piece. */
#include "arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/check.h"

#define BLOCK_BYTES 8192
#define ALIGNMENT   16

struct arena_block {
    struct arena_block *older;
    size_t used;
    size_t size;
    _Alignas(ALIGNMENT) unsigned char data[];
};

void arena_init(struct arena *arena)
{
    arena->newest = NULL;
}

void arena_fini(struct arena *arena)
{
    while (arena->newest != NULL) {
        struct arena_block *older = arena->newest->older;
        free(arena->newest);
        arena->newest = older;
    }
}

void arena_reset(struct arena *arena)
{
    while (arena->newest != NULL && arena->newest->older != NULL) {
        struct arena_block *older = arena->newest->older;
        free(arena->newest);
        arena->newest = older;
    }
    if (arena->newest != NULL && arena->newest->size > BLOCK_BYTES)
        arena_fini(arena);
    else if (arena->newest != NULL)
        arena->newest->used = 0;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    struct arena_block *block = arena->newest;
    if (block == NULL || block->size - block->used < size) {
        size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
        block = malloc(sizeof *block + room);
        CHECK(block != NULL);
        *block = (struct arena_block){.older = arena->newest, .size = room};
        arena->newest = block;
    }
    void *piece = block->data + block->used;
    block->used += size;
    memset(piece, 0, size);
    return piece;
}

char *arena_copy(struct arena *arena, const void *data, size_t length)
{
    char *copy = arena_alloc(arena, length + 1);
    if (length > 0)
        memcpy(copy, data, length);
    return copy;
}

char *arena_text(struct arena *arena, const char *text)
{
    return arena_copy(arena, text, strlen(text));
}

struct bytes arena_bytes(struct arena *arena, struct bytes value)
{
    if (value.length >= 0)
        value.data = (const uint8_t *)arena_copy(arena, value.data, (size_t)value.length);
    return value;
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    CHECK(length >= 0);
    char *text = arena_alloc(arena, (size_t)length + 1);
    va_start(arguments, format);
    vsnprintf(text, (size_t)length + 1, format, arguments);
    va_end(arguments);
    return text;
}

void *arena_push(struct arena *arena, void **items, size_t *count, size_t size)
{
    /* The array is full exactly when count is zero or a power of two. */
    if ((*count & (*count - 1)) == 0) {
        size_t capacity = *count == 0 ? 1 : *count * 2;
        unsigned char *grown = arena_alloc(arena, capacity * size);
        if (*count > 0)
            memcpy(grown, *items, *count * size);
        *items = grown;
    }
    unsigned char *slot = (unsigned char *)*items + *count * size;
    (*count)++;
    return slot;
}
