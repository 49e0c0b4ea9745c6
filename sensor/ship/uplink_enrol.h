/* `picket-sensor enroll TOKEN`: how a machine becomes a sensor. Edge: a socket, files. */
#ifndef SENSOR_UPLINK_ENROL_H
#define SENSOR_UPLINK_ENROL_H

/* Writes sensor.key, scope.yaml, client.key (when the token carries one) and sensor.yaml into the folder. Exit status (sysexits), everything said. */
int pk_run_enroll(const char *token_text, const char *folder_word);

#endif
