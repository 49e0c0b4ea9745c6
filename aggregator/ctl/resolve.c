/* picketctl resolve: who a pseudonym is.
 *
 * A pseudonym is a keyed digest of an address and cannot be turned back; whoever has the tenant's client key makes the pseudonyms of all addresses that may be meant and compares. So this asks nobody: neither
 * the key nor what is looked for leaves this machine. Some three million addresses a second: all private IPv4 addresses are tried in six, while of IPv6 only short lists can be. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <sodium.h>

#include "picket/clock.h"
#include "picket/key.h"
#include "picket/pseudonym.h"
#include "picket/scope.h"

#include "command.h"

enum {
    NOT_FOUND = 1, /* exit status: at least one */
    MAX_WANTED = 10000,
    MAX_PREFIXES = 4096,
    MAX_TRIED = 1 << 26, /* addresses */
    MAX_FILE = 64 << 20,
    MAX_PERIODS = 2,
    PROGRESS_EVERY = 1 << 20,
    HEX_SIZE = 2 * PK_PSEUDONYM_BYTES + 1,
};

struct wanted {
    uint8_t pseudonym[PK_PSEUDONYM_BYTES];
    bool is_found;
};

struct search {
    struct wanted *wanted; /* sorted */
    size_t n_wanted, n_found;
    uint8_t first_two[1 << 13]; /* a bit for each beginning: most addresses are dismissed by it */
    struct pk_prefix *prefixes;
    size_t n_prefixes;
    struct pk_bytes candidates; /* the file, or empty */
    uint32_t periods[MAX_PERIODS];
    size_t n_periods;
    uint64_t n_tried;
    bool as_json, shows_progress;
    uint8_t master[PK_KEY_BYTES], key[PK_KEY_BYTES];
    uint32_t period; /* of key */
};

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, PK_PSEUDONYM_BYTES);
}

/* "client:" as findings have it may stand before the sixteen digits. */
static bool add_wanted(struct search *search, const char *text)
{
    size_t len = 0;
    const char *hex = strncmp(text, "client:", 7) == 0 ? text + 7 : text;
    struct wanted *one = &search->wanted[search->n_wanted];
    if (search->n_wanted == MAX_WANTED ||
        sodium_hex2bin(one->pseudonym, sizeof one->pseudonym, hex, strlen(hex), NULL, &len, NULL) !=
            0 ||
        len != sizeof one->pseudonym) {
        fprintf(stderr,
            "picketctl: \"%s\" is no pseudonym: sixteen hex digits, as findings have it\n", text);
        return false;
    }
    search->n_wanted++;
    return true;
}

static bool read_wanted(struct search *search, const struct arguments *arguments)
{
    char line[128];
    bool from_input = arguments->n_words == 2 && strcmp(arguments->words[1], "-") == 0;
    bool is_good = true;
    while (is_good && from_input && fgets(line, sizeof line, stdin)) {
        line[strcspn(line, " \t\r\n")] = '\0';
        is_good = line[0] == '\0' || add_wanted(search, line);
    }
    for (int i = 1; is_good && !from_input && i < arguments->n_words; i++) {
        is_good = add_wanted(search, arguments->words[i]);
    }
    qsort(search->wanted, search->n_wanted, sizeof *search->wanted, compare);
    size_t kept = 0;
    for (size_t i = 0; i < search->n_wanted; i++) { /* each once */
        if (i == 0 || compare(&search->wanted[i], &search->wanted[kept - 1]) != 0) {
            search->wanted[kept++] = search->wanted[i];
        }
    }
    search->n_wanted = kept;
    for (size_t i = 0; i < search->n_wanted; i++) {
        const uint8_t *p = search->wanted[i].pseudonym;
        search->first_two[(p[0] << 8 | p[1]) / 8] |= (uint8_t)(1 << p[1] % 8);
    }
    return is_good;
}

/* --- where to look --- */

static uint64_t size_of(const struct pk_prefix *prefix)
{
    unsigned bits = (prefix->addr.family == 4 ? 32u : 128u) - prefix->len;
    return bits > 32 ? UINT64_MAX : UINT64_C(1) << bits;
}

static bool add_prefixes(struct search *search, const char *list)
{
    for (const char *at = list; *at;) {
        char one[PK_PREFIX_TEXT_SIZE];
        size_t len = strcspn(at, ",");
        bool fits = len < sizeof one && search->n_prefixes < MAX_PREFIXES;
        memcpy(one, at, fits ? len : 0);
        one[fits ? len : 0] = '\0';
        if (!fits || !pk_prefix_parse(one, &search->prefixes[search->n_prefixes])) {
            fprintf(stderr, "picketctl: --in: \"%s\" is not a network\n", one);
            return false;
        }
        search->n_prefixes++;
        at += len + (at[len] == ',');
    }
    return true;
}

/* Clients of the tenant's sites. What is too wide to try is left to a list of candidates. */
static bool add_scope(struct search *search, const struct arguments *arguments, uint32_t *out_days)
{
    struct pk_scope *scope = NULL;
    char error[PK_CONF_ERROR_SIZE];
    const struct pk_scope_tenant *tenant = NULL;
    if (pk_scope_load(arguments->file, &scope, error) != PK_OK) {
        (void)ctl_fail(EX_CONFIG, error);
        return false;
    }
    for (size_t i = 0; i < scope->n_tenants; i++) {
        bool is_it = arguments->tenant ? strcmp(scope->tenants[i].name, arguments->tenant) == 0
                                       : scope->n_tenants == 1;
        tenant = is_it ? &scope->tenants[i] : tenant;
    }
    if (!tenant) {
        (void)ctl_fail(EX_USAGE, "which tenant of the scope? --tenant NAME");
    }
    for (size_t s = 0; tenant && s < tenant->n_sites; s++) {
        const struct pk_scope_site *site = &tenant->sites[s];
        for (size_t i = 0; i < site->n_clients && search->n_prefixes < MAX_PREFIXES; i++) {
            char text[PK_PREFIX_TEXT_SIZE];
            if (size_of(&site->clients[i]) <= MAX_TRIED) {
                search->prefixes[search->n_prefixes++] = site->clients[i];
            } else {
                fprintf(stderr, "%s is too wide to try: --candidates has a list\n",
                    pk_prefix_text(&site->clients[i], text));
            }
        }
    }
    *out_days = tenant ? tenant->pseudonym_days : 0;
    pk_scope_free(scope);
    return tenant != NULL;
}

static bool is_within(const struct pk_prefix *outer, const struct pk_prefix *inner)
{
    return outer->len <= inner->len && pk_prefix_contains(outer, &inner->addr);
}

/* Nothing is tried twice: networks within another one go. */
static void drop_inner(struct search *search)
{
    size_t kept = 0;
    for (size_t i = 0; i < search->n_prefixes; i++) {
        bool is_inner = false;
        for (size_t k = 0; k < search->n_prefixes && !is_inner; k++) {
            is_inner = k != i && is_within(&search->prefixes[k], &search->prefixes[i]) &&
                       (search->prefixes[k].len < search->prefixes[i].len || k < i);
        }
        if (!is_inner) {
            search->prefixes[kept] = search->prefixes[i];
        }
        kept += !is_inner;
    }
    search->n_prefixes = kept;
}

static bool is_bounded(const struct search *search)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < search->n_prefixes; i++) {
        uint64_t size = size_of(&search->prefixes[i]);
        sum = size > MAX_TRIED ? UINT64_MAX : sum > MAX_TRIED ? sum : sum + size;
        if (sum > MAX_TRIED) {
            char text[PK_PREFIX_TEXT_SIZE];
            fprintf(stderr,
                "picketctl: %s makes more than 67,108,864 addresses: name smaller networks, or give a list (ip neigh, leases) by --candidates\n",
                pk_prefix_text(&search->prefixes[i], text));
            return false;
        }
    }
    return true;
}

/* --- trying --- */

static void tell(struct search *search, struct wanted *found, const struct pk_addr *addr)
{
    char hex[HEX_SIZE], address[PK_ADDR_TEXT_SIZE], since[PK_TIME_TEXT_SIZE];
    sodium_bin2hex(hex, sizeof hex, found->pseudonym, sizeof found->pseudonym);
    (void)pk_addr_text(addr, address);
    (void)pk_time_text((int64_t)search->period * 86400 * PK_US_PER_S, since);
    printf(search->as_json
               ? "{\"pseudonym\":\"client:%s\",\"address\":\"%s\",\"since\":\"%.10s\"}\n"
               : "client:%s %s since %.10s\n",
        hex, address, since);
    search->n_found += !found->is_found;
    found->is_found = true;
}

static void try_one(struct search *search, const struct pk_addr *addr)
{
    uint8_t pseudonym[PK_PSEUDONYM_BYTES];
    pk_pseudonym_of(search->key, addr, pseudonym);
    search->n_tried++;
    if (search->shows_progress && search->n_tried % PROGRESS_EVERY == 0) {
        fprintf(stderr, "\rtried %" PRIu64 ", found %zu of %zu", search->n_tried, search->n_found,
            search->n_wanted);
    }
    if (search->first_two[(pseudonym[0] << 8 | pseudonym[1]) / 8] & 1 << pseudonym[1] % 8) {
        struct wanted *found =
            bsearch(pseudonym, search->wanted, search->n_wanted, sizeof *search->wanted, compare);
        if (found) {
            tell(search, found, addr);
        }
    }
}

static void try_prefix(struct search *search, const struct pk_prefix *prefix)
{
    struct pk_addr addr = prefix->addr;
    size_t last = pk_addr_len(&addr);
    for (uint64_t left = size_of(prefix); left > 0 && search->n_found < search->n_wanted; left--) {
        try_one(search, &addr);
        for (size_t i = last; i-- > 0 && ++addr.bytes[i] == 0;) {
        }
    }
}

/* Whatever reads as an address, wherever it stands: ip neigh, arp -an, leases, a column of a table. */
static void try_candidates(struct search *search)
{
    static const char separators[] = " \t\r\n,;()[]{}<>\"'=|";
    const char *at = pk_bytes_text(&search->candidates);
    while (at && *at) {
        char one[PK_ADDR_TEXT_SIZE];
        struct pk_addr addr;
        size_t len = strcspn(at, separators), plain = len;
        for (size_t i = 0; i < len; i++) { /* fe80::1%eth0, 10.0.0.1/24 */
            plain = (at[i] == '%' || at[i] == '/') && plain == len ? i : plain;
        }
        if (plain > 0 && plain < sizeof one) {
            memcpy(one, at, plain);
            one[plain] = '\0';
            if (pk_addr_parse(one, &addr)) {
                try_one(search, &addr);
            }
        }
        at += len;
        at += strspn(at, separators);
    }
}

static void try_all(struct search *search)
{
    for (size_t p = 0; p < search->n_periods && search->n_found < search->n_wanted; p++) {
        search->period = search->periods[p];
        pk_pseudonym_key(search->master, search->period, search->key);
        try_candidates(search); /* few, and most likely */
        for (size_t i = 0; i < search->n_prefixes; i++) {
            try_prefix(search, &search->prefixes[i]);
        }
    }
    fprintf(stderr, "%stried %" PRIu64 " addresses over %zu period%s, found %zu of %zu\n",
        search->shows_progress ? "\r" : "", search->n_tried, search->n_periods,
        search->n_periods == 1 ? "" : "s", search->n_found, search->n_wanted);
}

/* --- arguments --- */

/* The period that holds the day; without a day the present one and the one before. */
static int read_periods(
    struct search *search, const struct arguments *arguments, uint32_t scope_days)
{
    char *end = NULL;
    long days = arguments->days ? strtol(arguments->days, &end, 10)
                : scope_days    ? (long)scope_days
                                : PK_PSEUDONYM_DAYS;
    int64_t at_us = pk_clock_wall_us();
    if ((end && *end) || days < 1 || days > PK_PSEUDONYM_MAX_DAYS) {
        return ctl_fail(EX_USAGE, "--pseudonym-days is 1 to 3650, as in the scope");
    }
    if (arguments->day && !pk_time_parse(arguments->day, &at_us)) {
        return ctl_fail(EX_USAGE, "--day is a date like 2026-11-24, or a time");
    }
    search->periods[search->n_periods++] = pk_pseudonym_period(at_us, (uint32_t)days);
    if (!arguments->day && search->periods[0] > (uint32_t)days) {
        search->periods[search->n_periods++] = search->periods[0] - (uint32_t)days;
    }
    return EX_OK;
}

static int prepare(struct search *search, const struct arguments *arguments)
{
    static const char private_v4[] = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10";
    char error[PK_KEY_ERROR_SIZE];
    uint32_t scope_days = 0;
    pk_bytes_init(&search->candidates, MAX_FILE);
    search->wanted = calloc(MAX_WANTED, sizeof *search->wanted);
    search->prefixes = calloc(MAX_PREFIXES, sizeof *search->prefixes);
    if (!search->wanted || !search->prefixes || sodium_init() < 0) {
        return ctl_fail(EX_OSERR, "out of memory");
    }
    if (!arguments->client_key || arguments->n_words < 2) {
        return ctl_fail(EX_USAGE,
            "resolve needs --client-key FILE, and pseudonyms (or - for those on standard input)");
    }
    if (!read_wanted(search, arguments)) {
        return EX_DATAERR;
    }
    if (arguments->candidates &&
        pk_bytes_read_file(&search->candidates, arguments->candidates) != PK_OK) {
        return ctl_fail(EX_NOINPUT, "--candidates: the file cannot be read, or is above 64 MiB");
    }
    if (arguments->file && !add_scope(search, arguments, &scope_days)) {
        return EX_CONFIG;
    }
    const char *in = arguments->in                                ? arguments->in
                     : !arguments->file && !arguments->candidates ? private_v4
                                                                  : "";
    if (!add_prefixes(search, in)) {
        return EX_USAGE;
    }
    drop_inner(search);
    if (!is_bounded(search)) {
        return EX_USAGE;
    }
    pk_err err = pk_client_key_load(arguments->client_key, search->master, error);
    if (err != PK_OK) {
        return ctl_fail(pk_key_status(err), error);
    }
    return read_periods(search, arguments, scope_days);
}

int ctl_resolve(const struct arguments *arguments)
{
    struct search *search = calloc(1, sizeof *search);
    if (!search) {
        return ctl_fail(EX_OSERR, "out of memory");
    }
    search->as_json = arguments->as_json;
    search->shows_progress = isatty(STDERR_FILENO) == 1;
    int status = prepare(search, arguments);
    if (status == EX_OK) {
        try_all(search);
        status = search->n_found == search->n_wanted ? EX_OK : NOT_FOUND;
    }
    for (size_t i = 0; status == NOT_FOUND && i < search->n_wanted; i++) {
        char hex[HEX_SIZE];
        if (!search->wanted[i].is_found) {
            sodium_bin2hex(hex, sizeof hex, search->wanted[i].pseudonym, PK_PSEUDONYM_BYTES);
            fprintf(stderr, "client:%s not found\n", hex);
        }
    }
    pk_bytes_done(&search->candidates);
    free(search->wanted);
    free(search->prefixes);
    sodium_memzero(search, sizeof *search);
    free(search);
    return status;
}
