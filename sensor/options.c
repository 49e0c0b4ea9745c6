/* Arguments by getopt_long. */
#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "picket/clock.h"

static const char usage[] =
    "picket-sensor - sees DNS, pairs queries with answers, ships what matters\n"
    "\n"
    "  picket-sensor --interface NAME --output MODE         live, on the terminal; repeatable, or a pattern as 'veth*'\n"
    "  picket-sensor --dnstap unix:/PATH --output MODE      live, from DNS servers that log there (or tcp:ADDRESS:PORT), alone or beside --interface\n"
    "  picket-sensor --read FILE... --output MODE           pcap, pcapng or dnstap, also .gz .xz .zst; - is standard input\n"
    "  picket-sensor --read FILE... --site S [--scope FILE] --write OUT.psp\n"
    "  picket-sensor --config FILE                          the daemon: capture, spool, ship to the aggregator\n"
    "  picket-sensor --config FILE --ship FILE.psp...       ships files made by --write, then ends\n"
    "  picket-sensor --config FILE --reread-ring [--since T]   ships what a new scope lets through of what the local ring kept, then ends\n"
    "  picket-sensor check-config FILE                      says whether FILE is good\n"
    "  picket-sensor genkey FILE                            makes a CURVE key pair, prints the public half\n"
    "  picket-sensor rotate-key --config FILE               makes the key that is to be the next; the daemon changes to it at SIGHUP or its next start\n"
    "  picket-sensor enroll [TOKEN|-] [--config FOLDER]     makes this machine a sensor: key, scope and sensor.yaml in FOLDER (/etc/picket);\n"
    "                                                       - reads the token from standard input, none is the environment's PICKET_TOKEN\n"
    "\n"
    "  -o, --output MODE      messages, transactions, rrsets or none (JSON lines; counters on standard error); none does all the work of --write but writing\n"
    "  -w, --write FILE       the observations as batches, for picket-aggregator replay\n"
    "      --site NAME        tenant/site, or the site alone where it is unique in the scope\n"
    "      --sensor NAME      name of the sensor in the file (default: the site's)\n"
    "      --scope FILE       which names may carry a source; without it every source stays in clear\n"
    "      --client-key FILE  key of the pseudonyms of inside clients\n"
    "      --vantage WHERE    authoritative or resolver; left out, it is inferred for each server\n"
    "      --window SECONDS   merge equal observations over 1..60 seconds (default 10)\n"
    "      --window-rows N    most rows of a kind in a window, 0 for no limit (default 200000 with a scope, else 0)\n"
    "      --dnstap-mode MODE permissions of the unix socket, octal (default 0660)\n"
    "      --dnstap-owner O   owner of the unix socket: user, user:group or :group\n"
    "      --dnstap-use KINDS messages that are told whole (default auth,client,update; also resolver, forwarder, stub, tool)\n"
    "      --dnstap-rrsets KINDS  messages that give RRsets alone (default resolver,forwarder)\n"
    "      --dnstap-plain     beside --interface: also what came over plain UDP and TCP, which the interface shows\n"
    "      --multicast            list mDNS (5353) and LLMNR (5355) messages too; they are never paired\n"
    "      --since T          of --reread-ring: seconds since 1970, or 36h or 7d ago (default: all)\n"
    "      --port N           DNS port besides 53 (repeatable)\n"
    "      --user NAME        after opening the interfaces root becomes this user (default picket, else nobody)\n"
    "      --no-sandbox       without seccomp and Landlock\n"
    "      --now              move the times of the files so that the last packet is now\n"
    "  -h, --help             this text\n"
    "  -V, --version\n";

enum {
    OPT_SITE = 256,
    OPT_SENSOR,
    OPT_SCOPE,
    OPT_CLIENT_KEY,
    OPT_VANTAGE,
    OPT_WINDOW,
    OPT_PORT,
    OPT_MULTICAST,
    OPT_USER,
    OPT_NOW,
    OPT_NO_SANDBOX,
    OPT_DNSTAP,
    OPT_DNSTAP_MODE,
    OPT_DNSTAP_OWNER,
    OPT_DNSTAP_USE,
    OPT_DNSTAP_RRSETS,
    OPT_DNSTAP_PLAIN,
    OPT_SHIP,
    OPT_WINDOW_ROWS,
    OPT_REREAD,
    OPT_SINCE
};

static const struct option long_options[] = {
    {"read", required_argument, NULL, 'r'},
    {"interface", required_argument, NULL, 'i'},
    {"output", required_argument, NULL, 'o'},
    {"write", required_argument, NULL, 'w'},
    {"config", required_argument, NULL, 'c'},
    {"site", required_argument, NULL, OPT_SITE},
    {"sensor", required_argument, NULL, OPT_SENSOR},
    {"scope", required_argument, NULL, OPT_SCOPE},
    {"client-key", required_argument, NULL, OPT_CLIENT_KEY},
    {"vantage", required_argument, NULL, OPT_VANTAGE},
    {"window", required_argument, NULL, OPT_WINDOW},
    {"window-rows", required_argument, NULL, OPT_WINDOW_ROWS},
    {"port", required_argument, NULL, OPT_PORT},
    {"multicast", no_argument, NULL, OPT_MULTICAST},
    {"user", required_argument, NULL, OPT_USER},
    {"ship", required_argument, NULL, OPT_SHIP},
    {"reread-ring", no_argument, NULL, OPT_REREAD},
    {"since", required_argument, NULL, OPT_SINCE},
    {"now", no_argument, NULL, OPT_NOW},
    {"dnstap", required_argument, NULL, OPT_DNSTAP},
    {"dnstap-mode", required_argument, NULL, OPT_DNSTAP_MODE},
    {"dnstap-owner", required_argument, NULL, OPT_DNSTAP_OWNER},
    {"dnstap-use", required_argument, NULL, OPT_DNSTAP_USE},
    {"dnstap-rrsets", required_argument, NULL, OPT_DNSTAP_RRSETS},
    {"dnstap-plain", no_argument, NULL, OPT_DNSTAP_PLAIN},
    {"no-sandbox", no_argument, NULL, OPT_NO_SANDBOX},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

static int wrong(const char *what, const char *value, const char *right)
{
    fprintf(stderr, "picket-sensor: %s \"%s\": %s; --help shows how\n", what, value, right);
    return EX_USAGE;
}

static bool number(const char *text, long min, long max, long *out)
{
    char *end;
    long v = strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || v < min || v > max) {
        return false;
    }
    *out = v;
    return true;
}

static bool parse_since(const char *text, int64_t *out_us)
{
    char *end;
    long v = strtol(text, &end, 10);
    bool is_ago = *end == 'h' || *end == 'd';
    if (end == text || v < 0 || v > INT32_MAX * 2L || (is_ago ? end[1] : end[0])) {
        return false;
    }
    int64_t unit_us = PK_US_PER_S * (*end == 'h' ? 3600 : *end == 'd' ? 86400 : 1);
    *out_us = is_ago ? pk_clock_wall_us() - v * unit_us : v * unit_us;
    return true;
}

static int take_dnstap(struct pk_dnstap_settings *dnstap, int option, const char *value)
{
    bool is_open;
    if (option == OPT_DNSTAP_PLAIN) {
        dnstap->has_plain = dnstap->is_plain = true;
    } else if (option == OPT_DNSTAP_OWNER) {
        dnstap->owner = value;
    } else if (option == OPT_DNSTAP_MODE) {
        if (!pk_dnstap_mode_parse(value, &dnstap->mode)) {
            return wrong("--dnstap-mode", value, "octal, at most 0777");
        }
    } else if (option == OPT_DNSTAP) {
        if (!pk_dnstap_endpoint_check(value, &is_open) ||
            dnstap->n_endpoints == PK_DNSTAP_MAX_ENDPOINTS) {
            return wrong(
                "--dnstap", value, "unix:/path, tcp:ADDRESS:PORT or tcp:PORT, at most four");
        }
        dnstap->endpoints[dnstap->n_endpoints++] = value;
    } else if (!pk_dnstap_kinds_parse(value,
                   option == OPT_DNSTAP_USE ? &dnstap->use.whole : &dnstap->use.rrsets_only)) {
        return wrong("--dnstap-use, --dnstap-rrsets", value,
            "auth, client, update, resolver, forwarder, stub, tool, with commas between");
    }
    return PK_OPTIONS_RUN;
}

static int take(struct pk_options *options, int option, const char *value)
{
    long v;
    if (option >= OPT_DNSTAP && option <= OPT_DNSTAP_PLAIN) {
        return take_dnstap(&options->dnstap, option, value);
    }
    switch (option) {
    case 'r':
        options->reads[options->n_reads++] = value;
        break;
    case 'i':
        options->interfaces[options->n_interfaces++] = value;
        break;
    case 'o':
        if (!pk_output_mode_parse(value, &options->output)) {
            return wrong("--output", value, "messages, transactions, rrsets or none");
        }
        break;
    case 'w':
        options->write = value;
        break;
    case 'c':
        options->command =
            options->command == PK_COMMAND_CAPTURE ? PK_COMMAND_DAEMON : options->command;
        options->config = value;
        break;
    case OPT_SITE:
        options->site = value;
        break;
    case OPT_SENSOR:
        options->sensor = value;
        break;
    case OPT_SCOPE:
        options->scope = value;
        break;
    case OPT_CLIENT_KEY:
        options->client_key = value;
        break;
    case OPT_VANTAGE:
        if (strcmp(value, "authoritative") != 0 && strcmp(value, "resolver") != 0) {
            return wrong("--vantage", value, "authoritative or resolver");
        }
        options->vantage = value[0] == 'a' ? PK_VANTAGE_AUTHORITATIVE : PK_VANTAGE_RESOLVER;
        break;
    case OPT_WINDOW:
        if (!number(value, 1, 60, &v)) {
            return wrong("--window", value, "1 to 60 seconds");
        }
        options->window_ms = (uint32_t)v * 1000;
        break;
    case OPT_WINDOW_ROWS:
        if (!number(value, 0, 10000000, &v) || (v > 0 && v < 1000)) {
            return wrong("--window-rows", value, "0, or 1000 to 10000000");
        }
        options->window_rows = v;
        break;
    case OPT_PORT:
        if (!number(value, 1, 65535, &v) ||
            options->ports.n == sizeof options->ports.v / sizeof *options->ports.v) {
            return wrong("--port", value, "1 to 65535, at most fifteen of them");
        }
        options->ports.v[options->ports.n++] = (uint16_t)v;
        break;
    case OPT_MULTICAST:
        options->ports.with_multicast = true;
        break;
    case OPT_USER:
        options->user = value;
        break;
    case OPT_SHIP:
        options->command = PK_COMMAND_SHIP;
        options->reads[options->n_reads++] = value;
        break;
    case OPT_REREAD:
        options->command = PK_COMMAND_REREAD;
        break;
    case OPT_SINCE:
        if (!parse_since(value, &options->since_us)) {
            return wrong("--since", value, "seconds since 1970, or hours or days ago as 36h or 7d");
        }
        break;
    case OPT_NO_SANDBOX:
        options->has_no_sandbox = true;
        break;
    case OPT_NOW:
        options->shift_to_now = true;
        break;
    case 'V':
        puts("picket-sensor " PICKET_VERSION);
        return EX_OK;
    case 'h':
        fputs(usage, stdout);
        return EX_OK;
    default:
        fputs("picket-sensor --help shows how\n", stderr);
        return EX_USAGE;
    }
    return PK_OPTIONS_RUN;
}

/* "site" or "tenant/site". */
static bool is_site(const char *text)
{
    const char *slash = strchr(text, '/');
    return *text != '\0' &&
           (!slash || (slash > text && slash[1] != '\0' && !strchr(slash + 1, '/')));
}

static int check(const struct pk_options *options)
{
    if (options->command == PK_COMMAND_REREAD && !options->config) {
        return wrong(
            "--reread-ring", "", "needs --config, which says where ring and aggregator are");
    }
    if (options->command == PK_COMMAND_SHIP && !options->config) {
        return wrong(
            "--ship", options->reads[0], "needs --config, which says where the aggregator is");
    }
    if (options->command != PK_COMMAND_CAPTURE) {
        return PK_OPTIONS_RUN;
    }
    bool is_live = options->n_interfaces > 0 || options->dnstap.n_endpoints > 0;
    if (options->n_reads == 0 && !is_live) {
        fputs(usage, stderr);
        return EX_USAGE;
    }
    if (options->n_reads > 0 && is_live) {
        return wrong("--read", options->reads[0], "or --interface and --dnstap, not both");
    }
    if (options->write && !options->site) {
        return wrong(
            "--write", options->write, "needs --site, so that the replay knows where it was seen");
    }
    if (options->site && !is_site(options->site)) {
        return wrong("--site", options->site, "TENANT/SITE, or the site alone");
    }
    if (options->client_key && !options->scope) {
        return wrong("--client-key", options->client_key,
            "without --scope every source stays in clear; give both or neither");
    }
    return PK_OPTIONS_RUN;
}

static int read_enroll(int argc, char **argv, struct pk_options *options)
{
    options->command = PK_COMMAND_ENROLL;
    options->config = "/etc/picket";
    int at = 2;
    if (argc > at && (argv[at][0] != '-' || strcmp(argv[at], "-") == 0)) {
        options->token = argv[at++];
    }
    if (argc == at + 2 && (strcmp(argv[at], "--config") == 0 || strcmp(argv[at], "-c") == 0)) {
        options->config = argv[at + 1];
    } else if (argc != at || (!options->token && !getenv("PICKET_TOKEN"))) {
        return wrong("enroll", argc > at ? argv[at] : "",
            "takes a token (or - for standard input, or PICKET_TOKEN), and --config FOLDER");
    }
    return PK_OPTIONS_RUN;
}

static int read_rotate_key(int argc, char **argv, struct pk_options *options)
{
    bool has_config = argc == 4 && (strcmp(argv[2], "--config") == 0 || strcmp(argv[2], "-c") == 0);
    if (!has_config) {
        return wrong("rotate-key", argc > 2 ? argv[2] : "", "takes --config FILE");
    }
    options->command = PK_COMMAND_ROTATE_KEY;
    options->config = argv[3];
    return PK_OPTIONS_RUN;
}

static int subcommand(int argc, char **argv, struct pk_options *options)
{
    static const struct {
        const char *name;
        enum pk_command command;
    } commands[] = {{"check-config", PK_COMMAND_CHECK_CONFIG}, {"genkey", PK_COMMAND_GENKEY}};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            if (argc != 3) {
                return wrong(argv[1], argc > 3 ? argv[3] : "", "takes one file name");
            }
            options->command = commands[i].command;
            options->config = options->key_file = argv[2];
            return PK_OPTIONS_RUN;
        }
    }
    if (strcmp(argv[1], "rotate-key") == 0) {
        return read_rotate_key(argc, argv, options);
    }
    if (strcmp(argv[1], "enroll") == 0) {
        return read_enroll(argc, argv, options);
    }
    return wrong("command", argv[1], "unknown");
}

int pk_options_parse(int argc, char **argv, struct pk_options *out_options)
{
    *out_options = (struct pk_options){.window_ms = 10000,
        .window_rows = -1,
        .ports = {.v = {53}, .n = 1},
        .dnstap = PK_DNSTAP_SETTINGS_DEFAULT};
    if (argc > 1 && argv[1][0] != '-') {
        return subcommand(argc, argv, out_options);
    }
    out_options->reads = calloc((size_t)argc + 1, sizeof *out_options->reads);
    out_options->interfaces = calloc((size_t)argc + 1, sizeof *out_options->interfaces);
    if (!out_options->reads || !out_options->interfaces) {
        fputs("picket-sensor: out of memory\n", stderr);
        return EX_OSERR;
    }
    int option, status = PK_OPTIONS_RUN;
    while (status == PK_OPTIONS_RUN &&
           (option = getopt_long(argc, argv, "r:i:o:w:c:hV", long_options, NULL)) != -1) {
        status = take(out_options, option, optarg);
    }
    for (; status == PK_OPTIONS_RUN && optind < argc; optind++) {
        if (out_options->n_reads == 0) {
            return wrong("argument", argv[optind], "comes without an option");
        }
        out_options->reads[out_options->n_reads++] = argv[optind]; /* --read a b c */
    }
    return status == PK_OPTIONS_RUN ? check(out_options) : status;
}

void pk_options_done(struct pk_options *options)
{
    free(options->reads);
    free(options->interfaces);
    options->reads = options->interfaces = NULL;
}
