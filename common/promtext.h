/* Prometheus text exposition, format 0.0.4: the pieces both planes write their /metrics with.
 * Appends to a dynbuf; the caller checks its failed flag once at the end. Names and label texts are
 * the caller's own constants; label values that come from elsewhere go through
 * promtext_label_value. */
#pragma once

#include <stdint.h>

#include "common/dynbuf.h"

#define PROMTEXT_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* The HELP and TYPE lines of a family. type: "counter", "gauge" or "histogram". */
void promtext_family(struct dynbuf *out, const char *name, const char *type, const char *help);
/* One sample line. labels: `a="x",b="y"` without braces, or "". */
void promtext_sample(struct dynbuf *out, const char *name, const char *labels, int64_t value);
/* One sample of a duration, in seconds with as many decimals as needed. */
void promtext_seconds(struct dynbuf *out, const char *name, const char *labels,
                      uint64_t nanoseconds);
/* The bucket, sum and count lines of one histogram series. buckets: count + 1 numbers of
 * observations, not cumulative, the last one above all bounds; bounds: count upper bounds in
 * seconds, rising. */
void promtext_histogram(struct dynbuf *out, const char *name, const char *labels,
                        const uint64_t *buckets, const double *bounds, size_t count,
                        uint64_t sum_ns);
/* Appends text as the inside of a label value: backslash, quote and newline escaped. */
void promtext_label_value(struct dynbuf *out, const char *text);
/* The process_* families of this process, read from /proc/self; what cannot be read is left out. */
void promtext_process(struct dynbuf *out);
