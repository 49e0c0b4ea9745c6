/* Configuration files: YAML with line numbers that survive to the error message.
 *
 * A file is loaded whole (libyaml; no aliases, no tags, no multi documents; size and depth bounded), then read by typed getters.
 * The first thing that is wrong is kept as one sentence naming file, line, key and what would be right; later getters do nothing.
 * Keys nobody asked for are reported by pk_conf_finish_map, so a typing error cannot pass in silence. */
#ifndef PICKET_CONF_H
#define PICKET_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/bytes.h"
#include "picket/err.h"

struct pk_conf;      /* a loaded file */
struct pk_conf_node; /* borrowed from its file, valid until pk_conf_free */

enum {
    PK_CONF_ERROR_SIZE = 512,
    PK_CONF_MAX_BYTES = 8 << 20,
    PK_CONF_MAX_DEPTH = 16
};

/* Loads a file, or text already in memory (name is what messages call it). On failure out_error holds the
 * sentence ("sensor.yaml:3: ..."). PK_ERR_IO, PK_ERR_CONFIG, PK_ERR_LIMIT, PK_ERR_NOMEM. */
pk_err pk_conf_load(
    const char *path, struct pk_conf **out_conf, char out_error[PK_CONF_ERROR_SIZE]);
/* The text of a file, at most PK_CONF_MAX_BYTES; PK_ERR_IO says why in errno and out_error. */
pk_err pk_conf_read_file(
    const char *path, struct pk_bytes *out, char out_error[PK_CONF_ERROR_SIZE]);
pk_err pk_conf_parse(const char *name, const char *text, size_t len, struct pk_conf **out_conf,
    char out_error[PK_CONF_ERROR_SIZE]);
void pk_conf_free(struct pk_conf *conf);

/* "NAME:LINE: KEY: sentence"; NULL while nothing is wrong. */
const char *pk_conf_error(const struct pk_conf *conf);
/* Reports that the value at node is wrong; the sentence says what would be right. First report wins. */
void pk_conf_fail(struct pk_conf *conf, const struct pk_conf_node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

const struct pk_conf_node *pk_conf_root(
    const struct pk_conf *conf); /* the root map (an empty file: an empty map) */
/* The value under key of a map and marks the key as known; NULL when absent. */
const struct pk_conf_node *pk_conf_get(
    struct pk_conf *conf, const struct pk_conf_node *map, const char *key);
/* After all gets: any other key in the map is an error that lists the known ones. */
void pk_conf_finish_map(struct pk_conf *conf, const struct pk_conf_node *map);

bool pk_conf_is_map(const struct pk_conf_node *node);
bool pk_conf_is_list(const struct pk_conf_node *node);
bool pk_conf_is_scalar(const struct pk_conf_node *node);
unsigned pk_conf_line(const struct pk_conf_node *node);
size_t pk_conf_list_len(const struct pk_conf_node *list); /* 0 for NULL and for non-lists */
const struct pk_conf_node *pk_conf_item(const struct pk_conf_node *list, size_t index);

/* Typed values. A NULL node (absent key) leaves *inout as it was: the default. A value of the wrong shape or
 * out of range is reported and leaves *inout alone. Text is borrowed from the file. */
void pk_conf_text(struct pk_conf *conf, const struct pk_conf_node *node, const char **inout);
void pk_conf_bool(struct pk_conf *conf, const struct pk_conf_node *node, bool *inout);
void pk_conf_int(struct pk_conf *conf, const struct pk_conf_node *node, int64_t min, int64_t max,
    int64_t *inout);
void pk_conf_double(
    struct pk_conf *conf, const struct pk_conf_node *node, double min, double max, double *inout);
/* Reports when node is absent. map_node is where the message points to. */
void pk_conf_need(struct pk_conf *conf, const struct pk_conf_node *map_node,
    const struct pk_conf_node *node, const char *key);

/* Environment overrides: sets or adds the scalar at a dotted path ("spool.max_bytes" from PICKET_SPOOL_MAX_BYTES is looked
 * up by the caller's list of paths); the message then names the variable in place of file and line. */
pk_err pk_conf_override(
    struct pk_conf *conf, const char *dotted_path, const char *variable, const char *value);

#endif
