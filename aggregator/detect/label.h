/* What a label looks like: a word somebody would guess, something generated, or neither (docs/DETECTIONS.md, "Outcomes"). Pure. */
#ifndef DETECT_LABEL_H
#define DETECT_LABEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/err.h"

enum pk_label_class {
    PK_LABEL_DICTIONARY,
    PK_LABEL_RANDOM,
    PK_LABEL_OTHER
};

struct pk_labels;

/* Builds the word set and fits the letter model on it. */
pk_err pk_labels_new(struct pk_labels **out_labels);
void pk_labels_free(struct pk_labels *labels);
/* A label in lower case. */
enum pk_label_class pk_label_classify(
    const struct pk_labels *labels, const uint8_t *label, size_t len);

#endif
