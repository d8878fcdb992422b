/* GET /api/v1/history: what the dashboard plots. On civetweb's threads; reads memory only. */
#include "common/clock.h"
#include "controlplane/http.h"

#define DEFAULT_SPAN_S 3600
#define FROM_MAX_MS    253402300799999ULL /* the end of the year 9999 */

/* The level whose step is asked for; without one the finest that reaches back to from_s. */
static bool find_level(const struct http_request *request, int64_t from_s, int64_t now_s,
                       size_t *level)
{
    unsigned long long step_s;
    if (!http_query_number(request, "step", 1, UINT32_MAX, 0, &step_s))
        return false;
    *level = history_level_for(from_s, now_s);
    if (step_s == 0)
        return true;
    for (*level = 0; *level < HISTORY_LEVELS; ++*level)
        if (history_step(*level) == step_s)
            return true;
    return false;
}

void api_get_history(const struct http_request *request, struct http_response *response)
{
    struct json_writer writer;
    unsigned long long from_ms;
    size_t level;
    int64_t now_s = clock_wall_ms() / 1000;
    int64_t from_s = now_s - DEFAULT_SPAN_S;
    if (!http_query_number(request, "from", 0, FROM_MAX_MS, (unsigned long long)from_s * 1000,
                           &from_ms)) {
        http_problem(response, 400, "from must be milliseconds since 1970", NULL);
        return;
    }
    from_s = (int64_t)(from_ms / 1000);
    if (!find_level(request, from_s, now_s, &level)) {
        http_problem(response, 400, "step must be 5, 60 or 900 (seconds)", NULL);
        return;
    }
    json_writer_init(&writer, &response->body);
    history_write(plane_history(request->plane), level, from_s, now_s, &writer);
}
