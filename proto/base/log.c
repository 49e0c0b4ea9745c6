/* Log lines. One write(2) a line, so that lines of several threads and processes do not mix. */
#include "picket/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "picket/clock.h"

enum {
    MAX_LINE = 2048
};

static const char *const level_names[] = {"debug", "info", "warning", "error"};
static atomic_int threshold = PK_LOG_INFO;

void pk_log_set_level(enum pk_log_level level)
{
    atomic_store(&threshold, (int)level);
}

int pk_log_level_parse(const char *text)
{
    for (int i = 0; i < 4; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            return i;
        }
    }
    return -1;
}

void pk_log(enum pk_log_level level, const char *module, const char *format, ...)
{
    if ((int)level < atomic_load(&threshold)) {
        return;
    }
    char line[MAX_LINE], ts[PK_TIME_TEXT_SIZE];
    int n = snprintf(line, sizeof line, "level=%s ts=%s module=%s ", level_names[level],
        pk_time_text(pk_clock_wall_us(), ts), module);
    size_t len = (size_t)n;
    va_list args;
    va_start(args, format);
    n = vsnprintf(line + len, sizeof line - len - 1, format, args);
    va_end(args);
    if (n > 0) {
        size_t room = sizeof line - len - 2;
        len += (size_t)n < room ? (size_t)n : room;
    }
    line[len++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, len);
    (void)written; /* nowhere to report it */
}

const char *pk_log_escape(const char *text, size_t len, char *out, size_t out_size)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
        if (n + (plain ? 1 : 4) >= out_size) {
            break;
        }
        if (plain) {
            out[n++] = (char)c;
        } else {
            snprintf(out + n, 5, "\\x%02x", c);
            n += 4;
        }
    }
    out[n] = '\0';
    return out;
}
