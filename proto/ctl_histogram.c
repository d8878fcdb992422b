/* Histogram texts, strictly: what a peer sends is measured before it is kept. Pure; any thread. */
#include "proto/ctl_histogram.h"

#include <stdio.h>
#include <string.h>

#define DIGITS_MAX 18 /* of what a peer may send: no overflow */

void ctl_histogram_print(const struct ctl_histogram *histogram, char *text, size_t size)
{
    size_t used = 0;
    CHECK(size > CTL_HISTOGRAM_TEXT_MAX);
    text[0] = '\0';
    for (size_t i = 0; i < histogram->count && used < size; i++) {
        char bound[24] = "inf";
        if (histogram->buckets[i].bound_us != UINT64_MAX)
            snprintf(bound, sizeof bound, "%llu",
                     (unsigned long long)histogram->buckets[i].bound_us);
        used += (size_t)snprintf(text + used, size - used, "%s%s:%llu", i == 0 ? "" : " ", bound,
                                 (unsigned long long)histogram->buckets[i].total);
    }
    if (used > CTL_HISTOGRAM_TEXT_MAX)
        text[0] = '\0'; /* a part of it would be something else */
}

static bool read_number(const char **text, uint64_t *number)
{
    size_t digits = strspn(*text, "0123456789");
    if (digits == 0 || digits > DIGITS_MAX)
        return false;
    *number = 0;
    for (size_t i = 0; i < digits; i++)
        *number = *number * 10 + (uint64_t)((*text)[i] - '0');
    *text += digits;
    return true;
}

static bool read_bound(const char **text, uint64_t *bound_us)
{
    if (strncmp(*text, "inf", 3) != 0)
        return read_number(text, bound_us);
    *bound_us = UINT64_MAX;
    *text += 3;
    return true;
}

bool ctl_histogram_parse(const char *text, struct ctl_histogram *histogram)
{
    uint64_t before = 0;
    histogram->count = 0;
    if (text[0] == '\0')
        return true;
    for (;;) {
        if (histogram->count == CTL_HISTOGRAM_BUCKETS_MAX)
            return false;
        uint64_t bound_us, total;
        if (!read_bound(&text, &bound_us) || *text++ != ':' || !read_number(&text, &total) ||
            bound_us <= before)
            return false;
        histogram->buckets[histogram->count].bound_us = bound_us;
        histogram->buckets[histogram->count].total = total;
        histogram->count++;
        before = bound_us;
        if (*text == '\0')
            return bound_us == UINT64_MAX;
        if (*text++ != ' ')
            return false;
    }
}
