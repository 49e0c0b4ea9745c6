/* D10: profiling mail and infrastructure (T1590.002, next to T1589.002).
 *
 * Which families of names one source touches in one zone within half an hour: MX; TXT of the apex (SPF); policies (_dmarc, _mta-sts, mta-sts, _smtp._tls); DKIM selectors,
 * counted from five that do not exist (forged mail names some); service names (_x._tcp), counted from five that do not exist and that no client asks for by itself; client
 * configuration (autodiscover, lyncdiscover, enterpriseregistration, ...). A mail server touches the first three and asks for selectors that its mail names; a phone that sets up an
 * account asks for a dozen services, most of which do not exist; neither guesses. So a finding, severity 2, needs three families, ten names, and one family of guesses; 3 when three
 * zones are profiled within the day. A busy resolver leaves a hint alone, and less than a finding leaves a hint too. What connects to the mail server afterwards is not visible here.
 *
 * Or services alone: a list of them (dnsrecon -t srv has 49, nmap dns-srv-enum some 30) asks for kinds nobody has: six different first labels that no client asks for by itself (as bits by
 * hash), of a busy resolver twelve: all its users' programs are behind it; whatever clients ask for, too, when a program asks the authoritative server itself (nmap's are all of that kind). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/dnsmsg.h"
#include "picket/hash.h"

#include "internal.h"

enum family {
    FAMILY_MX,
    FAMILY_SPF,
    FAMILY_POLICY,
    FAMILY_SELECTOR,
    FAMILY_SERVICE,
    FAMILY_CLIENT,
    N_FAMILIES
};

enum {
    WINDOW_US_S = 1800,
    DAY_S = 86400,
    MAX_NAMES = 32, /* distinct names remembered of a window */
    MAX_ZONES = 8,
    MIN_FAMILIES = 3,
    MIN_NAMES = 10,
    MIN_SELECTORS = 5, /* that do not exist */
    MIN_SERVICES = 5,
    MIN_KINDS = 6, /* of services guessed, without anything else */
    MIN_KINDS_BUSY = 12,
    BUSY_ROWS = 300
};

static const double nats_family = 1.0, nats_guess = 0.7, nats_guess_cap = 6.0, threshold = 5.0;

struct profile {
    int64_t since_us;
    uint64_t zone; /* of the window */
    uint64_t names[MAX_NAMES];
    uint8_t n_names;
    uint8_t n_asked[N_FAMILIES];  /* distinct names of each, saturating */
    uint8_t n_missed[N_FAMILIES]; /* of these such as are guesses */
    uint64_t services;            /* first labels of services guessed: a bit by hash */
    uint64_t zones[MAX_ZONES];    /* profiled within the day before the latest */
    uint8_t n_zones;
    int64_t zones_us;
};

static bool is_label(const struct pk_name *name, unsigned index, const char *text)
{
    uint8_t len;
    if (index >= name->n_labels) {
        return false;
    }
    const uint8_t *label = pk_name_label(name, index, &len);
    return strlen(text) == len && memcmp(label, text, len) == 0;
}

static bool is_any_label(const struct pk_name *name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (is_label(name, 0, list[i])) {
            return true;
        }
    }
    return false;
}

/* Services that programs ask for by themselves below the domain of an account or of their machine: mail (RFC 6186, 8314, 8620), calendars (RFC 6764), telephony and chat (RFC 3263, 6120, 8489),
 * directory and logon (RFC 2782 as Active Directory uses it), package and configuration management. That they do not exist says nothing about who asks. */
static bool is_usual_service(const struct pk_name *name)
{
    static const char *const usual[] = {"_autodiscover", "_imap", "_imaps", "_pop3", "_pop3s",
        "_submission", "_submissions", "_smtp", "_jmap", "_caldav", "_caldavs", "_carddav",
        "_carddavs", "_sip", "_sips", "_sipinternal", "_sipinternaltls", "_sipfederationtls",
        "_sipexternal", "_sipexternaltls", "_xmpp-client", "_xmpp-server", "_xmpps-client",
        "_xmpps-server", "_jabber", "_matrix", "_matrix-fed", "_stun", "_stuns", "_turn", "_turns",
        "_ldap", "_ldaps", "_kerberos", "_kerberos-master", "_kerberos-adm", "_kpasswd", "_gc",
        "_vlmcs", "_ntp", "_http", "_https", "_x-puppet", "_minecraft", "_ts3"};
    return is_any_label(name, usual, sizeof usual / sizeof *usual);
}

/* `_25._tcp.mx1`: a certificate's record (RFC 6698), asked by whoever delivers mail there. */
static bool is_port(const uint8_t *label, uint8_t len)
{
    return len >= 2 && label[0] == '_' && label[1] >= '0' && label[1] <= '9';
}

/* N_FAMILIES: none of them. */
static enum family family_of(const struct observation *seen)
{
    static const char *const policies[] = {"_dmarc", "_mta-sts", "mta-sts", "_smtp", "_adsp"};
    static const char *const clients[] = {"autodiscover", "autoconfig", "lyncdiscover", "sip",
        "enterpriseregistration", "enterpriseenrollment", "msoid", "imap", "pop3", "smtp"};
    const struct pk_name *name = &seen->name;
    uint16_t type = seen->row->signature.qtype;
    unsigned left = (unsigned)(name->n_labels - seen->zone_name.n_labels);
    if (left == 0) {
        return type == PK_TYPE_MX                  ? FAMILY_MX
               : type == PK_TYPE_TXT || type == 99 ? FAMILY_SPF
                                                   : N_FAMILIES;
    }
    if (left == 1 && is_any_label(name, policies, sizeof policies / sizeof *policies)) {
        return FAMILY_POLICY;
    }
    if (is_label(name, 0, "_tls") && is_label(name, 1, "_smtp")) {
        return FAMILY_POLICY;
    }
    if (left >= 2 && is_label(name, 1, "_domainkey")) {
        return FAMILY_SELECTOR;
    }
    uint8_t len;
    const uint8_t *first = pk_name_label(name, 0, &len);
    if (left >= 2 && first[0] == '_' && !is_port(first, len) &&
        (is_label(name, 1, "_tcp") || is_label(name, 1, "_udp") || is_label(name, 1, "_tls"))) {
        return FAMILY_SERVICE;
    }
    return left == 1 && is_any_label(name, clients, sizeof clients / sizeof *clients)
               ? FAMILY_CLIENT
               : N_FAMILIES;
}

static bool note_name(struct profile *profile, uint64_t name)
{
    for (uint8_t i = 0; i < profile->n_names; i++) {
        if (profile->names[i] == name) {
            return false;
        }
    }
    profile->names[profile->n_names % MAX_NAMES] = name;
    profile->n_names = (uint8_t)(profile->n_names + (profile->n_names < MAX_NAMES));
    return true;
}

static unsigned zones_profiled(struct profile *profile, uint64_t zone, int64_t now_us)
{
    if (now_us - profile->zones_us > (int64_t)DAY_S * 1000000) {
        profile->n_zones = 0;
    }
    profile->zones_us = now_us;
    for (uint8_t i = 0; i < profile->n_zones; i++) {
        if (profile->zones[i] == zone) {
            return profile->n_zones;
        }
    }
    if (profile->n_zones < MAX_ZONES) {
        profile->zones[profile->n_zones++] = zone;
    }
    return profile->n_zones;
}

struct verdict {
    unsigned families, names, guesses;
    double nats_families, nats_guesses;
    bool is_alarm, is_services; /* the services alone are a list's */
};

static struct verdict judge(
    const struct pk_engine *engine, const struct profile *profile, bool is_busy)
{
    struct verdict verdict = {.names = profile->n_names};
    for (unsigned i = 0; i < N_FAMILIES; i++) {
        unsigned missed = profile->n_missed[i];
        bool is_counted = i == FAMILY_SELECTOR  ? missed >= MIN_SELECTORS
                          : i == FAMILY_SERVICE ? missed >= MIN_SERVICES
                                                : profile->n_asked[i] > 0;
        verdict.families += is_counted;
        verdict.guesses += (i == FAMILY_SELECTOR || i == FAMILY_SERVICE) && is_counted ? missed : 0;
    }
    verdict.nats_families = nats_family * verdict.families;
    verdict.nats_guesses = nats_guess * verdict.guesses;
    verdict.nats_guesses =
        verdict.nats_guesses < nats_guess_cap ? verdict.nats_guesses : nats_guess_cap;
    unsigned kinds = (unsigned)__builtin_popcountll(profile->services);
    verdict.is_services = kinds >= (is_busy ? MIN_KINDS_BUSY : MIN_KINDS);
    bool is_mixed = verdict.families >= MIN_FAMILIES && verdict.names >= MIN_NAMES &&
                    verdict.guesses > 0 && !is_busy;
    verdict.is_alarm =
        (is_mixed || verdict.is_services) &&
        verdict.nats_families + verdict.nats_guesses > rule_threshold_by_hand(engine, threshold);
    return verdict;
}

static pk_err report(struct pk_engine *engine, struct actor *actor, const struct profile *profile,
    unsigned zones, struct dossier *dossier, const struct verdict *verdict)
{
    uint8_t severity = zones >= 3 ? 3 : 2;
    if (!dossier_is_due(dossier, verdict->names, severity)) {
        return PK_OK;
    }
    struct subject subject;
    subject_of_actor(actor, &subject);
    struct pk_finding *finding =
        dossier_begin(engine, RULE_PROFILE, dossier, &subject, verdict->names, severity);
    bool is_mixed = verdict->families >= MIN_FAMILIES;
    if (is_mixed) {
        snprintf(finding->title, sizeof finding->title,
            "Mail and service profiling by %.50s: %u names of %u kinds", finding->actor_key,
            verdict->names, verdict->families);
    } else {
        snprintf(finding->title, sizeof finding->title,
            "Service enumeration by %.50s: %u service names, %u do not exist", finding->actor_key,
            profile->n_asked[FAMILY_SERVICE], profile->n_missed[FAMILY_SERVICE]);
    }
    finding->technique[finding->n_techniques++] = "T1590.002";
    if (is_mixed) {
        finding->technique[finding->n_techniques++] = "T1589.002";
    }
    contribute(finding, "kinds of mail and service names touched", verdict->nats_families);
    contribute(finding, "selectors and services guessed that do not exist", verdict->nats_guesses);
    finding->trials = verdict->names;
    finding->other = verdict->guesses;
    report_finding(engine, rule_threshold_by_hand(engine, threshold));
    return PK_OK;
}

/* An outside program that asks the authoritative server itself, recursion desired: PCs and telephones ask their resolver, so no service is usual then. */
static bool is_direct(const struct observation *seen)
{
    const struct pk_signature *signature = &seen->row->signature;
    return signature->vantage == PK_VANTAGE_AUTHORITATIVE && (signature->flags & PK_SIG_QUERY_RD) &&
           seen->actor->key.kind == ACTOR_ADDRESS;
}

static pk_err observe(struct pk_engine *engine, const struct observation *seen)
{
    if (seen->reason != PK_SCOPE_ZONE || !seen->zone ||
        seen->row->signature.qclass != PK_CLASS_IN || seen->is_own_scanner || seen->is_upstream) {
        return PK_OK;
    }
    enum family family = family_of(seen);
    if (family == N_FAMILIES) {
        return PK_OK;
    }
    struct profile *profile = actor_ledger(engine, seen->actor, RULE_PROFILE);
    struct dossier *dossier = profile ? ledger_dossier(profile) : NULL;
    if (!dossier) {
        return PK_ERR_NOMEM;
    }
    int64_t now_us = seen->row->first_us;
    if (profile->zone != seen->zone->hash ||
        llabs(now_us - profile->since_us) > (int64_t)WINDOW_US_S * 1000000) {
        struct profile fresh = {.since_us = now_us, .zone = seen->zone->hash};
        memcpy(fresh.zones, profile->zones, sizeof fresh.zones);
        fresh.n_zones = profile->n_zones;
        fresh.zones_us = profile->zones_us;
        *profile = fresh;
    }
    if (!note_name(profile, seen->name_hash)) {
        dossier_add_site(dossier, seen);
        return PK_OK;
    }
    bool is_miss = seen->row->signature.answer == PK_ANSWER_NXDOMAIN ||
                   seen->row->signature.answer == PK_ANSWER_NODATA;
    bool is_usual = family == FAMILY_SERVICE && is_usual_service(&seen->name) && !is_direct(seen);
    bool is_guess = is_miss && !is_usual;
    profile->n_asked[family] =
        (uint8_t)(profile->n_asked[family] + (profile->n_asked[family] < UINT8_MAX));
    profile->n_missed[family] =
        (uint8_t)(profile->n_missed[family] + (is_guess && profile->n_missed[family] < UINT8_MAX));
    if (family == FAMILY_SERVICE && is_guess) {
        uint8_t len;
        const uint8_t *label = pk_name_label(&seen->name, 0, &len);
        profile->services |= UINT64_C(1) << pk_hash_fixed(label, len) % 64;
    }
    pk_err err = dossier_note(dossier, seen, is_miss ? NOTE_SAMPLE : NOTE_LEARNED, true);
    struct verdict verdict = judge(engine, profile, seen->actor->rows >= BUSY_ROWS);
    if (err == PK_OK && verdict.families >= MIN_FAMILIES) {
        err = hint_leave(engine, seen->actor, HINT_PROFILE,
            1 + (verdict.nats_guesses < 2 ? verdict.nats_guesses : 2), now_us);
    }
    if (err != PK_OK || !verdict.is_alarm) {
        return err;
    }
    unsigned zones = zones_profiled(profile, seen->zone->hash, now_us);
    return report(engine, seen->actor, profile, zones, dossier, &verdict);
}

static pk_err settle(struct pk_engine *engine, void *ledger)
{
    const struct profile *profile = ledger;
    struct verdict verdict = judge(engine, profile, false);
    return report(engine, &engine->actors.v[ledger_owner(ledger)], profile, profile->n_zones,
        ledger_dossier_find(ledger), &verdict);
}

static void save(const void *ledger, struct pk_bytes *out)
{
    const struct profile *profile = ledger;
    state_put_time(out, profile->since_us);
    pk_bytes_put_be64(out, profile->zone);
    pk_bytes_put_u8(out, profile->n_names);
    for (uint8_t i = 0; i < profile->n_names; i++) {
        pk_bytes_put_be64(out, profile->names[i]);
    }
    pk_bytes_put(out, profile->n_asked, sizeof profile->n_asked);
    pk_bytes_put(out, profile->n_missed, sizeof profile->n_missed);
    pk_bytes_put_be64(out, profile->services);
    pk_bytes_put_u8(out, profile->n_zones);
    for (uint8_t i = 0; i < profile->n_zones; i++) {
        pk_bytes_put_be64(out, profile->zones[i]);
    }
    state_put_time(out, profile->zones_us);
}

static void load(void *ledger, struct pk_reader *in)
{
    struct profile *profile = ledger;
    profile->since_us = state_get_time(in);
    profile->zone = pk_reader_be64(in);
    profile->n_names = state_get_count(in, MAX_NAMES);
    for (uint8_t i = 0; i < profile->n_names; i++) {
        profile->names[i] = pk_reader_be64(in);
    }
    state_get_bytes(in, profile->n_asked, sizeof profile->n_asked);
    state_get_bytes(in, profile->n_missed, sizeof profile->n_missed);
    profile->services = pk_reader_be64(in);
    profile->n_zones = state_get_count(in, MAX_ZONES);
    for (uint8_t i = 0; i < profile->n_zones; i++) {
        profile->zones[i] = pk_reader_be64(in);
    }
    profile->zones_us = state_get_time(in);
}

const struct rule rule_profile = {
    .id = "D10",
    .family = "profile",
    .version = "4",
    .budget_share = 0.03,
    .ledger_bytes = sizeof(struct profile),
    .max_ledgers = 5000,
    .observe = observe,
    .settle = settle,
    .save = save,
    .load = load,
};
