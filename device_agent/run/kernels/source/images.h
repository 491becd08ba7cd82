/* From a graph of TensorFlow Lite to what runs here: fully connected layers, and chains of operators on images. */
#ifndef ARMLET_IMAGES_H
#define ARMLET_IMAGES_H

#include "chain.h"
#include "tflite.h"

/* What leaving an operator to the runtime costs, and what it costs here, in instructions; `block` of its weights. */
typedef struct {
    double work, own;
    int block;
} Judged;

/* ---- machine/processor.c -------------------------------------------------------------------------------------------- */

/* Whether this processor has what the library was built for, and the best kernels for it. */
bool fits_processor(void);
const PlaneKernels *kernels_here(void);
/* Whether the structures of tflite.h are those of the runtime in this process, as far as it tells its version. */
bool knows_runtime(void);
/* Whether layers may be claimed: by the option "kernels", else by the environment. known: whether that is a choice. */
bool wants_kernels(const char *choice, bool *known);

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
/* Writes what other readers of this graph need than one layer or convolution. */
void supply_begin(Supply *, Context *, const IntArray *plan);
/* Marks what the claimed nodes are packed from, and writes what nodes of the runtime read. */
void supply_take(Supply *, Context *, const IntArray *claimed);
/* Writes what nobody took, and what is an output of the graph as well; how many were taken. All flats are let go. */
int supply_end(Supply *, const int32_t *outputs, uint32_t count);
void supply_free(Supply *);
/* The weights of a tensor (outputs, ...), from its flat where it has one. */
Matrix matrix_of(const Supply *, const Tensor *weights);

/* Whether a node is an operator that a chain can hold, and what it costs. */
bool image_operator(Context *, const Node *, int code, const Supply *, Judged *);
/* Whether a node is a convolution whose weights may come from a flat. */
bool takes_flat(Context *, const Node *, int code);
/* Whether a chain can hold a fully connected layer: its shapes are known and fit one another. */
bool suits_chain(Context *, const Node *);
/* Whether three nodes shuffle channels: apart by groups, the last two dimensions swapped, and together again. */
bool is_shuffle(Context *, const int *nodes);
/* The chain of some nodes; NULL where memory is short. blocks: by the numbers of nodes. */
Chain *image_chain(Context *, const IntArray *nodes, const IntArray *outputs, const uint32_t *blocks, const Supply *,
                   const PlaneKernels *, int threads);

enum { INNER_NODE = -1 }; /* of a graph that an operator of the model's runs, such as WHILE */

/* What delegate.py reads of one operator that runs here. */
typedef struct {
    int32_t node;         /* in the model's graph, or INNER_NODE */
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
