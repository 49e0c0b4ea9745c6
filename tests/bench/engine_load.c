/* A synthetic tenant for development: speed, memory and false alarms of the whole engine. Not what reported detection figures come from (tests/eval has its own generator, by
 * another hand); its parameters are detection.md 3.4's, written down here.
 *
 *   engine_load --days D --resolvers R --names N --queries Q [--sites S] [--clients C] [--seed X] [--attack KIND] [--flood N]
 *
 * Authoritative part: R resolvers with heavy-tailed volume ask N names (Zipf) Q times a day; 3.3 % of questions are for names that do not exist, by typing error, stale name, word or
 * random probe. Resolver part: C inside clients, office-like. --attack single|slow|split|inside plays one list from noon of the last day, or among a --flood of N sources that
 * come once, a hundred a second.
 * One JSON object on standard output: rows, trials, findings by detector, seconds, trials a second, bytes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "picket/dnsmsg.h"
#include "picket/hash.h"

#include "aggregator/detect/engine.h"
#include "aggregator/detect/finding.h"

enum {
    MAX_BATCH = 65536
};

struct load {
    uint64_t random;
    unsigned days, resolvers, names, sites, clients;
    uint64_t queries, flood, actors;
    const char *attack;
    struct pk_engine *engine;
    double *volume; /* cumulative, of resolvers */
    double *zipf;   /* cumulative, of names */
    uint64_t rows;
    unsigned n_found[32];
    char found[32][16];
    unsigned n_kinds;
    bool is_verbose;
    uint64_t attack_rows, attack_first;
};

static uint64_t next(struct load *load)
{
    load->random += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = load->random;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static double uniform(struct load *load)
{
    return (double)(next(load) >> 11) / 9007199254740992.0;
}

static unsigned pick(struct load *load, const double *cumulative, unsigned n)
{
    double u = uniform(load) * cumulative[n - 1];
    unsigned low = 0, high = n - 1;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (cumulative[middle] < u) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void on_finding(void *arg, const struct pk_finding *finding)
{
    struct load *load = arg;
    if (finding->revision > 1) {
        return;
    }
    unsigned i = 0;
    while (i < load->n_kinds && strcmp(load->found[i], finding->detector) != 0) {
        i++;
    }
    if (i == load->n_kinds && i < 32) {
        snprintf(load->found[load->n_kinds++], 16, "%s", finding->detector);
    }
    load->n_found[i]++;
    if (load->attack_rows && !load->attack_first) {
        load->attack_first = load->attack_rows;
    }
    if (load->is_verbose) {
        fprintf(stderr, "%s %s trials=%u hits=%u dict=%u rand=%u other=%u score=%.1f %s\n",
            finding->detector, finding->actor_key, finding->trials, finding->hits, finding->dict,
            finding->rand, finding->other, finding->score_nats, finding->title);
    }
}

static void ask(struct load *load, unsigned site, const struct pk_client *client, const char *label,
    bool exists, int64_t at_us, uint16_t qtype, bool is_resolver)
{
    char text[128], site_name[16];
    struct pk_name name;
    snprintf(text, sizeof text, "%s.example.com", label);
    snprintf(site_name, sizeof site_name, "site%u", site);
    if (pk_name_from_text(text, &name) != PK_OK) {
        return;
    }
    struct pk_engine_origin origin = {.site = site_name, .sensor = site_name};
    struct pk_activity row = {
        .client = *client,
        .name = {name.wire, name.len},
        .signature = {.server_port = 53,
            .qtype = qtype,
            .qclass = 1,
            .vantage = is_resolver ? PK_VANTAGE_RESOLVER : PK_VANTAGE_AUTHORITATIVE,
            .answer = exists ? PK_ANSWER_DATA : PK_ANSWER_NXDOMAIN,
            .rcode = exists ? 0 : 3},
        .first_us = at_us,
        .count = 1,
        .answer_digest = exists ? pk_hash_fixed(label, strlen(label)) : 0,
    };
    load->rows++;
    if (pk_engine_observe(load->engine, &origin, &row) != PK_OK) {
        fputs("out of memory\n", stderr);
        exit(1);
    }
}

static const char *const words[] = {"dev", "test", "vpn", "mail", "webmail", "staging", "api",
    "beta", "portal", "admin", "intranet", "ftp", "smtp", "owa", "remote", "autodiscover", "cdn",
    "static", "blog", "shop", "support", "wiki", "git", "jenkins", "backup", "db", "sql", "ns3",
    "mx2", "demo", "sso", "auth", "login", "crm", "erp", "jira", "gitlab", "monitor", "grafana",
    "kibana", "proxy", "gateway", "citrix", "rdp", "sip", "voip", "files", "cloud", "app", "apps",
    "mobile", "m", "secure", "my", "account", "pay", "billing", "status", "stats", "logs"};
enum {
    N_WORDS = sizeof words / sizeof *words
};

static void miss_label(struct load *load, char out[64])
{
    static const char syllables[][4] = {"ba", "ker", "lo", "min", "sta", "ver", "ton", "hal", "ru",
        "fi", "gan", "pel", "dor", "mis", "que", "sol", "tra", "wen", "zim", "cor"};
    double u = uniform(load);
    if (u < .15) { /* words people try */
        snprintf(out, 64, "%s", words[(unsigned)(pow(uniform(load), 2) * N_WORDS)]);
    } else if (u < .45) { /* generated */
        for (unsigned i = 0; i < 12; i++) {
            out[i] = (char)('a' + next(load) % 26);
        }
        out[12] = 0;
    } else if (u < .75) { /* stale names, the same ones again and again */
        snprintf(out, 64, "srv%u-old", (unsigned)(pow(uniform(load), 3) * 200));
    } else { /* typing errors */
        snprintf(out, 64, "%s%s%s", syllables[next(load) % 20], syllables[next(load) % 20],
            syllables[next(load) % 20]);
    }
}

static void resolver_question(struct load *load, int64_t at_us)
{
    unsigned r = pick(load, load->volume, load->resolvers);
    struct pk_client client = {.kind = PK_CLIENT_OUTSIDE};
    uint8_t bytes[4] = {
        (uint8_t)(11 + r / 65536), (uint8_t)(r / 256), (uint8_t)r, (uint8_t)(1 + r % 200)};
    client.addr = pk_addr_v4(bytes);
    char label[64];
    bool is_miss = uniform(load) < .033;
    if (is_miss) {
        miss_label(load, label);
    } else {
        unsigned n = pick(load, load->zipf, load->names);
        snprintf(label, sizeof label, "%s%u", n % 7 == 0 ? "host" : n % 7 == 1 ? "www" : "svc", n);
    }
    ask(load, (unsigned)(next(load) % load->sites), &client, label, !is_miss, at_us, 1, false);
}

static void client_question(struct load *load, int64_t at_us)
{
    unsigned c = (unsigned)(pow(uniform(load), 2) * load->clients);
    struct pk_client client = {.kind = PK_CLIENT_PSEUDONYM};
    memcpy(client.pseudonym, &c, sizeof c);
    char label[64];
    bool is_miss = uniform(load) < .08;
    if (is_miss) {
        miss_label(load, label);
    } else {
        unsigned n = pick(load, load->zipf, load->names);
        snprintf(label, sizeof label, "svc%u", n);
    }
    ask(load, c % load->sites, &client, label, !is_miss, at_us, next(load) % 2 ? 1 : 28, true);
}

static void attack_question(struct load *load, uint64_t i, int64_t at_us)
{
    struct pk_client client = {.kind = PK_CLIENT_OUTSIDE};
    uint8_t bytes[4] = {203, 0, 113, 66};
    if (strcmp(load->attack, "split") == 0) {
        bytes[1] = (uint8_t)(i % 8);
    } else if (strcmp(load->attack, "inside") == 0) { /* through the busiest resolver */
        bytes[0] = 11;
        bytes[1] = bytes[2] = 0;
        bytes[3] = 1;
    }
    client.addr = pk_addr_v4(bytes);
    char label[64];
    snprintf(label, sizeof label, "%s%s", words[i % N_WORDS],
        i / N_WORDS == 0   ? ""
        : i / N_WORDS == 1 ? "1"
        : i / N_WORDS == 2 ? "-dev"
                           : "-test2");
    load->attack_rows++;
    ask(load, (unsigned)(i % load->sites), &client, label, i % 12 == 11, at_us, 1, false);
}

static void run(struct load *load)
{
    const int64_t start = INT64_C(1795046400000000), day = INT64_C(86400000000);
    uint64_t client_queries = (uint64_t)load->clients * 120, total = load->queries + client_queries;
    int64_t noon = start + day * (load->days - 1) + day / 2, next_attack = noon;
    int64_t attack_step = !load->attack[0] || load->flood       ? 0
                          : strcmp(load->attack, "slow") == 0   ? INT64_C(1800000000)
                          : strcmp(load->attack, "inside") == 0 ? INT64_C(100000000)
                                                                : INT64_C(10000000);
    uint64_t n_attack = 0;
    for (unsigned d = 0; d < load->days; d++) {
        for (uint64_t q = 0; q < total; q++) {
            int64_t at_us = start + day * d + (int64_t)((double)day * (double)q / (double)total);
            if (attack_step && at_us >= next_attack && n_attack < 240) {
                attack_question(load, n_attack++, at_us);
                next_attack += attack_step;
            }
            if (next(load) % total < load->queries) {
                resolver_question(load, at_us);
            } else {
                client_question(load, at_us);
            }
        }
    }
    for (uint64_t i = 0; i < load->flood; i++) {
        struct pk_client client = {.kind = PK_CLIENT_OUTSIDE};
        uint8_t bytes[4] = {
            (uint8_t)(100 + (i >> 24)), (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
        client.addr = pk_addr_v4(bytes);
        int64_t at_us = start + day * load->days + (int64_t)i * 10000;
        if (load->attack[0] && i % (load->flood / 60 + 1) == 0) { /* sixty names among the flood */
            attack_question(load, n_attack++, at_us);
        }
        ask(load, 0, &client, "www1", true, at_us, 1, false);
    }
}

static double *cumulate(unsigned n, double exponent)
{
    double *v = calloc(n, sizeof *v), sum = 0;
    for (unsigned i = 0; v && i < n; i++) {
        sum += pow(i + 1, -exponent);
        v[i] = sum;
    }
    return v;
}

int main(int argc, char **argv)
{
    struct load load = {.random = 1,
        .days = 1,
        .resolvers = 20000,
        .names = 2000,
        .sites = 10,
        .queries = 300000,
        .attack = ""};
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *key = argv[i], *value = argv[i + 1];
        unsigned long long v = strtoull(value, NULL, 10);
        if (strcmp(key, "--days") == 0) {
            load.days = (unsigned)v;
        } else if (strcmp(key, "--resolvers") == 0) {
            load.resolvers = (unsigned)v;
        } else if (strcmp(key, "--names") == 0) {
            load.names = (unsigned)v;
        } else if (strcmp(key, "--sites") == 0) {
            load.sites = (unsigned)v;
        } else if (strcmp(key, "--clients") == 0) {
            load.clients = (unsigned)v;
        } else if (strcmp(key, "--queries") == 0) {
            load.queries = v;
        } else if (strcmp(key, "--seed") == 0) {
            load.random = v;
        } else if (strcmp(key, "--flood") == 0) {
            load.flood = v;
        } else if (strcmp(key, "--actors") == 0) {
            load.actors = v;
        } else if (strcmp(key, "--attack") == 0) {
            load.attack = value;
        } else if (strcmp(key, "--verbose") == 0) {
            load.is_verbose = v != 0;
        } else {
            fprintf(stderr, "not an option: %s\n", key);
            return 64;
        }
    }
    static const char scope_text[] =
        "tenants:\n  - name: t\n    sites: [site0]\n    zones: [example.com]\n";
    char error[PK_CONF_ERROR_SIZE];
    struct pk_scope *scope;
    if (pk_hash_start() != PK_OK ||
        pk_scope_parse("scope", scope_text, sizeof scope_text - 1, &scope, error) != PK_OK) {
        return 1;
    }
    load.volume = cumulate(load.resolvers, 0.8);
    load.zipf = cumulate(load.names, 0.9);
    struct pk_engine_options options = {
        .tenant = &scope->tenants[0], .limits = {.max_actors = load.actors}};
    if (!load.volume || !load.zipf ||
        pk_engine_new(&options, on_finding, &load, &load.engine) != PK_OK) {
        return 1;
    }
    struct timespec from, to;
    struct rusage usage;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    run(&load);
    (void)pk_engine_flush(load.engine);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    struct pk_engine_stats stats;
    pk_engine_stats(load.engine, &stats);
    struct pk_bytes state;
    pk_bytes_init(&state, (size_t)1 << 32);
    (void)pk_engine_save(load.engine, &state);
    (void)getrusage(RUSAGE_SELF, &usage);
    double seconds = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    printf(
        "{\"rows\":%llu,\"trials\":%llu,\"cpu_s\":%.2f,\"rows_a_s\":%.0f,\"trials_a_s\":%.0f,\"actors\":%zu,"
        "\"evicted\":%llu,\"ledgers\":%zu,\"contacts\":%zu,\"state_bytes\":%zu,\"max_rss_kb\":%ld,\"attack_rows_to_first\":%llu,\"findings\":{",
        (unsigned long long)load.rows, (unsigned long long)stats.trials, seconds,
        (double)load.rows / seconds, (double)stats.trials / seconds, stats.actors,
        (unsigned long long)stats.evicted_actors, stats.ledgers, stats.contacts, state.len,
        usage.ru_maxrss, (unsigned long long)load.attack_first);
    for (unsigned i = 0; i < load.n_kinds; i++) {
        printf("%s\"%s\":%u", i ? "," : "", load.found[i], load.n_found[i]);
    }
    puts("}}");
    pk_bytes_done(&state);
    pk_engine_free(load.engine);
    pk_scope_free(scope);
    free(load.volume);
    free(load.zipf);
    return 0;
}
