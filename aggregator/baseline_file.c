/* Reading priors: each member is checked where it is taken. */
#include "baseline_file.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

struct reading {
    const char *path;
    char *error; /* PK_BASELINE_ERROR_SIZE; "" while all is well */
    struct pk_priors *priors;
};

static void wrong(struct reading *in, const char *where, const char *what)
{
    if (in->error[0] == 0) {
        snprintf(in->error, PK_BASELINE_ERROR_SIZE, "%s: %s: %s", in->path, where, what);
    }
}

static int index_of(const char *word, const char *const *words, int n)
{
    for (int i = 0; i < n; i++) {
        if (strcmp(words[i], word) == 0) {
            return i;
        }
    }
    return -1;
}

static void take_shares(struct reading *in, json_t *object, const char *where, double *out_p0)
{
    static const char *const outcomes[PK_N_PRIOR_OUTCOMES] = {"hit", "dict", "rand", "other"};
    double shares[PK_N_PRIOR_OUTCOMES] = {0}, sum = 0;
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        int outcome = index_of(key, outcomes, PK_N_PRIOR_OUTCOMES);
        if (outcome < 0 || !json_is_number(value)) {
            wrong(in, where, "a class has the numbers hit, dict, rand and other");
            return;
        }
        shares[outcome] = json_number_value(value);
    }
    for (unsigned y = 0; y < PK_N_PRIOR_OUTCOMES; y++) {
        if (!(shares[y] >= 1e-4 && shares[y] <= 1e6)) {
            wrong(in, where, "each of hit, dict, rand and other must be given and positive");
            return;
        }
        sum += shares[y];
    }
    for (unsigned y = 0; y < PK_N_PRIOR_OUTCOMES; y++) {
        out_p0[y] = shares[y] / sum;
    }
}

static void take_priors(struct reading *in, json_t *priors)
{
    static const char *const vantages[PK_N_VANTAGES] = {[PK_VANTAGE_UNKNOWN] = "unknown",
        [PK_VANTAGE_AUTHORITATIVE] = "authoritative",
        [PK_VANTAGE_RESOLVER] = "resolver"};
    static const char *const classes[PK_N_SOURCE_CLASSES] = {"new", "ordinary", "shared", "inside"};
    const char *vantage_key, *class_key;
    json_t *vantage_value, *class_value;
    json_object_foreach(priors, vantage_key, vantage_value)
    {
        int vantage = index_of(vantage_key, vantages, PK_N_VANTAGES);
        if (vantage < 0) {
            wrong(in, vantage_key, "a vantage is authoritative, resolver or unknown");
            return;
        }
        json_object_foreach(vantage_value, class_key, class_value)
        {
            int class = index_of(class_key, classes, PK_N_SOURCE_CLASSES);
            if (class < 0) {
                wrong(in, class_key, "a class is new, ordinary, shared or inside");
                return;
            }
            take_shares(in, class_value, class_key, in->priors->p0[vantage][class]);
        }
    }
}

static void take_share(struct reading *in, const char *key, json_t *value, double *out_share)
{
    double v = json_number_value(value);
    if (!(v > 0 && v < 1)) {
        wrong(in, key, "must lie between 0 and 1");
        return;
    }
    *out_share = v;
}

static void take(struct reading *in, json_t *root)
{
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        if (strcmp(key, "version") == 0 && json_is_string(value) &&
            json_string_length(value) < sizeof in->priors->version) {
            strncpy(in->priors->version, json_string_value(value), sizeof in->priors->version - 1);
        } else if (strcmp(key, "priors") == 0 && json_is_object(value)) {
            take_priors(in, value);
        } else if (strcmp(key, "repeat") == 0) {
            take_share(in, key, value, &in->priors->repeat);
        } else if (strcmp(key, "novel_dict") == 0) {
            take_share(in, key, value, &in->priors->novel_dict);
        } else if (strcmp(key, "novel_other") == 0) {
            take_share(in, key, value, &in->priors->novel_other);
        } else {
            wrong(in, key, "not a member of a baseline, or of the wrong kind");
        }
    }
    if (in->priors->novel_dict + in->priors->novel_other > 0.4) {
        wrong(in, "novel_dict, novel_other", "together at most 0.4");
    }
}

pk_err pk_baseline_load(
    const char *path, struct pk_priors *out_priors, char out_error[PK_BASELINE_ERROR_SIZE])
{
    struct pk_priors priors = pk_priors_shipped;
    struct reading in = {.path = path, .error = out_error, .priors = &priors};
    json_error_t fault;
    out_error[0] = 0;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &fault);
    if (!root) {
        snprintf(
            out_error, PK_BASELINE_ERROR_SIZE, "%s: line %d: %.150s", path, fault.line, fault.text);
        return fault.line < 0 ? PK_ERR_IO : PK_ERR_MALFORMED;
    }
    if (json_is_object(root)) {
        take(&in, root);
    } else {
        wrong(&in, "top", "not an object");
    }
    json_decref(root);
    if (out_error[0]) {
        return PK_ERR_MALFORMED;
    }
    *out_priors = priors;
    return PK_OK;
}
