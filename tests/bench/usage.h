/* What a process has used so far, out of /proc. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* CPU time of all its threads, user and system, in ns. false: there is no such process. */
bool usage_cpu_ns(pid_t pid, uint64_t *ns);
/* Largest resident set it ever had, in KiB; 0: unknown. */
uint64_t usage_peak_kib(pid_t pid);
