/* Operators on images, from a graph of TensorFlow Lite to a chain. */
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

/* choice.c: nodes to be claimed, with the blocks that their weights are packed in; NULL where memory is short. */
IntArray *choose_nodes(Context *, const IntArray *plan, bool anyway, uint32_t **blocks);

/* delegate.c */
bool is_layer(Context *, const Node *, int code);
Tensor *tensor_at(Context *, int index);
bool is_float(const Tensor *);
bool is_constant(const Tensor *, int rank);
int64_t elements_of(const Tensor *);
bool limits_of(int activation, Limits *);

#endif
