/* CPU time by the scheduler's own books (schedstat, ns), or in ticks where the kernel keeps none.
 * Called twice a measurement. Must never be called while a measurement runs: it walks directories.
 */
#include "tests/bench/usage.h"

#include <ctype.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"

static bool read_text(char *text, size_t room, const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    size_t length = fread(text, 1, room - 1, file);
    fclose(file);
    text[length] = '\0';
    return length > 0;
}

/* User and system time are the 14th and 15th field; the second, in brackets, may hold spaces. */
static uint64_t ticks_ns(const char *stat)
{
    const char *at = strrchr(stat, ')');
    for (int field = 2; at != NULL && field < 14; field++) {
        at = strchr(at, ' ');
        at = at == NULL ? NULL : at + 1;
    }
    if (at == NULL)
        return 0;
    char *end = NULL;
    uint64_t ticks = strtoull(at, &end, 10);
    ticks += strtoull(end, NULL, 10);
    return ticks * (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
}

static uint64_t thread_ns(pid_t pid, const char *thread)
{
    char path[128], text[1024];
    snprintf(path, sizeof path, "/proc/%d/task/%.20s/schedstat", (int)pid, thread);
    if (read_text(text, sizeof text, path))
        return strtoull(text, NULL, 10);
    snprintf(path, sizeof path, "/proc/%d/task/%.20s/stat", (int)pid, thread);
    return read_text(text, sizeof text, path) ? ticks_ns(text) : 0;
}

bool usage_cpu_ns(pid_t pid, uint64_t *ns)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *threads = opendir(path);
    if (threads == NULL)
        return false;
    *ns = 0;
    struct dirent *entry;
    while ((entry = readdir(threads)) != NULL)
        if (isdigit((unsigned char)entry->d_name[0]))
            *ns += thread_ns(pid, entry->d_name);
    closedir(threads);
    return true;
}

uint64_t usage_peak_kib(pid_t pid)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if (!read_text(text, sizeof text, path))
        return 0;
    const char *line = strstr(text, "VmHWM:");
    return line == NULL ? 0 : strtoull(line + strlen("VmHWM:"), NULL, 10);
}
