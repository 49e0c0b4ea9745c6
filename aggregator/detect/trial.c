/* First contacts and their outcomes. */
#include "trial.h"

#include <string.h>

#include "picket/dnsmsg.h"
#include "picket/hash.h"

#include "internal.h"

enum {
    RETIRED_S = 30 * 86400,
    SEARCH_NAMES = 3,        /* outside names before a suffix counts as learned */
    MORE_THAN_A_SERVICE = 3, /* labels before `svc` */
    ONE_RESOLUTION_US = 2000000,
};

/* Ends of names that nobody gives to a host of his own, so that `name.vendor.com` before the tenant's zone is a search suffix at work at first sight; two-letter ends and words that also serve as
 * sub-domains say less (is_search). */
static const char *const clear_ends[] = {
    "com", "net", "org", "biz", "edu", "gov", "mil", "arpa", "local", "localdomain"};
static const char *const vague_ends[] = {"info", "lan", "corp", "home", "internal", "intranet",
    "private", "dev", "app", "cloud", "online", "site", "tech", "name", "xyz", "top", "goog",
    "aero", "travel"};

static bool is_one_of(const uint8_t *label, uint8_t len, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strlen(list[i]) == len && memcmp(list[i], label, len) == 0) {
            return true;
        }
    }
    return false;
}

/* The first n labels are a whole name of the tenant's own: `www.example.com.branch.example.net`. */
static bool is_own_name(const struct pk_engine *engine, const struct observation *seen, unsigned n)
{
    struct pk_name before, zone;
    size_t len = 0;
    for (unsigned i = 0; i < n; i++) {
        len += 1u + seen->name.wire[len];
    }
    memcpy(before.wire, seen->name.wire, len);
    before.wire[len] = 0;
    before.len = (uint8_t)(len + 1);
    before.n_labels = (uint8_t)n;
    return pk_scope_match(engine->tenant, &before, seen->row->signature.qtype,
               seen->row->signature.qclass, &zone) == PK_SCOPE_ZONE;
}

/* The suffix has labels of its own below the zone (`slack.com.shop.svc.cluster.local`: resolvers of pods have three such): an outside or own name ends further left. Two letters alone
 * say so in front of `svc` only; elsewhere `vpn.eu.prod` is as good a host. A service is two labels before `svc` (service.namespace), so what has more was asked with a pod's own namespace after it:
 * `api.pay.shop.svc` on the way to `api.pay.svc`. The pods of a headless service have three, and are not looked for by their absence. */
static bool is_deep_search(
    const struct pk_engine *engine, const struct observation *seen, unsigned left)
{
    bool is_cluster = false;
    for (unsigned i = left; i-- > 1;) {
        uint8_t len;
        const uint8_t *label = pk_name_label(&seen->name, i, &len);
        if (i < left - 1 &&
            (is_one_of(label, len, clear_ends, sizeof clear_ends / sizeof *clear_ends) ||
                (is_cluster && len == 2) || is_own_name(engine, seen, i + 1))) {
            return true;
        }
        is_cluster = is_cluster || (len == 3 && memcmp(label, "svc", 3) == 0);
        if (is_cluster && i >= MORE_THAN_A_SERVICE) {
            return true;
        }
    }
    return false;
}

/* Whether the `left` labels before the zone are an outside name, or (left 1) the end of one, asked by a resolver that minimises and stops there. Nobody calls a host `com`; of two labels
 * `t.co` or `a.dev` may be hosts of one's own unless the suffix is known; of three the end must be no sub-domain that exists (`db1.prod.de`). */
static bool is_search(const struct pk_engine *engine, struct observation *seen, unsigned left)
{
    uint8_t len;
    const uint8_t *end = pk_name_label(&seen->name, left - 1, &len);
    bool is_clear = is_one_of(end, len, clear_ends, sizeof clear_ends / sizeof *clear_ends);
    bool is_vague = (len == 2 && !zone_has_end(seen->zone, end, len)) ||
                    is_one_of(end, len, vague_ends, sizeof vague_ends / sizeof *vague_ends);
    if (is_clear || (is_vague && left >= 3) || is_own_name(engine, seen, left) ||
        is_deep_search(engine, seen, left)) {
        seen->zone->n_search = (uint8_t)(seen->zone->n_search + (seen->zone->n_search < UINT8_MAX));
        return true;
    }
    return is_vague && seen->zone->n_search >= SEARCH_NAMES;
}

static bool is_number(const uint8_t *label, uint8_t len)
{
    unsigned v = 0;
    for (uint8_t i = 0; i < len; i++) {
        if (label[i] < '0' || label[i] > '9') {
            return false;
        }
        v = 10 * v + label[i] - '0';
    }
    return len > 0 && len <= 3 && v <= 255;
}

/* Four octets or 32 nibbles before a zone that is not a reverse one (RFC 5782). */
static bool is_list_lookup(const struct pk_name *name, unsigned left)
{
    unsigned n_numbers = 0, n_nibbles = 0;
    for (unsigned i = 0; i < left; i++) {
        uint8_t len;
        const uint8_t *label = pk_name_label(name, i, &len);
        n_numbers += is_number(label, len);
        n_nibbles += len == 1 &&
                     ((label[0] >= '0' && label[0] <= '9') || (label[0] >= 'a' && label[0] <= 'f'));
    }
    return (n_numbers == left && left >= 4) || n_nibbles >= 32;
}

static bool is_host_label(const uint8_t *label, uint8_t len)
{
    for (uint8_t i = 0; i < len; i++) {
        bool is_plain = (label[i] >= 'a' && label[i] <= 'z') ||
                        (label[i] >= '0' && label[i] <= '9') || label[i] == '-' || label[i] == '_';
        if (!is_plain && label[i] < 0x80 && label[i] != '*') {
            return false;
        }
    }
    return true;
}

/* A resolver that minimises asks for the name's ancestors first and goes on although they do not exist (RFC 9156 s3, relaxed): one resolution, one trial. */
static bool is_same_resolution(const struct observation *seen, unsigned left)
{
    const struct actor *actor = seen->actor;
    if (left < 2 || actor->last_miss == 0 ||
        seen->row->first_us - actor->last_miss_us > ONE_RESOLUTION_US) {
        return false;
    }
    for (unsigned strip = 1; strip < left; strip++) {
        struct pk_name ancestor;
        pk_name_strip(&seen->name, strip, &ancestor);
        if (pk_hash_fixed(ancestor.wire, ancestor.len) == actor->last_miss) {
            return true;
        }
    }
    return false;
}

/* `www.` in front of a name the source asked itself: browsers, followers of certificates and mail programs do so; who guesses, guessed the name. */
static bool is_www_of_asked(
    const struct pk_engine *engine, const struct observation *seen, unsigned left)
{
    uint8_t len;
    const uint8_t *label = pk_name_label(&seen->name, 0, &len);
    if (left < 2 || len != 3 || memcmp(label, "www", 3) != 0) {
        return false;
    }
    struct pk_name rest;
    pk_name_strip(&seen->name, 1, &rest);
    uint64_t contact[2] = {seen->source_hash, pk_hash_fixed(rest.wire, rest.len)};
    return pk_contacts_has(&engine->contacts, pk_hash_fixed(contact, sizeof contact));
}

static enum no_trial why_not(const struct pk_engine *engine, struct observation *seen)
{
    const struct pk_signature *signature = &seen->row->signature;
    uint8_t len;
    if (seen->reason != PK_SCOPE_ZONE || !seen->zone || signature->opcode != PK_OPCODE_QUERY ||
        signature->qclass != PK_CLASS_IN || seen->name.n_labels <= seen->zone_name.n_labels) {
        return NO_TRIAL_KIND;
    }
    unsigned left = seen->name.n_labels - seen->zone_name.n_labels;
    bool has_verdict = signature->answer == PK_ANSWER_DATA ||
                       signature->answer == PK_ANSWER_NXDOMAIN ||
                       (signature->answer == PK_ANSWER_NODATA && !zone_has_wildcard(seen->zone));
    bool is_nowhere =
        signature->answer == PK_ANSWER_NXDOMAIN || zone_has_wildcard(seen->zone); /* maybe */
    if (!is_nowhere && has_verdict) {
        const uint8_t *end = pk_name_label(&seen->name, left - 1, &len);
        zone_learn_end(seen->zone, end, len);
    }
    const uint8_t *first = pk_name_label(&seen->name, 0, &len);
    return !has_verdict            ? NO_TRIAL_VERDICT
           : first[0] == '_'       ? NO_TRIAL_SERVICE
           : memchr(first, 0, len) ? NO_TRIAL_WALK
           : seen->is_own_scanner  ? NO_TRIAL_SCANNER
           : seen->is_upstream     ? NO_TRIAL_UPSTREAM
           : signature->answer == PK_ANSWER_NXDOMAIN && is_list_lookup(&seen->name, left)
               ? NO_TRIAL_LIST
           : is_nowhere && is_search(engine, seen, left) ? NO_TRIAL_SEARCH
           : is_same_resolution(seen, left) || (is_nowhere && is_www_of_asked(engine, seen, left))
               ? NO_TRIAL_MINIMISED
               : TRIAL_YES;
}

/* The first label; of several, whether they look generated together: short random labels alone are too short to tell. */
static enum pk_label_class classify(
    const struct pk_engine *engine, const struct observation *seen, unsigned left)
{
    uint8_t len, together[PK_LABEL_MAX];
    size_t n = 0;
    const uint8_t *label = pk_name_label(&seen->name, 0, &len);
    enum pk_label_class class = pk_label_classify(engine->labels, label, len);
    if (class != PK_LABEL_OTHER || left < 2) {
        return class;
    }
    for (unsigned i = 0; i < left; i++) {
        label = pk_name_label(&seen->name, i, &len);
        if (n + len > sizeof together) {
            break;
        }
        memcpy(together + n, label, len);
        n += len;
    }
    return pk_label_classify(engine->labels, together, n) == PK_LABEL_RANDOM ? PK_LABEL_RANDOM
                                                                             : class;
}

/* Customers whose sites a wildcard answers have subdomains of theirs: of `www.kd20815` only the second label says whether somebody guesses. */
static bool is_guess_below_wildcard(
    const struct pk_engine *engine, const struct observation *seen, unsigned left)
{
    for (unsigned i = 0; i < left; i++) {
        uint8_t len;
        const uint8_t *label = pk_name_label(&seen->name, i, &len);
        if (pk_label_classify(engine->labels, label, len) != PK_LABEL_DICTIONARY) {
            return false;
        }
    }
    return true;
}

void trial_ask_history(const struct pk_engine *engine, const struct pk_activity *row,
    const struct pk_name *name, uint8_t *marks)
{
    struct pk_history_entry entry;
    if (!engine->history.lookup || !engine->history.lookup(engine->history.arg, name, &entry)) {
        return;
    }
    /* Anybody can make a resolver see one answer once; two sites or two days are harder to arrange (detection.md, poisoning). */
    if (entry.n_sites >= 2 || entry.n_days >= 2 || entry.was_authoritative) {
        *marks |= MARK_KNOWN;
        if (row->first_us - entry.last_positive_us >= (int64_t)RETIRED_S * 1000000) {
            *marks |= MARK_RETIRED;
        }
    }
}

/* Whether this is the name's first answer with data to the source, in a zone that may have a wildcard. Tools ask for AAAA beside A, and where the wildcard has no AAAA its NODATA may come first: then it
 * is the data that tells. */
static bool is_first_data(struct pk_engine *engine, const struct observation *seen)
{
    enum {
        DATA = 1
    };
    uint64_t contact[3] = {seen->source_hash, seen->name_hash, DATA};
    return seen->row->signature.answer == PK_ANSWER_DATA && seen->row->answer_digest != 0 &&
           (seen->trial.class == PK_LABEL_RANDOM || zone_may_have_wildcard(seen->zone)) &&
           pk_contacts_add(
               &engine->contacts, pk_hash_fixed(contact, sizeof contact), seen->row->first_us);
}

void trial_judge(struct pk_engine *engine, struct observation *seen)
{
    struct trial *trial = &seen->trial;
    uint8_t len;
    *trial = (struct trial){.label_hash = 0};
    trial->no = why_not(engine, seen);
    if (trial->no == NO_TRIAL_KIND || seen->reason != PK_SCOPE_ZONE) {
        engine->stats.no_trials[trial->no]++;
        return;
    }
    size_t left_len = (size_t)(seen->name.len - seen->zone_name.len);
    trial->label_hash = pk_hash_fixed(seen->name.wire, left_len);
    const uint8_t *label = pk_name_label(&seen->name, 0, &len);
    trial->class = classify(engine, seen, seen->name.n_labels - seen->zone_name.n_labels);
    trial->marks = is_host_label(label, len) ? 0 : MARK_MALFORMED;
    if (trial->no != TRIAL_YES) {
        engine->stats.no_trials[trial->no]++;
        return;
    }
    bool is_flood = zone_is_flooded(seen->zone, seen->row->first_us) &&
                    trial->class == PK_LABEL_RANDOM &&
                    seen->row->signature.answer == PK_ANSWER_NXDOMAIN;
    uint64_t contact[2] = {seen->source_hash, seen->name_hash};
    bool is_first = is_flood || pk_contacts_add(&engine->contacts,
                                    pk_hash_fixed(contact, sizeof contact), seen->row->first_us),
         is_data = is_first_data(engine, seen);
    bool is_wildcard =
        (is_first || is_data) && zone_is_wildcard(seen->zone, seen->row, trial->class);
    if (!is_first && !is_wildcard) {
        trial->no = NO_TRIAL_AGAIN;
        engine->stats.no_trials[NO_TRIAL_AGAIN]++;
        return;
    }
    bool is_miss = is_wildcard || seen->row->signature.answer == PK_ANSWER_NXDOMAIN;
    unsigned left = (unsigned)(seen->name.n_labels - seen->zone_name.n_labels);
    bool is_word = trial->class == PK_LABEL_DICTIONARY &&
                   (!is_wildcard || is_guess_below_wildcard(engine, seen, left));
    trial->marks |= is_wildcard ? MARK_WILDCARD : 0;
    trial->outcome = !is_miss                          ? OUTCOME_HIT
                     : is_word                         ? OUTCOME_DICT
                     : trial->class == PK_LABEL_RANDOM ? OUTCOME_RAND
                                                       : OUTCOME_OTHER;
    engine->stats.trials++;
    bool is_free_name = is_wildcard && trial->outcome == OUTCOME_OTHER;
    if (zone_is_free_form(seen->zone, is_free_name) && is_free_name) {
        trial->outcome = OUTCOME_HIT;
        is_miss = false;
    }
    if (is_miss &&
        !is_flood) { /* a flood's names come once: to note them is to forget what others asked */
        miss_note(engine, seen, &trial->miss);
        trial_ask_history(engine, seen->row, &seen->name, &trial->marks);
        seen->actor->last_miss = seen->name_hash;
        seen->actor->last_miss_us = seen->row->first_us;
    }
}
