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

/* ---- columns/supply.c: weights that come from a package, not from the model's floats ------------------------------ */

/* `flat` is NULL where the floats are in their place. taken: the tensor of a layer that is packed from it; -1: none. */
typedef struct {
    float *where;
    uint64_t bytes;
    Flat *flat;
    int taken;
} Supplied;

typedef struct {
    Supplied *all;
    int count;
} Supply;

/* Takes a flat, whose floats belong to `where` in the model; false where memory is short. */
bool supply_add(Supply *, float *where, uint64_t bytes, Flat *);
/* Writes what other readers of this graph need than one fully connected layer. */
void supply_begin(Supply *, Context *, const IntArray *plan);
/* Marks what the claimed nodes are packed from, and writes what nodes of the runtime read. */
void supply_take(Supply *, Context *, const IntArray *claimed);
/* Writes what nobody took, and what is an output of the graph as well; how many were taken. All flats are let go. */
int supply_end(Supply *, const int32_t *outputs, uint32_t count);
void supply_free(Supply *);
Matrix matrix_of(const Supply *, const Tensor *weights);

/* The chain of some nodes; NULL where memory is short. blocks: by the numbers of nodes. */
Chain *image_chain(Context *, const IntArray *nodes, const IntArray *outputs, const uint32_t *blocks, const Supply *,
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
IntArray *choose_nodes(Context *, const IntArray *plan, const Supply *, bool anyway, uint32_t **blocks);
bool is_layer(Context *, const Node *, int code);
Tensor *tensor_at(Context *, int index);
bool is_float(const Tensor *);
bool is_constant(const Tensor *, int rank);
int64_t elements_of(const Tensor *);
bool limits_of(int activation, Limits *);

#endif
