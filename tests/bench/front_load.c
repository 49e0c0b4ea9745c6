/* The front half of the sensor alone: reads a capture file, dissects, reassembles, parses and pairs; keeps no history, merges nothing, prints nothing.
 *
 *     front_load FILE...
 *
 * `picket-sensor --output none` does all of it but writing. Its cost less this one's is that of history and windows. */
#include <inttypes.h>
#include <stdio.h>

#include "picket/hash.h"

#include "sensor/input/capture.h"
#include "sensor/pipeline.h"

static int read_file(struct pk_pipeline *pipeline, const char *path)
{
    char error[PK_CAPTURE_ERROR_SIZE];
    struct pk_capture *capture;
    struct pk_raw_packet packet;
    if (pk_capture_open_file(path, &capture, error) != PK_OK) {
        fprintf(stderr, "front_load: %s\n", error);
        return 1;
    }
    while (pk_capture_next(capture, &packet) == PK_CAPTURE_PACKET) {
        pk_pipeline_packet(pipeline, pk_capture_link_type(capture), &packet);
    }
    pk_capture_close(capture);
    return 0;
}

int main(int argc, char **argv)
{
    static struct pk_stats stats;
    struct pk_pipeline_options options = {.ports = {.v = {53}, .n = 1}};
    struct pk_pipeline *pipeline;
    int status = 0;
    if (pk_hash_start() != PK_OK || pk_pipeline_new(&options, &stats, &pipeline) != PK_OK) {
        return 1;
    }
    for (int i = 1; i < argc; i++) {
        status |= read_file(pipeline, argv[i]);
    }
    pk_pipeline_flush(pipeline);
    printf("%" PRIu64 " packets, %" PRIu64 " transactions\n", stats.packets, stats.opened);
    pk_pipeline_free(pipeline);
    return status;
}
