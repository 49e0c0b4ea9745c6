/* The column tables. Keys are never reused; a new column is a new line at the end and absent columns read as zero. */
#include "batch_schema.h"

#include <stddef.h>

static const struct schema activity = {
    .kind = PK_BATCH_ACTIVITY,
    .n_columns = 16,
    .first_column = ACT_FIRST,
    .span_column = ACT_SPAN,
    .columns =
        {
            {33, REF_CLIENT, 0},
            {34, REF_NAME, 0},
            {35, REF_SIGNATURE, 0},
            {36, REF_NONE, UINT64_MAX},
            {37, REF_NONE, UINT32_MAX},
            {38, REF_NONE, UINT32_MAX},
            {40, REF_NONE, UINT32_MAX},
            {41, REF_NONE, UINT32_MAX},
            {42, REF_NONE, UINT32_MAX},
            {43, REF_ANSWER_OR_ZERO, 0},
            {44, REF_NONE, UINT32_MAX},
            {46, REF_NONE, UINT32_MAX},
            {51, REF_NONE, UINT32_MAX},
            {52, REF_NONE, UINT16_MAX},
            {53, REF_NONE, UINT8_MAX},
            {54, REF_SUBNET_OR_ZERO, 0},
        },
};

static const struct schema rrset = {
    .kind = PK_BATCH_RRSET,
    .n_columns = 13,
    .first_column = RR_FIRST,
    .span_column = RR_SPAN,
    .columns =
        {
            {64, REF_NAME, 0},
            {65, REF_NONE, UINT16_MAX},
            {66, REF_NONE, UINT16_MAX},
            {67, REF_RDATA_SET, 0},
            {68, REF_NAME, 0},
            {69, REF_NONE, PK_N_TRUSTS - 1},
            {70, REF_NONE, UINT32_MAX},
            {71, REF_NONE, UINT64_MAX},
            {72, REF_NONE, UINT32_MAX},
            {73, REF_NONE, UINT32_MAX},
            {74, REF_NONE, UINT32_MAX},
            {75, REF_ADDR_OR_ZERO, 0},
            {76, REF_NONE, UINT8_MAX},
        },
};

static const struct schema negative = {
    .kind = PK_BATCH_NEGATIVE,
    .n_columns = 7,
    .first_column = NEG_FIRST,
    .span_column = NEG_SPAN,
    .columns =
        {
            {80, REF_NAME, 0},
            {81, REF_NONE, UINT16_MAX},
            {82, REF_NONE, UINT16_MAX},
            {83, REF_NONE, UINT16_MAX},
            {84, REF_NONE, UINT32_MAX},
            {85, REF_NONE, UINT64_MAX},
            {86, REF_NONE, UINT32_MAX},
        },
};

static const struct schema loss = {
    .kind = PK_BATCH_LOSS,
    .n_columns = 10,
    .first_column = LOSS_FIRST,
    .span_column = LOSS_SPAN,
    .columns =
        {
            {KEY_LOSS_FIRST, REF_NONE, UINT8_MAX}, /* later versions have more causes */
            {KEY_LOSS_FIRST + 1, REF_NONE, UINT8_MAX},
            {KEY_LOSS_FIRST + 2, REF_NONE, UINT64_C(1) << PK_MAX_LOSS_BITS},
            {KEY_LOSS_FIRST + 3, REF_NONE, UINT64_C(1) << PK_MAX_LOSS_BITS},
            {KEY_LOSS_FIRST + 4, REF_NONE, UINT64_C(1) << PK_MAX_LOSS_BITS},
            {KEY_LOSS_FIRST + 5, REF_NONE, UINT64_MAX},
            {KEY_LOSS_FIRST + 6, REF_NONE, UINT64_C(1) << 54},
            {KEY_LOSS_FIRST + 7, REF_NONE, INT64_MAX},
            {KEY_LOSS_FIRST + 8, REF_NONE, INT64_MAX},
            {KEY_LOSS_FIRST + 9, REF_NONE, INT64_MAX},
        },
};

static const struct schema client = {
    .kind = PK_BATCH_CLIENT,
    .n_columns = 11,
    .first_column = CL_FIRST,
    .span_column = CL_SPAN,
    .columns =
        {
            {110, REF_CLIENT, 0},
            {111, REF_NAME, 0},
            {112, REF_NONE, PK_N_CLIENT_REASONS - 1},
            {113, REF_NONE, UINT32_MAX},
            {114, REF_NONE, UINT32_MAX},
            {115, REF_NONE, UINT32_MAX},
            {116, REF_NONE, UINT32_MAX},
            {117, REF_NONE, UINT64_MAX},
            {118, REF_NONE, UINT32_MAX},
            {119, REF_SKETCH_OR_ZERO, 0},
            {123, REF_CLIENT_OR_ZERO, 0},
        },
};

const struct schema *batch_schema(unsigned kind)
{
    return kind == PK_BATCH_ACTIVITY   ? &activity
           : kind == PK_BATCH_RRSET    ? &rrset
           : kind == PK_BATCH_NEGATIVE ? &negative
           : kind == PK_BATCH_LOSS     ? &loss
           : kind == PK_BATCH_CLIENT   ? &client
                                       : NULL;
}
