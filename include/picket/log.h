/* One line an event on standard error: level, module, then key=value (logfmt).
 *
 * Only programs log, once, where the decision falls; libraries return errors. Text from outside goes
 * through pk_log_escape. Never log keys; nothing per packet above debug. */
#ifndef PICKET_LOG_H
#define PICKET_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pk_log_level {
    PK_LOG_DEBUG,
    PK_LOG_INFO,
    PK_LOG_WARNING,
    PK_LOG_ERROR,
};

/* Lines below level are dropped. Default: info. */
void pk_log_set_level(enum pk_log_level level);
/* "debug", "info", "warning", "error"; -1 when it is none of them. */
int pk_log_level_parse(const char *text);

/* Writes `level=... ts=... module=... <formatted>` in one write(2). Any thread. */
void pk_log(enum pk_log_level level, const char *module, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define pk_debug(module, ...) pk_log(PK_LOG_DEBUG, module, __VA_ARGS__)
#define pk_info(module, ...)  pk_log(PK_LOG_INFO, module, __VA_ARGS__)
#define pk_warn(module, ...)  pk_log(PK_LOG_WARNING, module, __VA_ARGS__)
#define pk_error(module, ...) pk_log(PK_LOG_ERROR, module, __VA_ARGS__)

/* Copies at most what fits of text into out (always terminated), with quotes, controls and
 * non-ASCII as \xNN, so that it can stand inside "..." in a log line. Returns out. */
const char *pk_log_escape(const char *text, size_t len, char *out, size_t out_size);

#endif
