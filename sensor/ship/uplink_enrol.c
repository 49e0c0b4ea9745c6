/* `picket-sensor enroll TOKEN`: makes this machine's key, asks the aggregator in, writes a configuration that works.
 *
 * The key is written before it is shown, and used again when it is there already: asking twice is asking once. Nothing of the token is kept but what is in the files. */
#include "ship/uplink_enrol.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include <sodium.h>
#include <zmq.h>

#include "picket/bytes.h"
#include "picket/clock.h"
#include "picket/enrol.h"
#include "picket/key.h"

enum {
    WAIT_MS = 20000,
    PATH_SIZE = 4096,
};

__attribute__((format(printf, 2, 3))) static int fail(int status, const char *format, ...)
{
    va_list args;
    fputs("picket-sensor: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return status;
}

static void *open_socket(void *context, const struct pk_token *token, const struct pk_keypair *keys)
{
    void *socket = zmq_socket(context, ZMQ_DEALER);
    const struct {
        int option, value;
    } ints[] = {{ZMQ_LINGER, 0}, {ZMQ_IMMEDIATE, 1}, {ZMQ_IPV6, 1}, {ZMQ_HANDSHAKE_IVL, 10000},
        {ZMQ_CONNECT_TIMEOUT, 10000}, {ZMQ_RECONNECT_IVL, 1000}, {ZMQ_SNDTIMEO, WAIT_MS},
        {ZMQ_RCVTIMEO, WAIT_MS}};
    int64_t max_frame = PK_MAX_BODY_BYTES + 4096;
    bool is_good =
        socket && zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &max_frame, sizeof max_frame) == 0;
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        is_good = is_good &&
                  zmq_setsockopt(socket, ints[i].option, &ints[i].value, sizeof ints[i].value) == 0;
    }
    is_good =
        is_good &&
        zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, token->server_pubkey, PK_KEY_BYTES) == 0 &&
        zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, keys->pubkey, PK_KEY_BYTES) == 0 &&
        zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, keys->seckey, PK_KEY_BYTES) == 0 &&
        zmq_connect(socket, token->endpoint) == 0;
    if (socket && !is_good) {
        zmq_close(socket);
    }
    return is_good ? socket : NULL;
}

static bool send_request(void *socket, const struct pk_token *token, const char *name)
{
    struct pk_frame frame = {.type = PK_FRAME_ENROL};
    struct pk_enrol_request request = {.name = ""};
    struct pk_bytes header, body;
    memcpy(request.id, token->id, sizeof request.id);
    memcpy(request.secret, token->secret, sizeof request.secret);
    snprintf(request.name, sizeof request.name, "%s", name);
    pk_bytes_init(&header, PK_MAX_HEADER_BYTES);
    pk_bytes_init(&body, PK_ENROL_MAX_REQUEST);
    bool is_sent = pk_frame_encode(&frame, &header) == PK_OK &&
                   pk_enrol_request_encode(&request, &body) == PK_OK &&
                   zmq_send(socket, header.data, header.len, ZMQ_SNDMORE) >= 0 &&
                   zmq_send(socket, body.data, body.len, 0) >= 0;
    sodium_memzero(&request, sizeof request);
    if (body.data) {
        sodium_memzero(body.data, body.len);
    }
    pk_bytes_done(&header);
    pk_bytes_done(&body);
    return is_sent;
}

/* One message of two frames; body is the caller's to close. */
static bool receive(void *socket, struct pk_frame *out_frame, zmq_msg_t *body)
{
    zmq_msg_t header;
    zmq_msg_init(&header);
    bool is_good =
        zmq_msg_recv(&header, socket, 0) >= 0 && zmq_msg_more(&header) &&
        zmq_msg_recv(body, socket, 0) >= 0 && !zmq_msg_more(body) &&
        pk_frame_decode(zmq_msg_data(&header), zmq_msg_size(&header), out_frame) == PK_OK;
    zmq_msg_close(&header);
    return is_good;
}

/* --- files --- */

/* A new file of that mode, replaced whole: temporary, fsync, rename. */
static int write_file(const char *folder, const char *name, const void *data, size_t len)
{
    char path[PATH_SIZE], fresh[PATH_SIZE + 8];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    snprintf(fresh, sizeof fresh, "%s.new", path);
    mode_t before = umask(077);
    FILE *file = fopen(fresh, "wbe");
    umask(before);
    bool is_good =
        file && fwrite(data, 1, len, file) == len && fflush(file) == 0 && fsync(fileno(file)) == 0;
    if (file) {
        is_good = fclose(file) == 0 && is_good;
    }
    is_good = is_good && rename(fresh, path) == 0;
    return is_good ? EX_OK : fail(EX_CANTCREAT, "%s cannot be written", path);
}

static int write_client_key(const char *folder, const uint8_t key[PK_KEY_BYTES])
{
    char text[128], hex[2 * PK_KEY_BYTES + 1];
    sodium_bin2hex(hex, sizeof hex, key, PK_KEY_BYTES);
    int n = snprintf(text, sizeof text, "picket-client-key-1 %s\n", hex);
    int status = write_file(folder, "client.key", text, (size_t)n);
    sodium_memzero(text, sizeof text);
    sodium_memzero(hex, sizeof hex);
    return status;
}

/* A configuration that is there already is somebody's work: it stays, and the new one lies beside it. */
static int write_config(
    const char *folder, const struct pk_token *token, const struct pk_enrol_answer *answer)
{
    struct pk_bytes text;
    char key[PK_KEY_TEXT_SIZE], path[PATH_SIZE];
    pk_bytes_init(&text, 64 << 10);
    pk_bytes_printf(&text,
        "# Written by picket-sensor enroll. docs/OPERATIONS.md has every key.\n"
        "sensor: \"%s\"\nsite: \"%s\"\nkey_file: %s/sensor.key\nscope: %s/scope.yaml # until the aggregator sends one\n%s%s%s"
        "# privacy_floor: {zones: [example.com]} # what this site allows, whatever the scope says\n"
        "capture:\n  interface: any # or a name, a pattern; interfaces: [eth0, eth1]\n"
        "spool:\n  folder: /var/lib/picket/spool\n"
        "aggregator:\n  server_key: \"%s\"\n  endpoints:\n",
        answer->name, answer->place, folder, folder, token->has_client_key ? "client_key: " : "",
        token->has_client_key ? folder : "", token->has_client_key ? "/client.key\n" : "",
        pk_key_text(token->server_pubkey, key));
    for (uint32_t i = 0; i < answer->n_endpoints; i++) {
        pk_bytes_printf(&text, "    - %s\n", answer->endpoints[i]);
    }
    snprintf(path, sizeof path, "%s/sensor.yaml", folder);
    bool is_there = access(path, F_OK) == 0;
    int status = text.err == PK_OK
                     ? write_file(folder, is_there ? "sensor.yaml.enrolled" : "sensor.yaml",
                           text.data, text.len)
                     : EX_OSERR;
    if (is_there && status == EX_OK) {
        fprintf(stderr, "picket-sensor: %s was there and stays; see sensor.yaml.enrolled\n", path);
    }
    pk_bytes_done(&text);
    return status;
}

/* What the aggregator said goes into files and onto a terminal: plain characters only. */
static bool is_plain(const char *text)
{
    for (; *text; text++) {
        if (*text < 0x21 || *text > 0x7e || *text == '"' || *text == '\\' || *text == '#') {
            return false;
        }
    }
    return true;
}

static bool is_plain_answer(const struct pk_enrol_answer *answer)
{
    bool is_good = is_plain(answer->name) && is_plain(answer->place) && answer->name[0];
    for (uint32_t i = 0; i < answer->n_endpoints; i++) {
        is_good = is_good && is_plain(answer->endpoints[i]);
    }
    return is_good;
}

static int settle(
    const char *folder, const struct pk_token *token, const struct pk_enrol_answer *answer)
{
    if (!is_plain_answer(answer)) {
        return fail(EX_PROTOCOL, "%s", "the aggregator's answer cannot be used");
    }
    int status = write_file(folder, "scope.yaml", answer->scope.data, answer->scope.len);
    if (status == EX_OK && token->has_client_key) {
        status = write_client_key(folder, token->client_key);
    }
    if (status == EX_OK) {
        status = write_config(folder, token, answer);
    }
    if (status == EX_OK) {
        printf("%s at %s is enrolled%s; next: picket-sensor --config %s/sensor.yaml\n",
            answer->name, answer->place,
            answer->status == PK_ENROL_PENDING ? ", and waits for picketctl sensor approve" : "",
            folder);
    }
    return status;
}

static int ask(void *socket, const struct pk_token *token, const char *folder, const char *name)
{
    struct pk_frame frame;
    struct pk_enrol_answer answer;
    zmq_msg_t body;
    int status;
    if (!send_request(socket, token, name)) {
        return fail(EX_UNAVAILABLE,
            "%s does not answer: the token may have expired (the port is closed then), or a firewall is between",
            token->endpoint);
    }
    zmq_msg_init(&body);
    if (!receive(socket, &frame, &body)) {
        status = fail(EX_UNAVAILABLE, "%s gave no answer, try again", token->endpoint);
    } else if (frame.type == PK_FRAME_ENROLLED &&
               pk_enrol_answer_decode(zmq_msg_data(&body), zmq_msg_size(&body), &answer) == PK_OK) {
        status = settle(folder, token, &answer);
    } else {
        status =
            fail(EX_NOPERM, "%s refuses: the token is not open for this sensor", token->endpoint);
    }
    zmq_msg_close(&body);
    return status;
}

/* "-" is the first line of standard input, none is PICKET_TOKEN: neither is seen in a list of processes. */
static pk_err read_token(const char *word, struct pk_token *out_token)
{
    char line[PK_TOKEN_TEXT_SIZE + 2] = "";
    if (word && strcmp(word, "-") != 0) {
        return pk_token_decode(word, out_token);
    }
    if (word) {
        if (!fgets(line, sizeof line, stdin)) {
            return PK_ERR_MALFORMED;
        }
        line[strcspn(line, " \r\n")] = '\0';
    }
    const char *variable = getenv("PICKET_TOKEN");
    pk_err err = pk_token_decode(word ? line : variable ? variable : "", out_token);
    sodium_memzero(line, sizeof line);
    return err;
}

int pk_run_enroll(const char *token_text, const char *folder_word)
{
    struct pk_token token;
    struct pk_keypair keys = {0};
    char folder[PATH_SIZE], path[PATH_SIZE + 16], error[PK_KEY_ERROR_SIZE],
        name[PK_ENROL_NAME_SIZE] = "";
    pk_err err = read_token(token_text, &token);
    if (err != PK_OK) {
        return fail(EX_DATAERR, "%s",
            err == PK_ERR_VERSION
                ? "this token does not begin with picket1.: copy it again; when it is right, it is of a newer kind, and this picket-sensor too old for it"
                : "this is not a whole token, copy it again");
    }
    /* The files name each other whole: the daemon may start in another folder. */
    if ((mkdir(folder_word, 0700) != 0 && errno != EEXIST) || !realpath(folder_word, folder)) {
        return fail(EX_CANTCREAT, "%s cannot be made", folder_word);
    }
    snprintf(path, sizeof path, "%s/sensor.key", folder);
    err =
        access(path, F_OK) == 0 ? pk_keypair_load(path, &keys, error) : pk_keypair_generate(&keys);
    if (err == PK_OK && access(path, F_OK) != 0) {
        err = pk_keypair_save(path, &keys, false, error);
    }
    if (err != PK_OK) {
        return fail(pk_key_status(err), "%s", error);
    }
    const char *wish = getenv("PICKET_SENSOR");
    if (wish) {
        snprintf(name, sizeof name, "%s", wish);
    } else if (gethostname(name, sizeof name - 1) != 0) {
        name[0] = '\0';
    }
    void *context = zmq_ctx_new();
    void *socket = context ? open_socket(context, &token, &keys) : NULL;
    int status = socket ? ask(socket, &token, folder, name)
                        : fail(EX_DATAERR, "%s cannot be connected to", token.endpoint);
    if (socket) {
        zmq_close(socket);
    }
    if (context) {
        zmq_ctx_term(context);
    }
    pk_keypair_wipe(&keys);
    sodium_memzero(&token, sizeof token);
    return status;
}
