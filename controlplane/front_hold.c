/* Reading just enough of a request to know whether it is there. Any thread. Must never decide
 * anything but to wait: whatever is unclear goes through. */
#include "controlplane/front_hold.h"

#include <string.h>
#include <strings.h>

/* The number of bytes up to and with the empty line, or 0: it has not come. */
static size_t head_length(const uint8_t *data, size_t length)
{
    for (size_t i = 0; i + 1 < length; i++) {
        if (data[i] != '\n')
            continue;
        if (data[i + 1] == '\n')
            return i + 2;
        if (i + 2 < length && data[i + 1] == '\r' && data[i + 2] == '\n')
            return i + 3;
    }
    return 0;
}

/* The text behind "\nname:" in the head, or NULL. */
static const uint8_t *find_header(const uint8_t *data, size_t length, const char *name)
{
    size_t name_length = strlen(name);
    for (size_t i = 0; i + name_length + 1 < length; i++)
        if (data[i] == '\n' && strncasecmp((const char *)data + i + 1, name, name_length) == 0)
            return data + i + 1 + name_length;
    return NULL;
}

bool front_hold_is_over(const uint8_t *data, size_t length, size_t capacity)
{
    size_t head = head_length(data, length);
    size_t body = 0;
    if (length >= capacity)
        return true;
    if (head == 0)
        return false;
    const uint8_t *announced = find_header(data, head, "content-length:");
    if (announced == NULL || find_header(data, head, "expect:") != NULL)
        return true;
    while (*announced == ' ' || *announced == '\t')
        announced++;
    for (; *announced >= '0' && *announced <= '9' && body < capacity; announced++)
        body = body * 10 + (size_t)(*announced - '0'); /* the head ends with a line break */
    return length - head >= body;
}
