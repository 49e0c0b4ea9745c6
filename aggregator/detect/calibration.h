/* How sure a finding is, by what kind of detector told it and how far its score is above the threshold. Private to aggregator/detect.
 *
 * Share of true findings among those that got so far: T/(T + F e^(-x/m)), written as a logistic in the excess x (nats). T: true findings a tenant-day; once a week is taken for every kind, so
 * a confidence speaks of a tenant that is attacked now and then. F: false findings a tenant-day of that kind, counted on benign weeks made for tuning (half a finding more, so that none
 * in so many days is not never). m: how far false findings go beyond their threshold in the mean. The numbers in calibration_table.h are written by tests/eval/calibrate. */
#ifndef DETECT_CALIBRATION_H
#define DETECT_CALIBRATION_H

/* 0.05 to 0.99. detector as in pk_finding; over in nats. */
double calibration_confidence(const char *detector, double over);

#endif
