/* Processor time, by which the fuzz targets find what hangs: decoding is linear in the sizes of package and model, so nothing
 * that a fuzzer's input can hold takes long, sanitizers included. */
#include <time.h>

static inline double processor_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
