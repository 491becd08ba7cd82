/* The processor, the runtime and what a program asks for. */
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__arm__)
#include <sys/auxv.h>
#endif

#include "../images.h"

#if defined(__x86_64__)
/* Whether the system keeps these registers of a process (the bits of XCR0), and the processor has all of a set of
 * instructions (of leaf 7). */
static bool has(unsigned registers, unsigned instructions) {
    unsigned a, b, c, d, low, high;
    const unsigned needed = bit_FMA | bit_OSXSAVE | bit_AVX;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & needed) != needed) return false;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (b & instructions) != instructions) return false;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & registers) == registers;
}
#endif

/* Whether this processor has what the library was built for. */
bool fits_processor(void) {
#if defined(__x86_64__)
    return has(0x6, bit_AVX2 | bit_BMI | bit_BMI2);
#elif defined(__arm__)
    return getauxval(AT_HWCAP) & (1ul << 12); /* NEON */
#else
    return true;
#endif
}

const PlaneKernels *kernels_here(void) {
#if defined(__x86_64__)
    if (has(0xe6, bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL | bit_AVX512CD)) return &plane_kernels_wide;
#endif
    return &plane_kernels;
}

/* Of TensorFlow Lite's C interface, where the process has that. The wheels have not; delegate.py knows their versions. */
extern const char *TfLiteVersion(void) __attribute__((weak));

/* tflite-runtime 2.14 and ai-edge-litert 2.3 call themselves so. */
bool knows_runtime(void) {
    const char *version = TfLiteVersion ? TfLiteVersion() : NULL;
    return version == NULL || strncmp(version, "2.14.", 5) == 0 || strncmp(version, "2.22.", 5) == 0;
}

bool wants_kernels(const char *choice, bool *known) {
    if (choice == NULL) choice = getenv("ARMLET_KERNELS");
    *known = choice == NULL || strcmp(choice, "auto") == 0 || strcmp(choice, "armlet") == 0;
    if (choice == NULL || strcmp(choice, "runtime") != 0) return true;
    *known = true;
    return false;
}
