/* YAML into a small tree of nodes that remember their line.
 *
 * libcyaml maps YAML to structs but forgets where a value stood, so a wrong network on line 40 could not be reported as such; libyaml, on which it
 * stands, gives the positions (docs/decisions/0002-configuration.md). Anchors, aliases and tags are refused: no file of ours needs them, and aliases
 * are how a small file becomes a large tree. */
#include "picket/conf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <yaml.h>

#include "picket/bytes.h"

enum kind {
    KIND_SCALAR,
    KIND_LIST,
    KIND_MAP
};

enum {
    MAX_NODES = 2000000,
    MAX_KEYS = 1000 /* of a map: each is compared with all before it */
};

struct pk_conf_node {
    enum kind kind;
    unsigned line;
    char *key;            /* in a map; owned */
    char *text;           /* of a scalar; owned */
    const char *variable; /* the environment variable it came from; borrowed, or NULL */
    struct pk_conf_node **items;
    size_t n_items, cap_items;
    bool is_known; /* asked for by pk_conf_get */
    bool is_null;  /* an empty plain scalar, ~ or null */
};

struct pk_conf {
    char *name;
    struct pk_conf_node *root;
    char error[PK_CONF_ERROR_SIZE];
    size_t n_nodes;
};

static void node_free(struct pk_conf_node *node)
{
    if (!node) {
        return;
    }
    for (size_t i = 0; i < node->n_items; i++) {
        node_free(node->items[i]); /* depth is bounded by PK_CONF_MAX_DEPTH */
    }
    free(node->items);
    free(node->key);
    free(node->text);
    free(node);
}

void pk_conf_free(struct pk_conf *conf)
{
    if (conf) {
        node_free(conf->root);
        free(conf->name);
        free(conf);
    }
}

static struct pk_conf_node *node_new(struct pk_conf *conf, enum kind kind, unsigned line)
{
    if (++conf->n_nodes > MAX_NODES) {
        return NULL;
    }
    struct pk_conf_node *node = calloc(1, sizeof *node);
    if (node) {
        node->kind = kind;
        node->line = line;
    }
    return node;
}

/* Takes item. */
static bool node_add(struct pk_conf_node *parent, struct pk_conf_node *item)
{
    if (parent->n_items == parent->cap_items) {
        size_t cap = parent->cap_items ? 2 * parent->cap_items : 8;
        struct pk_conf_node **grown = realloc(parent->items, cap * sizeof(struct pk_conf_node *));
        if (!grown) {
            node_free(item);
            return false;
        }
        parent->items = grown;
        parent->cap_items = cap;
    }
    parent->items[parent->n_items++] = item;
    return true;
}

static struct pk_conf_node *find(const struct pk_conf_node *map, const char *key)
{
    for (size_t i = 0; map && map->kind == KIND_MAP && i < map->n_items; i++) {
        if (strcmp(map->items[i]->key, key) == 0) {
            return map->items[i];
        }
    }
    return NULL;
}

/* --- building the tree from events --- */

struct builder {
    struct pk_conf *conf;
    struct pk_conf_node *stack[PK_CONF_MAX_DEPTH];
    size_t depth;
    char *pending_key; /* of the map on top; owned */
    pk_err err;
    unsigned error_line;
    const char *error_text;
};

static void refuse(struct builder *builder, pk_err err, unsigned line, const char *text)
{
    if (builder->err == PK_OK) {
        builder->err = err;
        builder->error_line = line;
        builder->error_text = text;
    }
}

/* Puts a finished or opened node where the builder stands. Takes node. */
static void place(struct builder *builder, struct pk_conf_node *node)
{
    if (!node) {
        refuse(builder, PK_ERR_NOMEM, 0, "out of memory, or more than two million values");
        return;
    }
    if (builder->depth == 0) {
        builder->conf->root = node;
        return;
    }
    struct pk_conf_node *parent = builder->stack[builder->depth - 1];
    if (parent->kind == KIND_MAP) {
        node->key = builder->pending_key;
        builder->pending_key = NULL;
        if (parent->n_items == MAX_KEYS) {
            refuse(builder, PK_ERR_LIMIT, node->line, "a map of more than 1000 keys");
            node_free(node);
            return;
        }
        if (find(parent, node->key)) {
            refuse(builder, PK_ERR_CONFIG, node->line, "the same key stands here twice");
            node_free(node);
            return;
        }
    }
    if (!node_add(parent, node)) {
        refuse(builder, PK_ERR_NOMEM, 0, "out of memory");
    }
}

static void open_node(struct builder *builder, enum kind kind, unsigned line)
{
    if (builder->depth == PK_CONF_MAX_DEPTH) {
        refuse(builder, PK_ERR_LIMIT, line, "nested too deeply");
        return;
    }
    if (builder->depth > 0 && builder->stack[builder->depth - 1]->kind == KIND_MAP &&
        !builder->pending_key) {
        refuse(builder, PK_ERR_CONFIG, line, "a key must be plain text");
        return;
    }
    struct pk_conf_node *node = node_new(builder->conf, kind, line);
    place(builder, node);
    if (builder->err == PK_OK) {
        builder->stack[builder->depth++] = node;
    }
}

static bool is_null_text(const char *text)
{
    return *text == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0;
}

static void scalar(struct builder *builder, const yaml_event_t *event, unsigned line)
{
    const char *text = (const char *)event->data.scalar.value;
    if (strlen(text) != event->data.scalar.length) {
        refuse(builder, PK_ERR_CONFIG, line, "a zero byte inside the text");
        return;
    }
    char *copy = strdup(text);
    if (!copy) {
        refuse(builder, PK_ERR_NOMEM, 0, "out of memory");
        return;
    }
    if (builder->depth > 0 && builder->stack[builder->depth - 1]->kind == KIND_MAP &&
        !builder->pending_key) {
        builder->pending_key = copy;
        return;
    }
    struct pk_conf_node *node = node_new(builder->conf, KIND_SCALAR, line);
    if (!node) {
        free(copy);
    } else {
        node->text = copy;
        node->is_null = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && is_null_text(copy);
    }
    place(builder, node);
}

static void on_event(struct builder *builder, const yaml_event_t *event, unsigned *n_documents)
{
    unsigned line = (unsigned)event->start_mark.line + 1;
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (++*n_documents > 1) {
            refuse(
                builder, PK_ERR_CONFIG, line, "a second document (---); one file is one document");
        }
        break;
    case YAML_ALIAS_EVENT:
        refuse(
            builder, PK_ERR_CONFIG, line, "aliases (*name) are not supported, write the value out");
        break;
    case YAML_SCALAR_EVENT:
        if (event->data.scalar.anchor ||
            (event->data.scalar.tag && event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)) {
            refuse(
                builder, PK_ERR_CONFIG, line, "anchors (&name) and tags (!name) are not supported");
            break;
        }
        scalar(builder, event, line);
        break;
    case YAML_SEQUENCE_START_EVENT:
        if (event->data.sequence_start.anchor) {
            refuse(builder, PK_ERR_CONFIG, line, "anchors (&name) are not supported");
            break;
        }
        open_node(builder, KIND_LIST, line);
        break;
    case YAML_MAPPING_START_EVENT:
        if (event->data.mapping_start.anchor) {
            refuse(builder, PK_ERR_CONFIG, line, "anchors (&name) are not supported");
            break;
        }
        open_node(builder, KIND_MAP, line);
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        builder->depth -= builder->depth > 0;
        break;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        break;
    }
}

static void parse_events(
    struct builder *builder, const char *text, size_t len, char out_error[PK_CONF_ERROR_SIZE])
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        refuse(builder, PK_ERR_NOMEM, 0, "out of memory");
        return;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    unsigned n_documents = 0;
    bool at_end = false;
    while (builder->err == PK_OK && !at_end) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            snprintf(out_error, PK_CONF_ERROR_SIZE, "%s:%zu: not YAML: %s%s%s", builder->conf->name,
                parser.problem_mark.line + 1, parser.problem ? parser.problem : "unreadable",
                parser.context ? " " : "", parser.context ? parser.context : "");
            builder->err = PK_ERR_CONFIG;
            break;
        }
        on_event(builder, &event, &n_documents);
        at_end = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
}

pk_err pk_conf_parse(const char *name, const char *text, size_t len, struct pk_conf **out_conf,
    char out_error[PK_CONF_ERROR_SIZE])
{
    if (len > PK_CONF_MAX_BYTES) {
        snprintf(
            out_error, PK_CONF_ERROR_SIZE, "%s: larger than %d bytes", name, PK_CONF_MAX_BYTES);
        return PK_ERR_LIMIT;
    }
    struct pk_conf *conf = calloc(1, sizeof *conf);
    struct builder builder = {.conf = conf};
    out_error[0] = '\0';
    if (!conf || !(conf->name = strdup(name))) {
        builder.err = PK_ERR_NOMEM;
    } else {
        parse_events(&builder, text, len, out_error);
    }
    free(builder.pending_key);
    if (builder.err == PK_OK && (!conf->root || conf->root->is_null)) {
        node_free(conf->root);
        conf->root = node_new(conf, KIND_MAP, 1);
        builder.err = conf->root ? PK_OK : PK_ERR_NOMEM;
    }
    if (builder.err == PK_OK && conf->root->kind != KIND_MAP) {
        refuse(&builder, PK_ERR_CONFIG, conf->root->line, "must be a map of keys and values");
    }
    if (builder.err != PK_OK) {
        if (builder.error_text && builder.error_line) {
            snprintf(out_error, PK_CONF_ERROR_SIZE, "%s:%u: %s", name, builder.error_line,
                builder.error_text);
        } else if (out_error[0] == '\0') {
            snprintf(out_error, PK_CONF_ERROR_SIZE, "%s: %s", name,
                builder.error_text ? builder.error_text : pk_err_str(builder.err));
        }
        pk_conf_free(conf);
        return builder.err;
    }
    *out_conf = conf;
    return PK_OK;
}

pk_err pk_conf_read_file(const char *path, struct pk_bytes *out, char out_error[PK_CONF_ERROR_SIZE])
{
    pk_err err = pk_bytes_read_file(out, path);
    bool is_refused = err == PK_ERR_IO && errno == EACCES;
    if (is_refused && access(path, R_OK) == 0) { /* the file lets us: Landlock does not */
        snprintf(out_error, PK_CONF_ERROR_SIZE,
            "%s: cannot be read: the sandbox keeps to the paths of the start; restart for a new one",
            path);
    } else if (is_refused) {
        snprintf(out_error, PK_CONF_ERROR_SIZE,
            "%s: cannot be read: user %u (group %u) may not read it or enter its folder; chgrp or chmod it for that user",
            path, (unsigned)geteuid(), (unsigned)getegid());
    } else if (err == PK_ERR_IO) {
        snprintf(out_error, PK_CONF_ERROR_SIZE, "%s: cannot be read: %s", path, strerror(errno));
    } else if (err != PK_OK) {
        snprintf(
            out_error, PK_CONF_ERROR_SIZE, "%s: larger than %d bytes", path, PK_CONF_MAX_BYTES);
    }
    return err;
}

pk_err pk_conf_load(const char *path, struct pk_conf **out_conf, char out_error[PK_CONF_ERROR_SIZE])
{
    struct pk_bytes text;
    pk_bytes_init(&text, PK_CONF_MAX_BYTES);
    pk_err err = pk_conf_read_file(path, &text, out_error);
    if (err == PK_OK) {
        err = pk_conf_parse(
            path, text.data ? (const char *)text.data : "", text.len, out_conf, out_error);
    }
    pk_bytes_done(&text);
    return err;
}

/* --- reading --- */

const char *pk_conf_error(const struct pk_conf *conf)
{
    return conf->error[0] ? conf->error : NULL;
}

void pk_conf_fail(struct pk_conf *conf, const struct pk_conf_node *node, const char *format, ...)
{
    if (conf->error[0]) {
        return;
    }
    int n;
    if (node && node->variable) {
        n = snprintf(conf->error, sizeof conf->error, "%s: ", node->variable);
    } else {
        n = snprintf(conf->error, sizeof conf->error, "%s:%u: %s%s", conf->name,
            node ? node->line : 1, node && node->key ? node->key : "",
            node && node->key ? ": " : "");
    }
    if (n < 0 || (size_t)n >= sizeof conf->error) {
        return;
    }
    va_list args;
    va_start(args, format);
    vsnprintf(conf->error + n, sizeof conf->error - (size_t)n, format, args);
    va_end(args);
}

const struct pk_conf_node *pk_conf_root(const struct pk_conf *conf)
{
    return conf->root;
}

const struct pk_conf_node *pk_conf_get(
    struct pk_conf *conf, const struct pk_conf_node *map, const char *key)
{
    if (map->kind != KIND_MAP) {
        pk_conf_fail(conf, map, "must be a map of keys and values");
        return NULL;
    }
    struct pk_conf_node *node = find(map, key);
    if (!node) {
        /* Remembered as an empty node, so that finish_map can list the keys there are. */
        struct pk_conf_node *absent = node_new(conf, KIND_SCALAR, 0);
        struct pk_conf_node *mutable_map = (struct pk_conf_node *)(uintptr_t)map;
        if (absent && (absent->key = strdup(key))) {
            absent->is_known = true;
            absent->is_null = true;
            (void)node_add(mutable_map, absent); /* only the help text suffers */
        } else {
            node_free(absent);
        }
        return NULL;
    }
    node->is_known = true;
    return node->line == 0 || node->is_null ? NULL : node;
}

void pk_conf_finish_map(struct pk_conf *conf, const struct pk_conf_node *map)
{
    for (size_t i = 0; i < map->n_items && map->kind == KIND_MAP && !conf->error[0]; i++) {
        if (map->items[i]->is_known) {
            continue;
        }
        char known[256] = "";
        size_t len = 0;
        for (size_t k = 0; k < map->n_items && len < sizeof known - 1; k++) {
            if (map->items[k]->is_known) {
                int n = snprintf(
                    known + len, sizeof known - len, "%s%s", len ? ", " : "", map->items[k]->key);
                len += n > 0 ? (size_t)n : 0;
            }
        }
        pk_conf_fail(conf, map->items[i], "unknown key; known here: %s", known);
    }
}

bool pk_conf_is_map(const struct pk_conf_node *node)
{
    return node && node->kind == KIND_MAP;
}

bool pk_conf_is_list(const struct pk_conf_node *node)
{
    return node && node->kind == KIND_LIST;
}

bool pk_conf_is_scalar(const struct pk_conf_node *node)
{
    return node && node->kind == KIND_SCALAR;
}

unsigned pk_conf_line(const struct pk_conf_node *node)
{
    return node->line;
}

size_t pk_conf_list_len(const struct pk_conf_node *list)
{
    return pk_conf_is_list(list) ? list->n_items : 0;
}

const struct pk_conf_node *pk_conf_item(const struct pk_conf_node *list, size_t index)
{
    return list->items[index];
}

void pk_conf_text(struct pk_conf *conf, const struct pk_conf_node *node, const char **inout)
{
    if (!node) {
        return;
    }
    if (node->kind != KIND_SCALAR) {
        pk_conf_fail(conf, node, "must be text");
        return;
    }
    *inout = node->text;
}

void pk_conf_bool(struct pk_conf *conf, const struct pk_conf_node *node, bool *inout)
{
    const char *text = NULL;
    pk_conf_text(conf, node, &text);
    if (!text) {
        return;
    }
    if (strcmp(text, "true") == 0 || strcmp(text, "yes") == 0) {
        *inout = true;
    } else if (strcmp(text, "false") == 0 || strcmp(text, "no") == 0) {
        *inout = false;
    } else {
        pk_conf_fail(conf, node, "must be true or false, not \"%s\"", text);
    }
}

void pk_conf_int(
    struct pk_conf *conf, const struct pk_conf_node *node, int64_t min, int64_t max, int64_t *inout)
{
    const char *text = NULL;
    pk_conf_text(conf, node, &text);
    if (!text) {
        return;
    }
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || v < min || v > max) {
        pk_conf_fail(conf, node, "must be a number from %lld to %lld, not \"%s\"", (long long)min,
            (long long)max, text);
        return;
    }
    *inout = v;
}

void pk_conf_double(
    struct pk_conf *conf, const struct pk_conf_node *node, double min, double max, double *inout)
{
    const char *text = NULL;
    pk_conf_text(conf, node, &text);
    if (!text) {
        return;
    }
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end != '\0' || !(v >= min && v <= max)) {
        pk_conf_fail(conf, node, "must be a number from %g to %g, not \"%s\"", min, max, text);
        return;
    }
    *inout = v;
}

void pk_conf_need(struct pk_conf *conf, const struct pk_conf_node *map_node,
    const struct pk_conf_node *node, const char *key)
{
    if (!node) {
        pk_conf_fail(conf, map_node, "the key \"%s\" is missing", key);
    }
}

pk_err pk_conf_override(
    struct pk_conf *conf, const char *dotted_path, const char *variable, const char *value)
{
    struct pk_conf_node *map = conf->root;
    const char *rest = dotted_path;
    for (const char *dot; (dot = strchr(rest, '.')); rest = dot + 1) {
        char key[64];
        snprintf(key, sizeof key, "%.*s", (int)(dot - rest), rest);
        struct pk_conf_node *next = find(map, key);
        if (!next) {
            next = node_new(conf, KIND_MAP, 1);
            if (!next || !(next->key = strdup(key)) || !node_add(map, next)) {
                return PK_ERR_NOMEM;
            }
        }
        if (next->kind != KIND_MAP) {
            pk_conf_fail(conf, next, "must be a map of keys and values");
            return PK_ERR_CONFIG;
        }
        map = next;
    }
    struct pk_conf_node *node = find(map, rest);
    if (!node) {
        node = node_new(conf, KIND_SCALAR, 1);
        if (!node || !(node->key = strdup(rest)) || !node_add(map, node)) {
            return PK_ERR_NOMEM;
        }
    }
    char *text = strdup(value);
    if (!text) {
        return PK_ERR_NOMEM;
    }
    for (size_t i = 0; i < node->n_items; i++) { /* a list in the file gives way to the variable */
        node_free(node->items[i]);
    }
    node->n_items = 0;
    node->kind = KIND_SCALAR;
    node->is_null = false;
    node->variable = variable;
    free(node->text);
    node->text = text;
    return PK_OK;
}
