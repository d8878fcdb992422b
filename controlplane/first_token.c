/* Where the first admin token comes from. Main thread, at start. Must never put the token into the
 * log: a generated one goes to stdout, once. */
#include "controlplane/first_token.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"

#define FIRST_NAME "admin"

/* The first line of the file, without blanks at its end. */
static bool read_file(const char *path, char text[TOKEN_GIVEN_MAX + 2], char *error,
                      size_t error_size)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        snprintf(error, error_size, "CONTROL_ADMIN_TOKEN_FILE=\"%s\": cannot be read: %s", path,
                 strerror(errno));
        return false;
    }
    if (fgets(text, TOKEN_GIVEN_MAX + 2, file) == NULL)
        text[0] = '\0';
    fclose(file);
    text[strcspn(text, "\r\n")] = '\0';
    return true;
}

/* text is "" when none is configured. */
static bool read_given(const struct control_config *config, char text[TOKEN_GIVEN_MAX + 2],
                       char *error, size_t error_size)
{
    const char *name = "CONTROL_ADMIN_TOKEN";
    text[0] = '\0';
    if (config->admin_token[0] == '\0' && config->admin_token_file[0] == '\0')
        return true;
    if (config->admin_token[0] != '\0') {
        snprintf(text, TOKEN_GIVEN_MAX + 2, "%s", config->admin_token);
    } else {
        name = "CONTROL_ADMIN_TOKEN_FILE";
        if (!read_file(config->admin_token_file, text, error, error_size))
            return false;
    }
    const char *problem = token_given_problem(text, strlen(text));
    if (problem != NULL)
        snprintf(error, error_size, "%s: this is no token: %s", name, problem);
    return problem == NULL;
}

static void show(const char *text)
{
    printf(
        "\n"
        "  The first admin token of this control plane. It is shown this once and kept nowhere:\n"
        "\n"
        "      %s\n"
        "\n"
        "  Log in to the dashboard with it, or put it into CLOUDGATE_TOKEN for cloudgatectl.\n"
        "\n",
        text);
    fflush(stdout);
}

static void warn_unknown(struct tokens *tokens, const char *given)
{
    struct token_identity identity;
    if (tokens_find(tokens, given, strlen(given), "", clock_wall_ms(), &identity) != TOKENS_GOOD)
        LOG_WARN("admin_token_not_used",
                 "reason=\"this store has its tokens already; make new ones with cloudgatectl "
                 "tokens create, over the local socket if need be\"");
}

bool first_token(const struct control_config *config, struct tokens *tokens, bool has_none,
                 char *error, size_t error_size)
{
    char given[TOKEN_GIVEN_MAX + 2];
    char text[TOKEN_GIVEN_MAX + 1];
    struct token_row row = {.role = ROLE_ADMIN, .created_ms = clock_wall_ms()};
    struct store_actor actor = {.name = "cloudgate-control", .user_agent = ""};
    bool is_good = read_given(config, given, error, error_size);
    if (!has_none) {
        if (is_good && given[0] != '\0')
            warn_unknown(tokens, given);
        OPENSSL_cleanse(given, sizeof given);
        return true; /* a file that is gone since has done its work */
    }
    if (is_good) {
        snprintf(row.name, sizeof row.name, FIRST_NAME);
        is_good = tokens_create(tokens, &row, given[0] == '\0' ? NULL : given, &actor, text, error,
                                error_size) == TOKENS_GOOD;
        if (is_good)
            LOG_INFO("admin_token_created", "name=" FIRST_NAME " source=%s",
                     given[0] == '\0'                 ? "generated"
                     : config->admin_token[0] != '\0' ? "CONTROL_ADMIN_TOKEN"
                                                      : "CONTROL_ADMIN_TOKEN_FILE");
        if (is_good && given[0] == '\0')
            show(text);
        OPENSSL_cleanse(text, sizeof text);
    }
    OPENSSL_cleanse(given, sizeof given);
    return is_good;
}
