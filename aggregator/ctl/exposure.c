/* picketctl exposure, canary make, canary list. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>

#include "picket/clock.h"
#include "picket/hash.h"
#include "picket/name.h"

#include "command.h"

enum {
    PATH_SIZE = 512,
    MAX_CANARIES = 1000,
    SEED_BYTES = 16
};

static void print_items(const json_t *list)
{
    size_t index;
    json_t *item;
    printf(
        "%-3s %-16s %-40s %-6s %-20s %s\n", "SEV", "WHAT", "NAME", "TYPE", "LAST SEEN", "EVIDENCE");
    json_array_foreach((json_t *)(uintptr_t)list, index, item)
    {
        printf("%-3lld %-16s %-40s %-6s %-20.19s %s\n",
            (long long)json_integer_value(json_object_get(item, "severity")),
            ctl_text(item, "kind"), ctl_text(item, "name"), ctl_text(item, "type"),
            ctl_text(item, "last_seen"), ctl_text(item, "evidence"));
    }
    if (json_array_size(list) == 0) {
        puts("nothing exposed that the history knows of");
    }
}

int ctl_exposure(const struct arguments *arguments)
{
    struct pk_bytes path;
    if (arguments->n_words > 1) {
        pk_bytes_init(&path, PATH_SIZE);
        ctl_put_text(&path, "/api/v1/exposure/");
        pk_client_escape(&path, arguments->words[1]);
        int status = path.err == PK_OK ? ctl_list(arguments, pk_bytes_text(&path), print_items)
                                       : ctl_fail(EX_USAGE, "the zone's name is too long");
        pk_bytes_done(&path);
        return status;
    }
    return ctl_list(arguments, "/api/v1/exposure", print_items);
}

/* --- canaries --- */

/* Names people give to hosts, so that nobody sees the trap; two words and a site code, so that nobody guesses it. */
static const char *const firsts[] = {"copper", "granite", "juniper", "falcon", "harbor", "indigo",
    "lantern", "maple", "nickel", "onyx", "pewter", "quartz", "raven", "saffron", "teal", "umber",
    "velvet", "walnut", "amber", "basalt", "cedar", "dunlin", "ember", "fjord", "garnet", "hazel",
    "ivory", "jasper", "kelp", "linden", "mistral", "nectar"};
static const char *const seconds[] = {"lab", "vault", "relay", "ledger", "archive", "batch",
    "badge", "billing", "camera", "docs", "drop", "export", "feed", "forms", "grid", "hub",
    "intake", "jobs", "label", "metrics", "notes", "orders", "payroll", "quota", "reports", "scan",
    "tickets", "upload", "visitor", "wiki", "yard", "zone"};
static const char *const sites[] = {"muc", "ber", "kiel", "oslo", "ams", "par", "lyon", "wien",
    "brno", "riga", "gent", "bern", "turin", "cork", "leeds", "porto"};

/* The same for the same seed and zone, whatever n. */
static void make_label(const char *seed, const char *zone, unsigned long i, char out[64])
{
    char text[512];
    uint8_t digest[PK_DIGEST_BYTES];
    int len = snprintf(text, sizeof text, "canary|%s|%s|%lu", seed, zone, i);
    pk_digest(text, (size_t)len < sizeof text ? (size_t)len : sizeof text - 1, digest);
    snprintf(out, 64, "%s-%s-%s%u", firsts[digest[0] % 32], seconds[digest[1] % 32],
        sites[digest[2] % 16], 2 + digest[3] % 8);
}

static bool is_plain(const char *text, size_t max)
{
    for (const char *p = text; *p; p++) {
        if (!isalnum((unsigned char)*p) && *p != '-' && *p != '_') {
            return false;
        }
    }
    return *text && strlen(text) <= max;
}

static void print_canaries(const json_t *list)
{
    size_t index, k;
    json_t *canary, *reader;
    printf("%-44s %-12s %-20s %-40s %-20s %s\n", "NAME", "CHANNEL", "PLANTED", "READ BY", "FIRST",
        "FINDING");
    json_array_foreach((json_t *)(uintptr_t)list, index, canary)
    {
        const json_t *readers = json_object_get(canary, "readers");
        if (json_array_size(readers) == 0) {
            printf("%-44s %-12s %-20.19s nobody\n", ctl_text(canary, "name"),
                ctl_text(canary, "channel"), ctl_text(canary, "planted"));
        }
        json_array_foreach((json_t *)(uintptr_t)readers, k, reader)
        {
            printf("%-44s %-12s %-20.19s %-40s %-20.19s %s\n", ctl_text(canary, "name"),
                ctl_text(canary, "channel"), ctl_text(canary, "planted"), ctl_text(reader, "actor"),
                ctl_text(reader, "first_seen"), ctl_text(reader, "finding"));
        }
    }
    if (json_array_size(list) == 0) {
        puts("no canary in the scope: picketctl canary make --zone ZONE");
    }
}

int ctl_canary_list(const struct arguments *arguments)
{
    return ctl_list(arguments, "/api/v1/canaries", print_canaries);
}

/* Local: prints lines for the scope file; nothing is sent anywhere. */
int ctl_canary_make(const struct arguments *arguments)
{
    struct pk_name zone;
    char zone_text[PK_NAME_TEXT_SIZE], seed[65], label[64], now[PK_TIME_TEXT_SIZE];
    const char *channel = arguments->name;
    unsigned long n = arguments->number ? strtoul(arguments->number, NULL, 10) : 5;
    if (!arguments->zone || pk_name_from_text(arguments->zone, &zone) != PK_OK ||
        pk_name_is_root(&zone) || n == 0 || n > MAX_CANARIES) {
        return ctl_fail(EX_USAGE, "canary make needs --zone ZONE, and --n from 1 to 1000");
    }
    if ((channel && !is_plain(channel, 63)) ||
        (arguments->seed && !is_plain(arguments->seed, 64))) {
        return ctl_fail(EX_USAGE, "--channel and --seed take letters, digits, - and _");
    }
    pk_name_lower(&zone);
    (void)pk_name_text(&zone, zone_text);
    zone_text[strlen(zone_text) - 1] = '\0'; /* the last dot */
    if (arguments->seed) {
        snprintf(seed, sizeof seed, "%s", arguments->seed);
    } else {
        uint8_t raw[SEED_BYTES];
        if (getrandom(raw, sizeof raw, 0) != (ssize_t)sizeof raw) {
            return ctl_fail(EX_OSERR, "the system gives no random numbers");
        }
        for (size_t i = 0; i < sizeof raw; i++) {
            snprintf(seed + 2 * i, 3, "%02x", raw[i]);
        }
    }
    (void)pk_time_text(pk_clock_wall_us(), now);
    printf("# seed: %s (keep it secret: with it these names can be made again)\n    canaries:\n",
        seed);
    for (unsigned long i = 0; i < n; i++) {
        make_label(seed, zone_text, i, label);
        printf("      - {name: %s.%s, channel: %s, planted: %.19sZ}\n", label, zone_text,
            channel ? channel : "unplanted", now);
    }
    return EX_OK;
}
