/* Items of the comma-separated lists that settings are made of. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* The next item of the list at *at, without surrounding blanks, empty items left out. false at the
 * end. item receives a copy; one that does not fit size is given empty. */
static inline bool text_list_next(const char **at, char *item, size_t size)
{
    const char *start = *at + strspn(*at, ", \t");
    size_t length = strcspn(start, ",");
    *at = start + length;
    if (length == 0)
        return false;
    while (start[length - 1] == ' ' || start[length - 1] == '\t')
        length--;
    if (length >= size)
        length = 0;
    memcpy(item, start, length);
    item[length] = '\0';
    return true;
}
