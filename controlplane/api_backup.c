/* POST /api/v1/backup: a copy of the store as a file. It holds the hashes of tokens and the whole
 * audit log, so it is for administrators, and leaves an audit row. On civetweb's threads; changes
 * go on while it is made and sent. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "controlplane/http.h"

#define PIECE 65536

/* false: the client is gone, or the file cannot be read. */
static bool send_file(const struct http_request *request, int fd, uint64_t bytes)
{
    char *piece = malloc(PIECE); /* the stacks of these threads are small */
    bool good = piece != NULL;
    while (good && bytes > 0) {
        ssize_t got = read(fd, piece, PIECE);
        good = got > 0 && (uint64_t)got <= bytes && !plane_is_closing(request->plane) &&
               http_download_send(request, piece, (size_t)got);
        bytes -= good ? (uint64_t)got : 0;
    }
    free(piece);
    return good;
}

void api_post_backup(const struct http_request *request, struct http_response *response)
{
    char error[700], quoted[1500], stamp[32], disposition[100], agent[HTTP_AGENT_SIZE];
    int fd;
    uint64_t bytes;
    bool is_busy;
    struct tm parts;
    time_t now = time(NULL);
    struct dynbuf body;
    dynbuf_init(&body, HTTP_BODY_MAX);
    bool good = http_read_body(request, &body, response); /* nothing is wanted of it */
    dynbuf_fini(&body);
    if (!good)
        return;
    struct store_actor actor = http_actor(request, agent);
    if (!store_backup(plane_store(request->plane), &actor, &fd, &bytes, &is_busy, error,
                      sizeof error)) {
        LOG_ERROR("backup_failed", "reason=%s",
                  log_quote(quoted, sizeof quoted, error, strlen(error)));
        http_problem(response, 503, error, NULL);
        http_add_header(response, "Retry-After", "5");
        return;
    }
    gmtime_r(&now, &parts);
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &parts);
    snprintf(disposition, sizeof disposition, "attachment; filename=\"cloudgate-control-%s.db\"",
             stamp);
    http_add_header(response, "Content-Disposition", disposition);
    if (http_download_begin(request, response, "application/vnd.sqlite3", (int64_t)bytes)) {
        good = send_file(request, fd, bytes);
        http_download_end(request, good);
        LOG_INFO("backup_sent", "bytes=%" PRIu64 " whole=%s", bytes, good ? "true" : "false");
    }
    close(fd);
}
