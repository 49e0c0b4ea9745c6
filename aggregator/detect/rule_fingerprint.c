/* D8: asking a server who it is (T1590.002, T1595.002).
 *
 * Names of class CHAOS (RFC 4892: version.bind, hostname.bind, id.server, version.server, authors.bind) and any other CHAOS name. The Internet's background scanners ask
 * every server for it, at every site, all day: alone it is severity 1, whatever the count. What it is good for is company: it leaves a nat on the source (hints.h), and a
 * source that was reported for D1 to D7, D11 or D12 within the hour is reported with severity 2. So is one that goes through four distinct such names: scanners and those who measure anycast
 * ask one to three, a fingerprinting tool its whole set. NSID (RFC 5001) rides on ordinary questions of resolvers too and counts
 * with CHAOS alone. Opcodes other than QUERY do not reach the engine. */
#include <stdio.h>

#include "picket/dnsmsg.h"

#include "internal.h"

enum {
    WHOLE_SET = 4 /* distinct names */
};

static const double nats_chaos = 1.0, nats_company = 2.0, nats_set = 2.0, threshold = 3.0;

struct fingerprint {
    uint32_t questions;
    uint8_t n_names;
    uint64_t names[WHOLE_SET]; /* hashes */
};

static void note_name(struct fingerprint *fingerprint, uint64_t hash)
{
    for (uint8_t i = 0; i < fingerprint->n_names; i++) {
        if (fingerprint->names[i] == hash) {
            return;
        }
    }
    if (fingerprint->n_names < WHOLE_SET) {
        fingerprint->names[fingerprint->n_names++] = hash;
    }
}

static pk_err observe(struct pk_engine *engine, const struct observation *seen)
{
    if (seen->row->signature.qclass != PK_CLASS_CH || seen->is_own_scanner || seen->is_upstream) {
        return PK_OK;
    }
    struct fingerprint *fingerprint = actor_ledger(engine, seen->actor, RULE_FINGERPRINT);
    struct dossier *dossier = fingerprint ? ledger_dossier(fingerprint) : NULL;
    pk_err err = dossier ? dossier_note(dossier, seen, NOTE_SAMPLE, true) : PK_ERR_NOMEM;
    if (err != PK_OK) {
        return err;
    }
    if (dossier->observations == 1) {
        *fingerprint = (struct fingerprint){.questions = 0};
    }
    fingerprint->questions += seen->row->count;
    note_name(fingerprint, seen->name_hash);
    err = hint_leave(engine, seen->actor, HINT_CHAOS, nats_chaos, seen->row->first_us);
    bool has_company = hints_is_recon(seen->actor, seen->row->first_us);
    bool is_set = fingerprint->n_names == WHOLE_SET;
    uint8_t severity = has_company || is_set ? 2 : 1;
    if (err != PK_OK || !dossier_is_due(dossier, fingerprint->questions, severity)) {
        return err;
    }
    struct subject subject;
    subject_of_actor(seen->actor, &subject);
    struct pk_finding *finding = dossier_begin(
        engine, RULE_FINGERPRINT, dossier, &subject, fingerprint->questions, severity);
    snprintf(finding->title, sizeof finding->title, "Server fingerprinting by %s: %u question%s",
        finding->actor_key, fingerprint->questions, fingerprint->questions == 1 ? "" : "s");
    finding->technique[finding->n_techniques++] = "T1590.002";
    finding->technique[finding->n_techniques++] = "T1595.002";
    contribute(finding, "asked servers for their version or identity", nats_chaos);
    contribute(
        finding, "reported for reconnaissance within the hour", has_company ? nats_company : 0);
    contribute(finding, "a whole set of such names", is_set ? nats_set : 0);
    finding->trials = fingerprint->questions;
    report_finding(engine, threshold);
    return PK_OK;
}

static void save(const void *ledger, struct pk_bytes *out)
{
    const struct fingerprint *fingerprint = ledger;
    pk_bytes_put_varint(out, fingerprint->questions);
    pk_bytes_put_u8(out, fingerprint->n_names);
    for (uint8_t i = 0; i < fingerprint->n_names; i++) {
        pk_bytes_put_be64(out, fingerprint->names[i]);
    }
}

static void load(void *ledger, struct pk_reader *in)
{
    struct fingerprint *fingerprint = ledger;
    fingerprint->questions = state_get_u32(in);
    fingerprint->n_names = state_get_count(in, WHOLE_SET);
    for (uint8_t i = 0; i < fingerprint->n_names; i++) {
        fingerprint->names[i] = pk_reader_be64(in);
    }
}

const struct rule rule_fingerprint = {
    .id = "D8",
    .family = "fingerprint",
    .version = "2",
    .budget_share = 0.02,
    .ledger_bytes = sizeof(struct fingerprint),
    .max_ledgers = 20000,
    .observe = observe,
    .save = save,
    .load = load,
};
