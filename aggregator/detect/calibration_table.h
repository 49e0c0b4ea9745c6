/* Written by tests/eval/calibrate; not edited by hand. 11 benign weeks for tuning, 30 tenant-days, 3 false findings, 6.4 nats above their threshold in the mean. */
#ifndef DETECT_CALIBRATION_TABLE_H
#define DETECT_CALIBRATION_TABLE_H

static const struct calibration {
    const char *detector;
    double at_threshold; /* log-odds */
    double a_nat;        /* more of them for each nat above */
    double most;
} calibration_table[] = {
    /* guessing: 0 false */
    {"D2", 2.15, 0.155, 1},
    {"D3", 2.15, 0.155, 1},
    /* campaigns: 2 false */
    {"D4", 0.54, 0.155, 1},
    {"D5", 0.54, 0.155, 1},
    /* reverse sweeps: 0 false */
    {"D6", 2.15, 0.155, 1},
    /* chain walks: 0 false */
    {"D7", 2.15, 0.155, 1},
    /* rules set by hand: 0 false */
    {"D9", 2.15, 0.155, 1},
    {"D10", 2.15, 0.155, 1},
    {"D16", 2.15, 0.155, 1},
    /* retired names: 0 false */
    {"D11", 2.15, 0.155, 1},
    /* names that exist: 1 false */
    {"D15", 1.05, 0.155, 0.5},
    {"D17", 1.05, 0.155, 0.5},
    /* events: 0 false */
    {"D1", 2.15, 0.155, 1},
    {"D8", 2.15, 0.155, 1},
    {"D12", 2.15, 0.155, 1},
    /* floods: 0 false */
    {"flood", 2.15, 0.155, 1},
};

#endif
