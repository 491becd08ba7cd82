/* armlet_delegate.h - kernels for layers with zeros: libarmlet_delegate.so, an external delegate of TensorFlow Lite.
 *
 *     void *library = dlopen("libarmlet_delegate.so", RTLD_NOW | RTLD_LOCAL);
 *     armlet_create_delegate *create = (armlet_create_delegate *)dlsym(library, ARMLET_CREATE_DELEGATE);
 *     struct TfLiteDelegate *delegate = create(NULL, NULL, 0, report_error);
 *     if (delegate) TfLiteInterpreterOptionsAddDelegate(options, delegate);
 *
 * It claims float layers that have zeros enough to run faster, and leaves all others to the runtime. Where it refuses,
 * `create` gives NULL and says why: the model then runs without. The delegate outlives its interpreter.
 *
 * The same functions are what tools expect that take any external delegate (benchmark_model
 * --external_delegate_path=libarmlet_delegate.so).
 *
 * Options are keys and values. "kernels", else the environment variable ARMLET_KERNELS, else "auto":
 *     auto, armlet   claims what should gain; a program that asks for "auto" may time both, as examples/kernels.c does
 *     runtime        claims nothing
 *
 * It knows the structures of TensorFlow Lite 2.14 and of 2.22 (LiteRT 2.3), and refuses other versions where the process
 * has TfLiteVersion(). On PCs it needs AVX2, on 32-bit ARM NEON.
 */
#ifndef ARMLET_DELEGATE_H
#define ARMLET_DELEGATE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of what follows; the library has it as the uint32_t "armlet_kernels_version". */
#define ARMLET_KERNELS_VERSION 3

struct TfLiteDelegate;

#define ARMLET_CREATE_DELEGATE "tflite_plugin_create_delegate"
typedef struct TfLiteDelegate *armlet_create_delegate(const char *const *keys, const char *const *values, size_t count,
                                                      void (*report_error)(const char *));

/* When no interpreter uses it any more. */
#define ARMLET_DESTROY_DELEGATE "tflite_plugin_destroy_delegate"
typedef void armlet_destroy_delegate(struct TfLiteDelegate *delegate);

/* One operator that runs in the delegate. */
typedef struct armlet_operator {
    int32_t node;             /* its number in the graph */
    int32_t code;             /* BuiltinOperator */
    uint32_t block;           /* 1, 2 or 4 rows that share a zero */
    uint32_t centroids;       /* 0: weights stand as floats */
    uint64_t weights, kept;   /* elements, and those that are not zero */
    uint64_t bytes;           /* of the packed weights */
    uint64_t nanoseconds;     /* of all calls that were timed */
    uint64_t calls;
} armlet_operator;

/* Writes what is known of up to `most` operators; how many there are. Once the interpreter has its tensors. */
#define ARMLET_OPERATORS "armlet_operators"
typedef uint32_t armlet_operators_function(const struct TfLiteDelegate *delegate, armlet_operator *found, uint32_t most);

/* Begins to time the operators of every inference, from zero; 0 ends it. */
#define ARMLET_TIME_OPERATORS "armlet_time_operators"
typedef void armlet_time_operators_function(struct TfLiteDelegate *delegate, uint32_t on);

#ifdef __cplusplus
}
#endif

#endif
