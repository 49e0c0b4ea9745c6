/* Words by hash set; randomness by the mean log-probability of letter pairs, fitted on the word set itself.
 *
 * A dictionary label is a word, or a word with what lists put around it: digits at the end, an environment or a number after a hyphen (dev2, vpn-01, api-staging). */
#include "label.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "words.h"

enum {
    SET_SLOTS = 4096,
    ALPHABET = 38 /* a-z 0-9 - and the edge of the label */,
    MIN_RANDOM = 7,
    MAX_WORD = 63
};

struct pk_labels {
    const char *set[SET_SLOTS];
    double pair[ALPHABET][ALPHABET]; /* log-probability of the second after the first */
    double cut;                      /* mean below it: generated */
};

/* FNV-1a: the set is fixed and nobody outside can add to it. */
static size_t slot_of(const uint8_t *p, size_t len)
{
    uint32_t v = 2166136261u;
    for (size_t i = 0; i < len; i++) {
        v = (v ^ p[i]) * 16777619u;
    }
    return v & (SET_SLOTS - 1);
}

static unsigned letter(uint8_t c)
{
    return c >= 'a' && c <= 'z'   ? (unsigned)(c - 'a')
           : c >= '0' && c <= '9' ? 26u + (unsigned)(c - '0')
           : c == '-'             ? 36u
                                  : 37u;
}

static double mean_pair(const struct pk_labels *labels, const uint8_t *p, size_t len)
{
    double sum = 0;
    unsigned before = ALPHABET - 1;
    for (size_t i = 0; i < len; i++) {
        unsigned now = letter(p[i]);
        sum += labels->pair[before][now];
        before = now;
    }
    return sum / (double)len;
}

static void fit(struct pk_labels *labels)
{
    double counts[ALPHABET][ALPHABET];
    for (unsigned a = 0; a < ALPHABET; a++) {
        for (unsigned b = 0; b < ALPHABET; b++) {
            counts[a][b] = 0.3; /* pairs the words do not have are rare, not impossible */
        }
    }
    for (size_t w = 0; w < pk_n_words; w++) {
        unsigned before = ALPHABET - 1;
        for (const char *p = pk_words[w]; *p; p++) {
            unsigned now = letter((uint8_t)*p);
            counts[before][now] += 1;
            before = now;
        }
    }
    for (unsigned a = 0; a < ALPHABET; a++) {
        double total = 0;
        for (unsigned b = 0; b < ALPHABET; b++) {
            total += counts[a][b];
        }
        for (unsigned b = 0; b < ALPHABET; b++) {
            labels->pair[a][b] = log(counts[a][b] / total);
        }
    }
    double sum = 0, squares = 0, n = 0;
    for (size_t w = 0; w < pk_n_words; w++) {
        size_t len = strlen(pk_words[w]);
        if (len >= MIN_RANDOM) {
            double mean = mean_pair(labels, (const uint8_t *)pk_words[w], len);
            sum += mean;
            squares += mean * mean;
            n++;
        }
    }
    double mean = sum / n;
    labels->cut = mean - 3.0 * sqrt(squares / n - mean * mean);
}

pk_err pk_labels_new(struct pk_labels **out_labels)
{
    struct pk_labels *labels = calloc(1, sizeof *labels);
    if (!labels) {
        return PK_ERR_NOMEM;
    }
    for (size_t w = 0; w < pk_n_words; w++) {
        size_t slot = slot_of((const uint8_t *)pk_words[w], strlen(pk_words[w]));
        while (labels->set[slot] && strcmp(labels->set[slot], pk_words[w]) != 0) {
            slot = (slot + 1) & (SET_SLOTS - 1);
        }
        labels->set[slot] = pk_words[w];
    }
    fit(labels);
    *out_labels = labels;
    return PK_OK;
}

void pk_labels_free(struct pk_labels *labels)
{
    free(labels);
}

static bool is_word(const struct pk_labels *labels, const uint8_t *p, size_t len)
{
    for (size_t slot = slot_of(p, len); labels->set[slot]; slot = (slot + 1) & (SET_SLOTS - 1)) {
        if (strlen(labels->set[slot]) == len && memcmp(labels->set[slot], p, len) == 0) {
            return true;
        }
    }
    return false;
}

static size_t without_digits(const uint8_t *p, size_t len)
{
    while (len > 0 && p[len - 1] >= '0' && p[len - 1] <= '9') {
        len--;
    }
    return len;
}

static bool is_dictionary(const struct pk_labels *labels, const uint8_t *p, size_t len)
{
    if (is_word(labels, p, len)) {
        return true;
    }
    size_t stem = without_digits(p, len);
    if (stem > 0 && stem < len && len - stem <= 3 && is_word(labels, p, stem)) {
        return true;
    }
    /* Every part between hyphens a word or a number, and at least one a word. */
    size_t start = 0, n_words = 0;
    for (size_t i = 0; i <= len; i++) {
        if (i < len && p[i] != '-') {
            continue;
        }
        stem = without_digits(p + start, i - start);
        if (i == start || (stem > 0 && !is_word(labels, p + start, stem))) {
            return false;
        }
        n_words += stem > 0;
        start = i + 1;
    }
    return n_words > 0;
}

enum pk_label_class pk_label_classify(
    const struct pk_labels *labels, const uint8_t *label, size_t len)
{
    if (len == 0 || len > MAX_WORD) {
        return PK_LABEL_OTHER;
    }
    if (is_dictionary(labels, label, len)) {
        return PK_LABEL_DICTIONARY;
    }
    return len >= MIN_RANDOM && mean_pair(labels, label, len) < labels->cut ? PK_LABEL_RANDOM
                                                                            : PK_LABEL_OTHER;
}
