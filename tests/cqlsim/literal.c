/* Constants to bytes: numbers of any width, dates, times, addresses. Pure. Digits are limited
 * before the quadratic big-number conversion so that no literal can hold the server up. */
#include "literal.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "wire.h"

#define MAX_DIGITS 2000

static const char *const kind_names[] = {"STRING", "INTEGER", "FLOAT", "BOOLEAN", "UUID", "HEX"};

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool literal_parse_uuid(const char *text, uint8_t *uuid)
{
    size_t filled = 0;
    for (size_t i = 0; i < 36; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (text[i] != '-')
                return false;
            continue;
        }
        int high = hex_digit(text[i]);
        int low = high < 0 ? -1 : hex_digit(text[i + 1]);
        if (low < 0)
            return false;
        uuid[filled++] = (uint8_t)(high << 4 | low);
        i++;
    }
    return text[36] == '\0';
}

void literal_print_uuid(char text[37], const uint8_t *uuid)
{
    size_t at = 0;
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            text[at++] = '-';
        text[at++] = "0123456789abcdef"[uuid[i] >> 4];
        text[at++] = "0123456789abcdef"[uuid[i] & 15];
    }
    text[at] = '\0';
}

/* Digits with an optional sign, at most MAX_DIGITS of them, to the shortest two's complement. */
static bool parse_varint(struct arena *arena, const char *digits, size_t count, bool negative,
                         struct bytes *value)
{
    if (count == 0 || count > MAX_DIGITS)
        return false;
    size_t size = count / 2 + 2;
    uint8_t *bytes = arena_alloc(arena, size);
    for (size_t i = 0; i < count; i++) {
        if (!isdigit((unsigned char)digits[i]))
            return false;
        unsigned carry = (unsigned)(digits[i] - '0');
        for (size_t j = size; j-- > 0;) {
            carry += bytes[j] * 10U;
            bytes[j] = (uint8_t)carry;
            carry >>= 8;
        }
    }
    if (negative) {
        unsigned carry = 1;
        for (size_t j = size; j-- > 0;) {
            carry += (uint8_t)~bytes[j];
            bytes[j] = (uint8_t)carry;
            carry >>= 8;
        }
    }
    size_t skip = 0;
    while (skip + 1 < size && ((bytes[skip] == 0 && bytes[skip + 1] < 0x80) ||
                               (bytes[skip] == 0xFF && bytes[skip + 1] >= 0x80)))
        skip++;
    *value = bytes_of(bytes + skip, size - skip);
    return true;
}

void literal_print_varint(struct dynbuf *out, struct bytes value)
{
    if (value.length <= 0 || value.length > MAX_DIGITS) {
        dynbuf_append_text(out, "0");
        return;
    }
    uint8_t bytes[MAX_DIGITS];
    size_t size = (size_t)value.length;
    bool negative = value.data[0] >= 0x80;
    unsigned carry = 1;
    for (size_t i = size; i-- > 0;) {
        carry += negative ? (uint8_t)~value.data[i] : 0U;
        bytes[i] = negative ? (uint8_t)carry : value.data[i];
        carry >>= 8;
    }
    char digits[MAX_DIGITS * 3];
    size_t at = sizeof digits;
    size_t start = 0;
    do {
        unsigned rest = 0;
        for (size_t i = start; i < size; i++) {
            rest = rest << 8 | bytes[i];
            bytes[i] = (uint8_t)(rest / 10);
            rest %= 10;
        }
        while (start < size && bytes[start] == 0)
            start++;
        digits[--at] = (char)('0' + rest);
    } while (start < size);
    if (negative)
        digits[--at] = '-';
    dynbuf_append(out, digits + at, sizeof digits - at);
}

/* Sign, digits with one optional point, optional exponent. */
static bool parse_decimal(struct arena *arena, const char *text, struct bytes *value)
{
    bool negative = *text == '-';
    if (*text == '-' || *text == '+')
        text++;
    char digits[MAX_DIGITS];
    size_t count = 0;
    long scale = 0;
    bool point = false;
    for (; isdigit((unsigned char)*text) || (*text == '.' && !point); text++) {
        if (*text == '.') {
            point = true;
            continue;
        }
        if (count == sizeof digits)
            return false;
        digits[count++] = *text;
        scale += point;
    }
    if (*text == 'e' || *text == 'E') {
        char *end;
        long exponent = strtol(text + 1, &end, 10);
        if (end == text + 1 || labs(exponent) > 1000000)
            return false;
        scale -= exponent;
        text = end;
    }
    struct bytes unscaled;
    if (*text != '\0' || !parse_varint(arena, digits, count, negative, &unscaled))
        return false;
    uint8_t *bytes = arena_alloc(arena, 4 + (size_t)unscaled.length);
    wire_store_i32(bytes, (int32_t)scale);
    memcpy(bytes + 4, unscaled.data, (size_t)unscaled.length);
    *value = bytes_of(bytes, 4 + (size_t)unscaled.length);
    return true;
}

static bool parse_i64(const char *text, int64_t low, int64_t high, int64_t *number)
{
    char *end;
    errno = 0;
    long long parsed = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || parsed < low || parsed > high)
        return false;
    *number = parsed;
    return true;
}

static bool digits(const char **at, int count, int *number)
{
    *number = 0;
    for (int i = 0; i < count; i++) {
        if (!isdigit((unsigned char)**at))
            return false;
        *number = *number * 10 + (*(*at)++ - '0');
    }
    return true;
}

static bool parse_day(const char **at, int64_t *day)
{
    struct tm parts = {0};
    bool negative = **at == '-';
    *at += negative;
    int year, month, date;
    if (!digits(at, 4, &year) || *(*at)++ != '-' || !digits(at, 2, &month) || *(*at)++ != '-' ||
        !digits(at, 2, &date) || month < 1 || month > 12 || date < 1 || date > 31)
        return false;
    parts.tm_year = (negative ? -year : year) - 1900;
    parts.tm_mon = month - 1;
    parts.tm_mday = date;
    time_t seconds = timegm(&parts);
    *day = seconds / 86400 - (seconds % 86400 < 0);
    return parts.tm_mday == date;
}

/* HH:MM[:SS[.fraction]] as nanoseconds of the day. */
static bool parse_clock(const char **at, int64_t *ns)
{
    int hour, minute, second = 0;
    if (!digits(at, 2, &hour) || *(*at)++ != ':' || !digits(at, 2, &minute) || hour > 23 ||
        minute > 59)
        return false;
    int64_t fraction = 0;
    if (**at == ':') {
        (*at)++;
        if (!digits(at, 2, &second) || second > 59)
            return false;
        if (**at == '.') {
            (*at)++;
            int64_t unit = 100000000;
            if (!isdigit((unsigned char)**at))
                return false;
            for (; isdigit((unsigned char)**at) && unit > 0; unit /= 10)
                fraction += unit * (*(*at)++ - '0');
        }
    }
    *ns = ((int64_t)hour * 3600 + minute * 60 + second) * 1000000000 + fraction;
    return true;
}

/* yyyy-mm-dd[(T| )HH:MM[:SS[.fff]]][Z|+HHMM|+HH:MM] as milliseconds since the epoch, UTC when no
 * zone is given. */
static bool parse_instant(const char *at, int64_t *ms)
{
    int64_t day;
    int64_t clock_ns = 0;
    if (!parse_day(&at, &day))
        return false;
    if ((*at == 'T' || *at == ' ') && isdigit((unsigned char)at[1])) {
        at++;
        if (!parse_clock(&at, &clock_ns))
            return false;
    }
    while (*at == ' ')
        at++;
    int zone_minutes = 0;
    if (*at == 'Z' || strcmp(at, "UTC") == 0 || strcmp(at, "GMT") == 0) {
        at += *at == 'Z' ? 1 : 3;
    } else if (*at == '+' || *at == '-') {
        bool negative = *at++ == '-';
        int hours, minutes = 0;
        if (!digits(&at, 2, &hours))
            return false;
        at += *at == ':';
        if (*at != '\0' && !digits(&at, 2, &minutes))
            return false;
        zone_minutes = (hours * 60 + minutes) * (negative ? -1 : 1);
    }
    *ms = day * 86400000 + clock_ns / 1000000 - (int64_t)zone_minutes * 60000;
    return *at == '\0';
}

static struct bytes store_i64(struct arena *arena, int64_t number, size_t width)
{
    uint8_t full[8];
    wire_store_i64(full, number);
    return bytes_of(arena_copy(arena, full + 8 - width, width), width);
}

static bool integer_value(struct arena *arena, const char *text, size_t width, struct bytes *value)
{
    int64_t high = width == 8 ? INT64_MAX : (INT64_C(1) << (8 * width - 1)) - 1;
    int64_t number;
    if (!parse_i64(text, -high - 1, high, &number))
        return false;
    *value = store_i64(arena, number, width);
    return true;
}

static bool floating_value(struct arena *arena, const char *text, enum type_id id,
                           struct bytes *value)
{
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end != '\0')
        return false;
    uint8_t bytes[8];
    if (id == TYPE_FLOAT) {
        float narrow = (float)number;
        int32_t bits;
        memcpy(&bits, &narrow, sizeof bits);
        wire_store_i32(bytes, bits);
        *value = bytes_of(arena_copy(arena, bytes, 4), 4);
        return true;
    }
    int64_t bits;
    memcpy(&bits, &number, sizeof bits);
    *value = store_i64(arena, bits, 8);
    return true;
}

static bool inet_value(struct arena *arena, const char *text, struct bytes *value)
{
    uint8_t address[16];
    if (inet_pton(AF_INET, text, address) == 1)
        *value = bytes_of(arena_copy(arena, address, 4), 4);
    else if (inet_pton(AF_INET6, text, address) == 1)
        *value = bytes_of(arena_copy(arena, address, 16), 16);
    else
        return false;
    return true;
}

static bool hex_value(struct arena *arena, struct bytes text, struct bytes *value)
{
    if (text.length % 2 != 0)
        return false;
    uint8_t *bytes = arena_alloc(arena, (size_t)text.length / 2);
    for (int32_t i = 2; i + 1 < text.length; i += 2)
        bytes[i / 2 - 1] =
            (uint8_t)(hex_digit((char)text.data[i]) << 4 | hex_digit((char)text.data[i + 1]));
    *value = bytes_of(bytes, (size_t)text.length / 2 - 1);
    return true;
}

static bool date_value(struct arena *arena, enum literal_kind kind, const char *text,
                       struct bytes *value)
{
    int64_t number;
    if (kind == LITERAL_STRING) {
        const char *at = text;
        if (!parse_day(&at, &number) || *at != '\0')
            return false;
        number += INT64_C(1) << 31;
    } else if (!parse_i64(text, 0, UINT32_MAX, &number)) {
        return false;
    }
    *value = store_i64(arena, number, 4);
    return true;
}

static bool time_value(struct arena *arena, enum literal_kind kind, const char *text,
                       struct bytes *value)
{
    int64_t number;
    const char *at = text;
    if (kind == LITERAL_STRING ? !parse_clock(&at, &number) || *at != '\0'
                               : !parse_i64(text, 0, INT64_C(86399999999999), &number))
        return false;
    *value = store_i64(arena, number, 8);
    return true;
}

/* Which kinds of constants a type takes: bits by literal_kind. */
static unsigned accepted_kinds(enum type_id id)
{
    switch (id) {
    case TYPE_ASCII:
    case TYPE_TEXT:
    case TYPE_INET:
        return 1U << LITERAL_STRING;
    case TYPE_BLOB:
        return 1U << LITERAL_HEX;
    case TYPE_BOOLEAN:
        return 1U << LITERAL_BOOLEAN;
    case TYPE_UUID:
    case TYPE_TIMEUUID:
        return 1U << LITERAL_UUID;
    case TYPE_TIMESTAMP:
    case TYPE_DATE:
    case TYPE_TIME:
        return 1U << LITERAL_STRING | 1U << LITERAL_INTEGER;
    case TYPE_DECIMAL:
    case TYPE_DOUBLE:
    case TYPE_FLOAT:
        return 1U << LITERAL_INTEGER | 1U << LITERAL_FLOAT;
    default:
        return 1U << LITERAL_INTEGER;
    }
}

static bool convert(struct arena *arena, enum literal_kind kind, struct bytes bytes,
                    const struct cql_type *type, struct bytes *value)
{
    const char *text = (const char *)bytes.data;
    int64_t number;
    uint8_t uuid[16];
    switch (type->id) {
    case TYPE_BIGINT:
    case TYPE_COUNTER:
        return integer_value(arena, text, 8, value);
    case TYPE_INT:
        return integer_value(arena, text, 4, value);
    case TYPE_SMALLINT:
        return integer_value(arena, text, 2, value);
    case TYPE_TINYINT:
        return integer_value(arena, text, 1, value);
    case TYPE_VARINT:
        return parse_varint(arena, text + (*text == '-'), strlen(text) - (*text == '-'),
                            *text == '-', value);
    case TYPE_DECIMAL:
        return parse_decimal(arena, text, value);
    case TYPE_DOUBLE:
    case TYPE_FLOAT:
        return floating_value(arena, text, type->id, value);
    case TYPE_BOOLEAN:
        *value =
            bytes_of(arena_copy(arena, tolower((unsigned char)*text) == 't' ? "\1" : "\0", 1), 1);
        return true;
    case TYPE_UUID:
    case TYPE_TIMEUUID:
        if (!literal_parse_uuid(text, uuid))
            return false;
        *value = bytes_of(arena_copy(arena, uuid, 16), 16);
        return true;
    case TYPE_BLOB:
        return hex_value(arena, bytes, value);
    case TYPE_INET:
        return inet_value(arena, text, value);
    case TYPE_TIMESTAMP:
        if (kind == LITERAL_INTEGER)
            return integer_value(arena, text, 8, value);
        if (!parse_instant(text, &number))
            return false;
        *value = store_i64(arena, number, 8);
        return true;
    case TYPE_DATE:
        return date_value(arena, kind, text, value);
    case TYPE_TIME:
        return time_value(arena, kind, text, value);
    default:
        *value = bytes;
        return true;
    }
}

bool literal_to_value(struct arena *arena, enum literal_kind kind, struct bytes text,
                      const struct cql_type *type, const char *column, struct bytes *value,
                      struct failure *failure)
{
    bool fits = type_is_native(type) && (accepted_kinds(type->id) >> kind & 1) != 0;
    if (!fits) {
        const char *quote = kind == LITERAL_STRING ? "'" : "";
        return INVALID(failure, "Invalid %s constant (%s%.100s%s) for \"%s\" of type %s",
                       kind_names[kind], quote, (const char *)text.data, quote, column,
                       type_text(arena, type));
    }
    if (!convert(arena, kind, text, type, value))
        return INVALID(failure, "Unable to make %s from '%.100s'", type_text(arena, type),
                       (const char *)text.data);
    return type_validate(type, *value, failure);
}
