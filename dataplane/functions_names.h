/* How the markers that stand for function calls in prepared statements are named:
 * cloudgate_<type>_<number>. Private to functions.c and functions_prepared.c. */
#pragma once

#include <inttypes.h>

#define FUNCTIONS_MARKER_PREFIX "cloudgate_"
#define FUNCTIONS_MARKER_FORMAT FUNCTIONS_MARKER_PREFIX "%s_%" PRIu32
#define FUNCTIONS_NAME_MAX      48
