/* GET /api/v1/events: server-sent events. Each stream holds one of civetweb's threads, so their
 * number is capped, every wait is short, and a comment each 10 s finds out whether the client is
 * still there. */
#include "common/clock.h"
#include "controlplane/http.h"

#define WAIT_MS      1000
#define HEARTBEAT_MS 10000
#define BURST_MAX    (2u * 1024u * 1024u)

/* Everything a page needs to begin (or to begin again), as one event. */
static void write_full_state(const struct http_request *request, uint64_t number,
                             struct dynbuf *out)
{
    struct routing_state state;
    struct json_writer writer;
    store_read(plane_store(request->plane), &state);
    dynbuf_printf(out, "retry: 2000\nid: %llu\nevent: state\ndata: ", (unsigned long long)number);
    json_writer_init(&writer, out);
    json_begin_object(&writer);
    json_write_name(&writer, "routing");
    routing_write_object(&state, &writer);
    json_write_name(&writer, "settings");
    routing_write_settings_object(&state, &writer);
    json_write_name(&writer, "dataplanes");
    fleet_write(plane_fleet(request->plane), &state, &writer);
    json_end_object(&writer);
    dynbuf_append_text(out, "\n\n");
}

void api_get_events(const struct http_request *request, struct http_response *response)
{
    struct events *events = plane_events(request->plane);
    struct dynbuf out;
    if (request->method[0] == 'H') { /* HEAD: a stream has no end to measure */
        response->content_type = "text/event-stream";
        return;
    }
    if (!http_stream_begin(request, response))
        return;
    dynbuf_init(&out, BURST_MAX);
    uint64_t cursor = events_newest(events); /* before the state is read: nothing falls between */
    uint64_t sent_ns = clock_now_ns();
    bool is_live = true;
    write_full_state(request, cursor, &out);
    while (is_live && access_is_still_good(request->access, request->caller) &&
           http_stream_send(request, &out)) {
        if (out.length > 0)
            sent_ns = clock_now_ns();
        dynbuf_reset(&out);
        switch (events_read(events, &cursor, WAIT_MS, &out)) {
        case EVENTS_LOST:
            write_full_state(request, cursor, &out);
            break;
        case EVENTS_ENDED:
            is_live = false;
            break;
        case EVENTS_SOME:
        case EVENTS_NONE:
            break;
        }
        if (out.length == 0 && clock_now_ns() - sent_ns >= HEARTBEAT_MS * NS_PER_MS)
            dynbuf_append_text(&out, ": still here\n\n");
    }
    dynbuf_fini(&out);
    http_stream_end(request, response);
}
