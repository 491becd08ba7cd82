/* From a graph of TensorFlow Lite to what runs here: fully connected layers, and chains of operators on images. */
#ifndef ARMLET_IMAGES_H
#define ARMLET_IMAGES_H

#include "chain.h"
#include "tflite.h"

/* An operator that a chain can hold; false where it is none. `work` is what leaving it to the runtime costs, and `own`
 * what it costs here, in instructions; `block` that of its weights. */
typedef struct {
    double work, own;
    int block;
} Judged;

/* Whether three nodes shuffle channels: apart by groups, the last two dimensions swapped, and together again. */
bool is_shuffle(Context *, const int *nodes);
bool image_operator(Context *, const Node *, int code, Judged *);
/* The chain of some nodes; NULL where memory is short. blocks: by the numbers of nodes. */
Chain *image_chain(Context *, const IntArray *nodes, const IntArray *outputs, const uint32_t *blocks,
                   const PlaneKernels *, int threads);

/* What delegate.py reads of one operator that runs here. */
typedef struct {
    int32_t node;         /* in the graph */
    int32_t code;         /* BuiltinOperator */
    uint32_t block, centroids;
    uint64_t weights, kept;
    uint64_t bytes;       /* of the packed weights */
    uint64_t nanoseconds; /* of all calls that were timed */
    uint64_t calls;
} Report;

/* A fully connected layer that is a node, or one of several neighbours. */
typedef struct {
    Report report;
    int input, bias, output; /* tensors; bias may be TFLITE_OPTIONAL_TENSOR */
    Limits limits;
    bool keeps_dimensions;
    Columns *columns;
} Layer;

/* choice.c: what a node is as a layer, without its packed weights; false where it is none that these kernels compute. */
bool read_layer(Context *, const Node *, int code, Layer *);
/* Nodes to be claimed, with the blocks that their weights are packed in; NULL where memory is short. */
IntArray *choose_nodes(Context *, const IntArray *plan, bool anyway, uint32_t **blocks);
bool is_layer(Context *, const Node *, int code);
Tensor *tensor_at(Context *, int index);
bool is_float(const Tensor *);
bool is_constant(const Tensor *, int rank);
int64_t elements_of(const Tensor *);
bool limits_of(int activation, Limits *);

#endif
