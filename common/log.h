/* One line an event, on stderr:  time=… level=info program=… event=session_closed key=value …
 *
 * Callers give an event name and a printf format of key=value pairs; text that comes from outside
 * goes through log_quote. Never pass a credential or a bound value: there is no redaction here, by
 * design. Thread-safe: a line is one write(2). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/check.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/* Once, before threads start. program is kept by reference. */
void log_init(const char *program, enum log_level level);

/* From now on lines of at least this level are written. Any thread, at any time. */
void log_set_level(enum log_level level);

/* Reads PANIC, FATAL, ERROR, WARN, WARNING, INFO, DEBUG, TRACE in any case (the names zdm-proxy
 * takes); false when text is none of them. PANIC and FATAL mean ERROR here, TRACE means DEBUG. */
MUST_CHECK bool log_level_parse(const char *text, enum log_level *level);
/* The word for a level where it is written: ERROR, WARN, INFO or DEBUG. */
const char *log_level_name(enum log_level level);
/* Reads one of just those four words; false when text is none of them. */
MUST_CHECK bool log_level_named(const char *text, enum log_level *level);
bool log_enabled(enum log_level level);

/* Writes one line. format may be "". */
void log_event(enum log_level level, const char *event, const char *format, ...) PRINTF_LIKE(3, 4);

#define LOG_DEBUG(...)                                                                             \
    (log_enabled(LOG_LEVEL_DEBUG) ? log_event(LOG_LEVEL_DEBUG, __VA_ARGS__) : (void)0)
#define LOG_INFO(...)                                                                              \
    (log_enabled(LOG_LEVEL_INFO) ? log_event(LOG_LEVEL_INFO, __VA_ARGS__) : (void)0)
#define LOG_WARN(...)                                                                              \
    (log_enabled(LOG_LEVEL_WARN) ? log_event(LOG_LEVEL_WARN, __VA_ARGS__) : (void)0)
#define LOG_ERROR(...) log_event(LOG_LEVEL_ERROR, __VA_ARGS__)

/* Quotes text as a logfmt value into buffer (always terminated, cut to fit) and returns buffer.
 * Control characters, quotes and bytes above 0x7e become escapes, so that a peer cannot forge a
 * line. */
const char *log_quote(char *buffer, size_t size, const char *text, size_t length);
