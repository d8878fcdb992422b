/* Prometheus text exposition. Any thread; keeps no state. It must never print a number in a form
 * that depends on the locale, nor a label value unescaped. */
#include "common/promtext.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/clock.h"

void promtext_family(struct dynbuf *out, const char *name, const char *type, const char *help)
{
    dynbuf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void append_labels(struct dynbuf *out, const char *labels)
{
    if (labels[0] != '\0')
        dynbuf_printf(out, "{%s}", labels);
}

void promtext_sample(struct dynbuf *out, const char *name, const char *labels, int64_t value)
{
    dynbuf_append_text(out, name);
    append_labels(out, labels);
    dynbuf_printf(out, " %" PRId64 "\n", value);
}

static void append_seconds(struct dynbuf *out, uint64_t nanoseconds)
{
    uint64_t whole = nanoseconds / NS_PER_S;
    uint64_t fraction = nanoseconds % NS_PER_S;
    dynbuf_printf(out, "%" PRIu64, whole);
    if (fraction == 0)
        return;
    int digits = 9;
    for (; fraction % 10 == 0; fraction /= 10)
        digits--;
    dynbuf_printf(out, ".%0*" PRIu64, digits, fraction);
}

void promtext_seconds(struct dynbuf *out, const char *name, const char *labels,
                      uint64_t nanoseconds)
{
    dynbuf_append_text(out, name);
    append_labels(out, labels);
    dynbuf_append_text(out, " ");
    append_seconds(out, nanoseconds);
    dynbuf_append_text(out, "\n");
}

/* The shortest text that reads back as value, as Prometheus' own libraries write it: 0.001, 15,
 * 1e-05. Series are told apart by this text. */
static void append_bound(struct dynbuf *out, double value)
{
    char text[40];
    int precision = 0;
    do
        snprintf(text, sizeof text, "%.*e", precision, value);
    while (strtod(text, NULL) != value && ++precision < 17);
    const char *sign = strchr(text, 'e');
    int exponent = sign == NULL ? 0 : (int)strtol(sign + 1, NULL, 10);
    if (exponent < -4 || exponent >= 6)
        dynbuf_append_text(out, text);
    else
        dynbuf_printf(out, "%.*f", precision > exponent ? precision - exponent : 0, value);
}

void promtext_histogram(struct dynbuf *out, const char *name, const char *labels,
                        const uint64_t *buckets, const double *bounds, size_t count,
                        uint64_t sum_ns)
{
    const char *separator = labels[0] == '\0' ? "" : ",";
    uint64_t total = 0;
    for (size_t i = 0; i <= count; i++) {
        total += buckets[i];
        dynbuf_printf(out, "%s_bucket{%s%sle=\"", name, labels, separator);
        if (i < count)
            append_bound(out, bounds[i]);
        else
            dynbuf_append_text(out, "+Inf");
        dynbuf_printf(out, "\"} %" PRIu64 "\n", total);
    }
    dynbuf_printf(out, "%s_sum", name);
    append_labels(out, labels);
    dynbuf_append_text(out, " ");
    append_seconds(out, sum_ns);
    dynbuf_printf(out, "\n%s_count", name);
    append_labels(out, labels);
    dynbuf_printf(out, " %" PRIu64 "\n", total);
}

void promtext_label_value(struct dynbuf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\\' || *text == '"')
            dynbuf_append_text(out, "\\");
        if (*text == '\n')
            dynbuf_append_text(out, "\\n");
        else
            dynbuf_append(out, text, 1);
    }
}

struct process_facts {
    uint64_t cpu_ticks, start_ticks, virtual_bytes, resident_pages;
};

/* /proc/self/stat, fields 14, 15 (utime, stime), 22 (starttime), 23 (vsize) and 24 (rss), counted
 * from 1. */
static bool read_facts(struct process_facts *facts)
{
    char line[1024];
    FILE *file = fopen("/proc/self/stat", "re");
    if (file == NULL)
        return false;
    size_t length = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[length] = '\0';
    const char *after_name = strrchr(line, ')'); /* the name may hold spaces and parentheses */
    uint64_t user, system;
    if (after_name == NULL ||
        sscanf(after_name + 1,
               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
               " %*d %*d %*d %*d %*d %*d %" SCNu64 " %" SCNu64 " %" SCNu64,
               &user, &system, &facts->start_ticks, &facts->virtual_bytes,
               &facts->resident_pages) != 5)
        return false;
    facts->cpu_ticks = user + system;
    return true;
}

/* Seconds since the epoch at which the machine started; 0 when unknown. */
static uint64_t boot_time(void)
{
    FILE *file = fopen("/proc/stat", "re");
    if (file == NULL)
        return 0;
    char line[256];
    uint64_t seconds = 0;
    while (fgets(line, sizeof line, file) != NULL && sscanf(line, "btime %" SCNu64, &seconds) != 1)
        continue;
    fclose(file);
    return seconds;
}

static int64_t count_open_files(void)
{
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL)
        return -1;
    int64_t count = 0;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory))
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count - 1; /* the directory itself */
}

static void single(struct dynbuf *out, const char *name, const char *type, const char *help,
                   uint64_t value)
{
    promtext_family(out, name, type, help);
    promtext_sample(out, name, "", (int64_t)value);
}

void promtext_process(struct dynbuf *out)
{
    struct process_facts facts = {0};
    if (read_facts(&facts)) {
        uint64_t tick_ns = NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK);
        promtext_family(out, "process_cpu_seconds_total", "counter",
                        "Total user and system CPU time spent in seconds");
        promtext_seconds(out, "process_cpu_seconds_total", "", facts.cpu_ticks * tick_ns);
        single(out, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes",
               facts.resident_pages * (uint64_t)sysconf(_SC_PAGESIZE));
        single(out, "process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes",
               facts.virtual_bytes);
        uint64_t boot = boot_time();
        if (boot > 0) {
            promtext_family(out, "process_start_time_seconds", "gauge",
                            "Start time of the process since the Unix epoch in seconds");
            promtext_seconds(out, "process_start_time_seconds", "",
                             boot * NS_PER_S + facts.start_ticks * tick_ns);
        }
    }
    int64_t open_files = count_open_files();
    if (open_files >= 0)
        single(out, "process_open_fds", "gauge", "Number of open file descriptors",
               (uint64_t)open_files);
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        single(out, "process_max_fds", "gauge", "Maximum number of open file descriptors",
               limit.rlim_cur > INT64_MAX ? INT64_MAX : limit.rlim_cur);
}
