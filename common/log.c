/* The log: key=value lines on stderr. Any thread may call it; it holds no lock, since one line is
 * one write(2). */
#include "common/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

static const char *program_name = "cloudgate";
static _Atomic(enum log_level) threshold = LOG_LEVEL_INFO;

static const char *const level_names[] = {"debug", "info", "warning", "error"};

void log_init(const char *program, enum log_level level)
{
    program_name = program;
    log_set_level(level);
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&threshold, level, memory_order_relaxed);
}

static const char *const level_words[] = {[LOG_LEVEL_DEBUG] = "DEBUG",
                                          [LOG_LEVEL_INFO] = "INFO",
                                          [LOG_LEVEL_WARN] = "WARN",
                                          [LOG_LEVEL_ERROR] = "ERROR"};

const char *log_level_name(enum log_level level)
{
    return level_words[level];
}

static bool find_level(const char *text, int (*compare)(const char *, const char *),
                       enum log_level *level)
{
    for (size_t i = 0; i < ARRAY_COUNT(level_words); i++) {
        if (compare(level_words[i], text) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

bool log_level_named(const char *text, enum log_level *level)
{
    return find_level(text, strcmp, level);
}

bool log_level_parse(const char *text, enum log_level *level)
{
    static const struct {
        const char *word;
        enum log_level level;
    } others[] = {{"PANIC", LOG_LEVEL_ERROR},
                  {"FATAL", LOG_LEVEL_ERROR},
                  {"WARNING", LOG_LEVEL_WARN},
                  {"TRACE", LOG_LEVEL_DEBUG}};
    if (find_level(text, strcasecmp, level))
        return true;
    for (size_t i = 0; i < ARRAY_COUNT(others); i++) {
        if (strcasecmp(text, others[i].word) == 0) {
            *level = others[i].level;
            return true;
        }
    }
    return false;
}

bool log_enabled(enum log_level level)
{
    return level >= atomic_load_explicit(&threshold, memory_order_relaxed);
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
    if (!log_enabled(level))
        return;
    char line[LINE_MAX_BYTES];
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    size_t used = strftime(line, sizeof line, "time=%Y-%m-%dT%H:%M:%S", &parts);
    int wrote = snprintf(line + used, sizeof line - used, ".%03ldZ level=%s program=%s event=%s",
                         now.tv_nsec / 1000000, level_names[level], program_name, event);
    used += (size_t)wrote;
    if (format[0] != '\0' && used < sizeof line - 2) {
        line[used++] = ' ';
        va_list arguments;
        va_start(arguments, format);
        wrote = vsnprintf(line + used, sizeof line - used - 1, format, arguments);
        va_end(arguments);
        if (wrote > 0) {
            size_t room = sizeof line - used - 2;
            used += (size_t)wrote < room ? (size_t)wrote : room;
        }
    }
    line[used++] = '\n';
    /* A full or closed stderr must not stop the program: the line is lost, the work goes on. */
    ssize_t ignored = write(STDERR_FILENO, line, used);
    (void)ignored;
}

const char *log_quote(char *buffer, size_t size, const char *text, size_t length)
{
    static const char hex[] = "0123456789abcdef";
    size_t used = 0;
    CHECK(size >= 8);
    buffer[used++] = '"';
    for (size_t i = 0; i < length && used + 6 < size; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte == '"' || byte == '\\') {
            buffer[used++] = '\\';
            buffer[used++] = (char)byte;
        } else if (byte < 0x20 || byte > 0x7e) {
            buffer[used++] = '\\';
            buffer[used++] = 'x';
            buffer[used++] = hex[byte >> 4];
            buffer[used++] = hex[byte & 15];
        } else {
            buffer[used++] = (char)byte;
        }
    }
    buffer[used++] = '"';
    buffer[used] = '\0';
    return buffer;
}
