/* Secure-connect bundles: reading the zip, and reading what the metadata service answers. Called on
 * the main thread and by bundle_fetch's; knows no network. Nothing that a file or a peer says is
 * believed before it is bounded. */
#include "dataplane/bundle_data.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zip.h>

#include "common/json.h"

#define ZIP_BYTES_MAX   ((off_t)4 * 1024 * 1024)
#define ENTRY_BYTES_MAX ((zip_uint64_t)256 * 1024)
#define JSON_VALUES_MAX 4096
#define CONTACTS_MAX    1024

/* ---- the zip ---- */

static bool read_entry(zip_t *zip, const char *path, const char *name, struct bundle_text *text,
                       struct dynbuf *error)
{
    zip_stat_t facts;
    zip_stat_init(&facts);
    if (zip_stat(zip, name, 0, &facts) != 0 || (facts.valid & ZIP_STAT_SIZE) == 0) {
        dynbuf_printf(error, "%s is no secure-connect bundle: it has no %s", path, name);
        return false;
    }
    if (facts.size > ENTRY_BYTES_MAX) {
        dynbuf_printf(error, "%s is no secure-connect bundle: its %s is larger than 256 KiB", path,
                      name);
        return false;
    }
    zip_file_t *file = zip_fopen(zip, name, 0);
    text->bytes = calloc(1, (size_t)facts.size + 1);
    CHECK(text->bytes != NULL);
    zip_int64_t got = file == NULL ? -1 : zip_fread(file, text->bytes, facts.size);
    if (file != NULL)
        zip_fclose(file);
    if (got < 0 || (zip_uint64_t)got != facts.size) {
        dynbuf_printf(error, "%s: its %s cannot be read", path, name);
        return false;
    }
    text->length = (size_t)got;
    return true;
}

static bool copy_text(const struct json_value *value, char *to, size_t size)
{
    size_t length = 0;
    const char *text = json_type(value) == JSON_STRING ? json_text(value, &length) : NULL;
    if (text == NULL || length == 0 || length >= size || strlen(text) != length)
        return false;
    memcpy(to, text, length + 1);
    return true;
}

/* Only what may stand in a host name or an address: these texts become part of a URL. */
static bool is_host(const char *text)
{
    for (; *text != '\0'; text++)
        if (!isalnum((unsigned char)*text) && strchr(".-_:[]", *text) == NULL)
            return false;
    return true;
}

static bool read_settings(struct bundle *bundle, const char *path, const struct bundle_text *text,
                          struct dynbuf *error)
{
    struct json_error fault;
    uint64_t port = 0;
    struct json_document *document = json_parse(text->bytes, text->length, JSON_VALUES_MAX, &fault);
    if (document == NULL) {
        dynbuf_printf(error, "%s: its config.json is no JSON: %s", path, fault.text);
        return false;
    }
    const struct json_value *root = json_root(document);
    bool is_good = copy_text(json_member(root, "host"), bundle->host, sizeof bundle->host) &&
                   is_host(bundle->host) && json_u64(json_member(root, "port"), &port) &&
                   port > 0 && port <= UINT16_MAX;
    json_free(document);
    bundle->port = (int)port;
    if (!is_good)
        dynbuf_printf(error, "%s: its config.json has no usable host and port", path);
    return is_good;
}

static bool read_zip(struct bundle *bundle, zip_t *zip, const char *path, struct dynbuf *error)
{
    struct bundle_text settings = {0};
    bool is_good = read_entry(zip, path, "config.json", &settings, error) &&
                   read_settings(bundle, path, &settings, error) &&
                   read_entry(zip, path, "ca.crt", &bundle->authorities, error) &&
                   read_entry(zip, path, "cert", &bundle->certificate, error) &&
                   read_entry(zip, path, "key", &bundle->key, error);
    bundle_drop_text(&settings);
    return is_good;
}

struct bundle *bundle_open(const char *path, struct dynbuf *error)
{
    struct stat facts;
    int code = 0;
    if (stat(path, &facts) != 0) {
        dynbuf_printf(error, "%s cannot be read: %s", path, strerror(errno));
        return NULL;
    }
    if (!S_ISREG(facts.st_mode) || facts.st_size > ZIP_BYTES_MAX) {
        dynbuf_printf(error, "%s is no secure-connect bundle: it is no file of at most 4 MiB",
                      path);
        return NULL;
    }
    zip_t *zip = zip_open(path, ZIP_RDONLY, &code);
    if (zip == NULL) {
        zip_error_t why;
        zip_error_init_with_code(&why, code);
        dynbuf_printf(error, "%s is no secure-connect bundle: %s", path, zip_error_strerror(&why));
        zip_error_fini(&why);
        return NULL;
    }
    struct bundle *bundle = calloc(1, sizeof *bundle);
    CHECK(bundle != NULL);
    bundle->path = strdup(path);
    CHECK(bundle->path != NULL);
    bool is_good = read_zip(bundle, zip, path, error);
    zip_discard(zip);
    if (is_good)
        return bundle;
    bundle_free(bundle);
    return NULL;
}

void bundle_drop_text(struct bundle_text *text)
{
    if (text->bytes != NULL)
        explicit_bzero(text->bytes, text->length);
    free(text->bytes);
    *text = (struct bundle_text){0};
}

void bundle_free(struct bundle *bundle)
{
    if (bundle == NULL)
        return;
    bundle_drop_text(&bundle->authorities);
    bundle_drop_text(&bundle->certificate);
    bundle_drop_text(&bundle->key);
    free(bundle->path);
    free(bundle);
}

struct tls_pem bundle_authorities(const struct bundle *bundle)
{
    return (struct tls_pem){bundle->authorities.bytes, bundle->authorities.length, bundle->path};
}

struct tls_pem bundle_certificate(const struct bundle *bundle)
{
    return (struct tls_pem){bundle->certificate.bytes, bundle->certificate.length, bundle->path};
}

struct tls_pem bundle_key(const struct bundle *bundle)
{
    return (struct tls_pem){bundle->key.bytes, bundle->key.length, bundle->path};
}

/* ---- the metadata ---- */

/* "host:port", the host an address in brackets if it has colons. */
static bool read_proxy_address(const char *text, struct bundle_contacts *contacts)
{
    const char *colon = strrchr(text, ':');
    char *end;
    if (colon == NULL || colon == text || !is_host(text))
        return false;
    size_t length = (size_t)(colon - text);
    if (text[0] == '[' && text[length - 1] == ']') {
        text++;
        length -= 2;
    }
    long port = strtol(colon + 1, &end, 10);
    if (length == 0 || length >= sizeof contacts->proxy_host || port < 1 || port > UINT16_MAX ||
        *end != '\0' || !isdigit((unsigned char)colon[1]))
        return false;
    memcpy(contacts->proxy_host, text, length);
    contacts->proxy_host[length] = '\0';
    contacts->proxy_port = (int)port;
    return true;
}

static bool read_contacts(const struct json_value *info, struct bundle_contacts *contacts,
                          struct dynbuf *error)
{
    char proxy[300];
    const struct json_value *points = json_member(info, "contact_points");
    if (!copy_text(json_member(info, "local_dc"), contacts->datacenter,
                   sizeof contacts->datacenter)) {
        dynbuf_append_text(error, "it has no usable contact_info.local_dc");
        return false;
    }
    if (!copy_text(json_member(info, "sni_proxy_address"), proxy, sizeof proxy) ||
        !read_proxy_address(proxy, contacts)) {
        dynbuf_append_text(error, "it has no usable contact_info.sni_proxy_address");
        return false;
    }
    for (const struct json_value *point = json_type(points) == JSON_ARRAY ? json_first(points)
                                                                          : NULL;
         point != NULL && contacts->nodes.count < CONTACTS_MAX; point = json_next(point)) {
        struct topology_node node = {.is_behind_sni = true};
        if (!copy_text(point, node.name, sizeof node.name) || !is_host(node.name)) {
            dynbuf_append_text(error, "it has a contact point that is no host id");
            return false;
        }
        memcpy(node.server_name, contacts->proxy_host, sizeof node.server_name);
        node_list_add(&contacts->nodes, &node);
    }
    if (contacts->nodes.count > 0)
        return true;
    dynbuf_append_text(error, "it has no contact_info.contact_points");
    return false;
}

bool bundle_read_metadata(const char *body, size_t length, struct bundle_contacts *contacts,
                          struct dynbuf *error)
{
    struct json_error fault;
    *contacts = (struct bundle_contacts){0};
    struct json_document *document = json_parse(body, length, JSON_VALUES_MAX, &fault);
    if (document == NULL) {
        dynbuf_printf(error, "it is no JSON: %s", fault.text);
        return false;
    }
    bool is_good = read_contacts(json_member(json_root(document), "contact_info"), contacts, error);
    json_free(document);
    if (!is_good)
        node_list_fini(&contacts->nodes);
    return is_good;
}
