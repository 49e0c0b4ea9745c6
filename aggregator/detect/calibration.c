/* The logistic curve of each kind of detector. */
#include "calibration.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "calibration_table.h"

double calibration_confidence(const char *detector, double over)
{
    static const double least = 0.05, most = 0.99;
    for (size_t i = 0; i < sizeof calibration_table / sizeof *calibration_table; i++) {
        const struct calibration *row = &calibration_table[i];
        if (strcmp(row->detector, detector) == 0) {
            double p = 1 / (1 + exp(-(row->at_threshold + row->a_nat * (over > 0 ? over : 0))));
            double top = row->most < most ? row->most : most;
            return p < least ? least : p > top ? top : p;
        }
    }
    return 0.5;
}
