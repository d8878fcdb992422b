/* Filling in a refusal. Pure; the text is cut to fit, never more. */
#include "failure.h"

#include <stdarg.h>
#include <stdio.h>

bool failure_set(struct failure *failure, enum cql_error code, const char *format, ...)
{
    failure->code = code;
    failure->keyspace[0] = '\0';
    failure->table[0] = '\0';
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(failure->message, sizeof failure->message, format, arguments);
    va_end(arguments);
    return false;
}
