/* Any bytes as a segment: the walk over its records ends, and no record lies outside. */
#include <stdlib.h>

#include "picket/segment.h"

#include "heap_cap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pk_segment_header header;
    struct pk_segment_record record;
    size_t pos = PK_SEGMENT_HEADER_BYTES;
    heap_cap_begin();
    (void)pk_segment_header_decode(data, size, &header);
    while (pos < size) {
        size_t before = pos;
        if (pk_segment_record_decode(data, size, &pos, &record) != PK_OK) {
            break;
        }
        if (pos <= before || pos > size || record.body < data ||
            record.body + record.body_len > data + size) {
            abort();
        }
    }
    return 0;
}
