/* What a delegate needs of the C interface of TensorFlow Lite, declared here: no header of a runtime is needed.
 *
 * The layouts are those of tensorflow/lite/core/c/common.h and builtin_op_data.h, which tflite-runtime 2.14 and
 * ai-edge-litert 2.3 share. Other versions are refused by delegate.py. Fields after those that are used are left out
 * of structures that the runtime owns and hands over by pointer.
 */
#ifndef ARMLET_TFLITE_H
#define ARMLET_TFLITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TFLITE_OK = 0, TFLITE_ERROR = 1 };
enum { TFLITE_FLOAT32 = 1, TFLITE_INT32 = 2 };
enum { TFLITE_MMAP_RO = 1 };
/* Without this flag a graph that computes a shape (SHAPE, PACK) cannot be prepared. */
enum { TFLITE_ALLOWS_DYNAMIC_TENSORS = 1 };
enum { TFLITE_OPTIONAL_TENSOR = -1 };

/* BuiltinOperator of schema.fbs */
enum {
    OP_ADD = 0,
    OP_AVERAGE_POOL_2D = 1,
    OP_CONCATENATION = 2,
    OP_CONV_2D = 3,
    OP_DEPTHWISE_CONV_2D = 4,
    OP_FULLY_CONNECTED = 9,
    OP_MAX_POOL_2D = 17,
    OP_RELU = 19,
    OP_RELU6 = 21,
    OP_RESHAPE = 22,
    OP_PAD = 34,
    OP_TRANSPOSE = 39,
    OP_MEAN = 40,
    OP_SPLIT = 49
};

enum { PADDING_SAME = 1, PADDING_VALID = 2 }; /* TfLitePadding */

/* TfLiteFusedActivation */
enum { ACTIVATION_NONE = 0, ACTIVATION_RELU = 1, ACTIVATION_RELU_N1_TO_1 = 2, ACTIVATION_RELU6 = 3 };

typedef struct {
    int size;
    int data[];
} IntArray;

typedef struct {
    int type;
    void *data;
    IntArray *dims;
    struct {
        float scale;
        int32_t zero_point;
    } params;
    int allocation_type;
    size_t bytes;
    const void *allocation;
    const char *name;
    void *delegate;
    int buffer_handle;
    bool data_is_stale;
    bool is_variable;
    struct {
        int type;
        void *params;
    } quantization;
    void *sparsity;
    const IntArray *dims_signature;
} Tensor;

typedef struct {
    IntArray *inputs, *outputs, *intermediates, *temporaries;
    void *user_data;
    void *builtin_data;
    const void *custom_initial_data;
    int custom_initial_data_size;
    struct Delegate *delegate;
    bool might_have_side_effect;
} Node;

typedef struct Context Context;

/* Goes by value. On 64 bits it is declared longer than in any version: what the runtime takes of it comes first. On 32-bit
 * ARM the arguments behind it follow it on the stack, so it has the very length that tflite-runtime 2.14 knows, the one
 * runtime there is. */
typedef struct {
    void *(*init)(Context *, const char *, size_t);
    void (*free)(Context *, void *);
    int (*prepare)(Context *, Node *);
    int (*invoke)(Context *, Node *);
    const char *(*profiling_string)(const Context *, const Node *);
    int32_t builtin_code;
    const char *custom_name;
    int version;
#if defined(__arm__)
    void *room[2];
    uint64_t inplace_operator;
#else
    void *room[16];
#endif
} Registration;

struct Context {
    size_t tensors_size;
    int (*get_execution_plan)(Context *, IntArray **);
    Tensor *tensors;
    void *impl;
    int (*resize_tensor)(Context *, Tensor *, IntArray *);
    void (*report_error)(Context *, const char *, ...);
    int (*add_tensors)(Context *, int, int *);
    int (*get_node_and_registration)(Context *, int, Node **, Registration **);
    int (*replace_nodes)(Context *, Registration, const IntArray *, struct Delegate *);
    int recommended_num_threads;
};

typedef struct Delegate {
    void *data;
    int (*prepare)(Context *, struct Delegate *);
    int (*copy_from)(Context *, struct Delegate *, int, Tensor *);
    int (*copy_to)(Context *, struct Delegate *, int, Tensor *);
    void (*free_handle)(Context *, struct Delegate *, int *);
    int64_t flags;
    void *opaque_builder;
} Delegate;

typedef struct {
    Delegate *delegate;
    IntArray *nodes, *inputs, *outputs;
} DelegateParams;

typedef struct {
    int activation;
    int weights_format; /* 0: rows of the matrix, one after the other */
    bool keep_num_dims;
} FullyConnectedParams;

typedef struct {
    int padding, stride_width, stride_height, activation, dilation_width, dilation_height;
} ConvolutionParams;

typedef struct {
    int padding, stride_width, stride_height, depth_multiplier, activation, dilation_width, dilation_height;
} DepthwiseParams;

typedef struct {
    int padding, stride_width, stride_height, filter_width, filter_height, activation;
} PoolParams;

typedef struct {
    int activation;
} AddParams;

typedef struct {
    int axis, activation;
} ConcatenationParams;

typedef struct {
    bool keep_dims;
} ReducerParams;

typedef struct {
    int shape[8], num_dimensions;
} ReshapeParams;

#endif
