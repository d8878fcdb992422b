/* Reading just enough of a request to know whether it is there, and whether the web server would
 * see the same head as everybody else. Any thread. Must never take a request for right: whatever is
 * not refused here is for the web server to judge. */
#include "controlplane/front_hold.h"

#include <stdio.h>
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

/* What is wrong with one line below the request line, or NULL. */
static const char *line_fault(const uint8_t *line, size_t length)
{
    const uint8_t *colon = memchr(line, ':', length);
    if (line[0] == ' ' || line[0] == '\t')
        return "a header line begins with a blank: lines are not folded here";
    if (colon == NULL)
        return "a header line has no colon";
    if (colon == line)
        return "a header line has no name";
    if (colon[-1] == ' ' || colon[-1] == '\t')
        return "a blank stands between the name of a header and its colon";
    return NULL;
}

/* The request line must name a path: other forms of a target are for proxies, and the web server
 * would close without an answer. */
static const char *target_fault(const uint8_t *line, size_t length)
{
    const uint8_t *blank = memchr(line, ' ', length);
    if (length == 0)
        return "the request begins with an empty line";
    for (; blank != NULL && blank < line + length; blank++)
        if (*blank != ' ')
            return *blank == '/' ? NULL : "the request must name a path of this server: /...";
    return NULL;
}

static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};

#define METHODS_OF_ROUTES "GET, HEAD, POST, PUT, PATCH, DELETE"

static bool is_known_method(const uint8_t *line, size_t length)
{
    const uint8_t *blank = memchr(line, ' ', length);
    size_t size = blank == NULL ? length : (size_t)(blank - line);
    for (size_t i = 0; i < ARRAY_COUNT(methods); i++)
        if (strlen(methods[i]) == size && memcmp(line, methods[i], size) == 0)
            return true;
    return false;
}

/* Without CR and LF. */
static size_t line_length(const uint8_t *line, const uint8_t *feed)
{
    size_t length = (size_t)(feed - line);
    return length > 0 && line[length - 1] == '\r' ? length - 1 : length;
}

struct front_fault front_hold_fault(const uint8_t *data, size_t length)
{
    const uint8_t *end = data + length;
    const uint8_t *feed;
    unsigned lines = 0;
    for (const uint8_t *line = data; (feed = memchr(line, '\n', (size_t)(end - line))) != NULL;
         line = feed + 1) {
        size_t size = line_length(line, feed);
        if (lines > 0 && size == 0)
            break; /* the end of the head */
        const char *fault = lines == 0 ? target_fault(line, size) : line_fault(line, size);
        if (fault != NULL)
            return (struct front_fault){400, fault};
        if (lines == 0 && !is_known_method(line, size))
            return (struct front_fault){405, "no path here has this method; see the Allow header"};
        if (lines++ > FRONT_HOLD_LINES_MAX)
            return (struct front_fault){400, "the head of the request has more than 64 lines"};
    }
    return (struct front_fault){0, NULL};
}

size_t front_hold_answer(struct front_fault fault, char answer[FRONT_HOLD_ANSWER_MAX])
{
    char body[256];
    const char *title = fault.status == 405 ? "Method Not Allowed" : "Bad Request";
    const char *allow = fault.status == 405 ? "Allow: " METHODS_OF_ROUTES "\r\n" : "";
    int size = snprintf(body, sizeof body,
                        "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,"
                        "\"detail\":\"%s\"}",
                        title, fault.status, fault.detail);
    int length = snprintf(answer, FRONT_HOLD_ANSWER_MAX,
                          "HTTP/1.1 %d %s\r\n%sContent-Type: application/problem+json\r\n"
                          "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
                          "Content-Length: %d\r\nConnection: close\r\n\r\n%s",
                          fault.status, title, allow, size, body);
    CHECK(size < (int)sizeof body && length < FRONT_HOLD_ANSWER_MAX);
    return (size_t)length;
}
