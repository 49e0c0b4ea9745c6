/* Keys: Z85 text (ZeroMQ RFC 32), files that only their owner can read. */
#include "picket/key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include <sodium.h>

#include "picket/hash.h"

#define SECRET_WORD "picket-key-1 secret "
#define PUBLIC_WORD "picket-key-1 public "
#define CLIENT_WORD "picket-client-key-1 "
#define SPOOL_WORD  "picket-spool-key-1 "

enum {
    MAX_FILE = 512
};

static const char z85[] =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

pk_err pk_keypair_generate(struct pk_keypair *out_pair)
{
    return crypto_box_keypair(out_pair->pubkey, out_pair->seckey) == 0 ? PK_OK : PK_ERR_IO;
}

void pk_keypair_wipe(struct pk_keypair *pair)
{
    sodium_memzero(pair, sizeof *pair);
}

const char *pk_key_text(const uint8_t key[PK_KEY_BYTES], char out_text[PK_KEY_TEXT_SIZE])
{
    char *p = out_text;
    for (unsigned i = 0; i < PK_KEY_BYTES; i += 4) {
        uint32_t v = (uint32_t)key[i] << 24 | (uint32_t)key[i + 1] << 16 |
                     (uint32_t)key[i + 2] << 8 | key[i + 3];
        for (unsigned k = 5; k-- > 0; v /= 85) {
            p[k] = z85[v % 85];
        }
        p += 5;
    }
    *p = '\0';
    return out_text;
}

bool pk_key_parse(const char *text, uint8_t out_key[PK_KEY_BYTES])
{
    uint8_t key[PK_KEY_BYTES];
    if (strlen(text) != PK_KEY_TEXT_SIZE - 1) {
        return false;
    }
    for (unsigned i = 0; i < PK_KEY_BYTES; i += 4) {
        uint64_t v = 0;
        for (unsigned k = 0; k < 5; k++) {
            const char *digit = strchr(z85, *text++);
            if (!digit) {
                return false;
            }
            v = v * 85 + (uint64_t)(digit - z85);
        }
        if (v > UINT32_MAX) {
            return false;
        }
        key[i] = (uint8_t)(v >> 24);
        key[i + 1] = (uint8_t)(v >> 16);
        key[i + 2] = (uint8_t)(v >> 8);
        key[i + 3] = (uint8_t)v;
    }
    memcpy(out_key, key, sizeof key);
    return true;
}

const char *pk_key_fingerprint(
    const uint8_t pubkey[PK_KEY_BYTES], char out_text[PK_FINGERPRINT_SIZE])
{
    uint8_t digest[PK_DIGEST_BYTES];
    pk_digest(pubkey, PK_KEY_BYTES, digest);
    char *p = out_text;
    for (unsigned i = 0; i < PK_DIGEST_BYTES; i += 2) {
        p += snprintf(p, 6, "%s%02x%02x", i ? ":" : "", digest[i], digest[i + 1]);
    }
    return out_text;
}

/* Reads a secret file whole after checking that nobody else can. */
int pk_key_status(pk_err err)
{
    return err == PK_ERR_AUTH ? EX_NOPERM : err == PK_ERR_MALFORMED ? EX_DATAERR : EX_NOINPUT;
}

static pk_err read_secret(
    const char *path, char out_text[MAX_FILE], char out_error[PK_KEY_ERROR_SIZE])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0) {
        bool is_forbidden = errno == EACCES || errno == EPERM || errno == ELOOP;
        snprintf(out_error, PK_KEY_ERROR_SIZE, "%s: cannot be opened: %s", path,
            errno == ELOOP ? "it is a symbolic link" : strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return is_forbidden ? PK_ERR_AUTH : PK_ERR_IO;
    }
    pk_err err = PK_OK;
    if (info.st_uid != geteuid() && info.st_uid != 0) {
        snprintf(out_error, PK_KEY_ERROR_SIZE,
            "%s: belongs to user %u; chown it to the user this program runs as", path, info.st_uid);
        err = PK_ERR_AUTH;
    } else if (info.st_mode & 077) {
        snprintf(out_error, PK_KEY_ERROR_SIZE, "%s: others may read it; chmod 600 %s", path, path);
        err = PK_ERR_AUTH;
    } else {
        ssize_t n = read(fd, out_text, MAX_FILE - 1);
        if (n < 0) {
            snprintf(out_error, PK_KEY_ERROR_SIZE, "%s: cannot be read: %s", path, strerror(errno));
            err = PK_ERR_IO;
        } else {
            out_text[n] = '\0';
        }
    }
    close(fd);
    return err;
}

/* Copies the word after `word` at the start of a line, up to the line's end; false when there is none that fits. */
static bool find_word(const char *text, const char *word, char *out, size_t size)
{
    for (const char *line = text; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
        size_t len = strlen(word);
        if (strncmp(line, word, len) == 0) {
            size_t value_len = strcspn(line + len, "\r\n");
            if (value_len >= size) {
                return false;
            }
            memcpy(out, line + len, value_len);
            out[value_len] = '\0';
            return true;
        }
    }
    return false;
}

pk_err pk_keypair_load(
    const char *path, struct pk_keypair *out_pair, char out_error[PK_KEY_ERROR_SIZE])
{
    char text[MAX_FILE], secret[PK_KEY_TEXT_SIZE], public[PK_KEY_TEXT_SIZE];
    struct pk_keypair pair;
    uint8_t derived[PK_KEY_BYTES];
    pk_err err = read_secret(path, text, out_error);
    if (err == PK_OK) {
        bool is_good = find_word(text, SECRET_WORD, secret, sizeof secret) &&
                       find_word(text, PUBLIC_WORD, public, sizeof public) &&
                       pk_key_parse(secret, pair.seckey) && pk_key_parse(public, pair.pubkey) &&
                       crypto_scalarmult_base(derived, pair.seckey) == 0 &&
                       memcmp(derived, pair.pubkey, sizeof derived) == 0;
        if (is_good) {
            *out_pair = pair;
        } else {
            snprintf(out_error, PK_KEY_ERROR_SIZE,
                "%s: not a key file, or its two halves do not belong together; make one with genkey",
                path);
            err = PK_ERR_MALFORMED;
        }
    }
    sodium_memzero(text, sizeof text);
    sodium_memzero(secret, sizeof secret);
    sodium_memzero(&pair, sizeof pair);
    return err;
}

/* A name that was made or changed is there after a power cut. */
static bool sync_folder(const char *path)
{
    char folder[4096];
    const char *slash = strrchr(path, '/');
    size_t len = slash == path ? 1 : slash ? (size_t)(slash - path) : 0;
    if (len >= sizeof folder) {
        return false;
    }
    memcpy(folder, path, len);
    folder[len] = '\0';
    int fd = open(len ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_sure = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return is_sure;
}

bool pk_keypair_next_path(const char *path, char *out_path, size_t size)
{
    return (size_t)snprintf(out_path, size, "%s.next", path) < size;
}

pk_err pk_keypair_promote(const char *path, char out_error[PK_KEY_ERROR_SIZE])
{
    char next[4096];
    bool is_done = pk_keypair_next_path(path, next, sizeof next) &&
                   (rename(next, path) == 0 || errno == ENOENT) && sync_folder(path);
    if (!is_done) {
        snprintf(out_error, PK_KEY_ERROR_SIZE, "%s.next cannot take the place of %s: %s", path,
            path, strerror(errno));
    }
    return is_done ? PK_OK : PK_ERR_IO;
}

static pk_err write_secret(
    const char *path, const char *text, bool replace, char out_error[PK_KEY_ERROR_SIZE])
{
    char temporary[4096];
    if (!replace && access(path, F_OK) == 0) {
        snprintf(out_error, PK_KEY_ERROR_SIZE, "%s: exists already and is not replaced", path);
        return PK_ERR_CONFLICT;
    }
    if ((size_t)snprintf(temporary, sizeof temporary, "%s.XXXXXX", path) >= sizeof temporary) {
        snprintf(out_error, PK_KEY_ERROR_SIZE, "%s: path is too long", path);
        return PK_ERR_LIMIT;
    }
    int fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600 */
    size_t len = strlen(text);
    bool is_written = fd >= 0 && write(fd, text, len) == (ssize_t)len && fsync(fd) == 0;
    if (fd >= 0) {
        is_written = close(fd) == 0 && is_written;
    }
    if (!is_written || rename(temporary, path) != 0 || !sync_folder(path)) {
        snprintf(out_error, PK_KEY_ERROR_SIZE, "%s: cannot be written: %s", path, strerror(errno));
        if (fd >= 0) {
            (void)unlink(temporary);
        }
        return PK_ERR_IO;
    }
    return PK_OK;
}

pk_err pk_keypair_save(const char *path, const struct pk_keypair *pair, bool replace,
    char out_error[PK_KEY_ERROR_SIZE])
{
    char secret[PK_KEY_TEXT_SIZE], public[PK_KEY_TEXT_SIZE], text[MAX_FILE];
    snprintf(text, sizeof text, SECRET_WORD "%s\n" PUBLIC_WORD "%s\n",
        pk_key_text(pair->seckey, secret), pk_key_text(pair->pubkey, public));
    pk_err err = write_secret(path, text, replace, out_error);
    sodium_memzero(text, sizeof text);
    sodium_memzero(secret, sizeof secret);
    return err;
}

/* A file of one line: word and 64 hex digits. */
static pk_err load_hex(const char *path, const char *word, const char *what,
    uint8_t out_key[PK_KEY_BYTES], char out_error[PK_KEY_ERROR_SIZE])
{
    char text[MAX_FILE], hex[2 * PK_KEY_BYTES + 1];
    uint8_t key[PK_KEY_BYTES];
    size_t len = 0;
    pk_err err = read_secret(path, text, out_error);
    if (err == PK_OK) {
        if (find_word(text, word, hex, sizeof hex) &&
            sodium_hex2bin(key, sizeof key, hex, strlen(hex), NULL, &len, NULL) == 0 &&
            len == sizeof key) {
            memcpy(out_key, key, sizeof key);
        } else {
            snprintf(out_error, PK_KEY_ERROR_SIZE,
                "%s: not a %s key; it is one line, \"%s\" and 64 hex digits", path, what, word);
            err = PK_ERR_MALFORMED;
        }
    }
    sodium_memzero(text, sizeof text);
    sodium_memzero(hex, sizeof hex);
    sodium_memzero(key, sizeof key);
    return err;
}

pk_err pk_client_key_load(
    const char *path, uint8_t out_key[PK_KEY_BYTES], char out_error[PK_KEY_ERROR_SIZE])
{
    return load_hex(path, CLIENT_WORD, "client", out_key, out_error);
}

pk_err pk_spool_key_load(
    const char *path, uint8_t out_key[PK_KEY_BYTES], char out_error[PK_KEY_ERROR_SIZE])
{
    return load_hex(path, SPOOL_WORD, "spool", out_key, out_error);
}
