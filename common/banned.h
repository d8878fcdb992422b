/* Calls this code base does without, because each has a bounded counterpart: any mention fails to
 * compile. The build puts this file in front of every source file, so it first includes the
 * standard headers that declare (or, by macros, use) these names. */
#pragma once

#include <alloca.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#undef alloca
#undef sprintf
#undef strcat
#undef strcpy
#undef strtok
#undef vsprintf

#pragma GCC poison alloca gets sprintf strcat strcpy strtok vsprintf
