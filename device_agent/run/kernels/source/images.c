/* Operators on images, from a graph of TensorFlow Lite to a chain: what each is, what it costs, how they hang together.
 *
 * Only images one at a time, of shapes that are known when the graph is made.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "images.h"

/* Multiply-accumulates that an instruction of the runtime's dense kernels does, Cortex-A72. */
#define RUNTIME_MULTIPLIED 3.1

/* Whether a shape is known when the graph is made. */
static bool is_fixed(const Tensor *t) {
    for (int i = 0; t->dims_signature && i < t->dims_signature->size; i++)
        if (t->dims_signature->data[i] < 0) return false;
    return true;
}

static bool is_image(const Tensor *t) {
    if (!is_float(t) || t->dims->size != 4 || t->dims->data[0] != 1 || t->allocation_type == TFLITE_MMAP_RO) return false;
    if (!is_fixed(t)) return false;
    int64_t count = elements_of(t);
    return count > 0 && count < (1 << 27);
}

static const Tensor *input_at(Context *context, const Node *node, int position) {
    return position < node->inputs->size ? tensor_at(context, node->inputs->data[position]) : NULL;
}

static int dimension(const Tensor *t, int axis) { return t->dims->data[axis]; }

/* A loop over pixels computes whole vectors of so many. */
#if defined(__x86_64__)
enum { SHORTEST = 8 };
#else
enum { SHORTEST = 4 };
#endif
enum { MAX_STEP = 1024 }; /* stride and dilation */

/* Zeros before the first pixel for the padding of a graph, and whether the sizes are what it makes of them. */
static bool padding_of(int padding, int in, int out, int kernel, int stride, int dilation, int *before) {
    if (in < 1 || out < 1 || kernel < 1 || kernel > MAX_TAPS || stride < 1 || dilation < 1) return false;
    if (stride > MAX_STEP || dilation > MAX_STEP) return false; /* nothing below leaves an int */
    int reach = (kernel - 1) * dilation + 1;
    int64_t whole = (int64_t)(out - 1) * stride + reach - in;
    *before = padding == PADDING_SAME && whole > 0 ? (int)(whole / 2) : 0;
    if (padding == PADDING_SAME) return out == (in + stride - 1) / stride;
    return padding == PADDING_VALID && in >= reach && out == (in - reach) / stride + 1;
}

static bool place_kernel(Shape *s, int padding, const Tensor *in, const Tensor *out) {
    return s->kernel_height > 0 && s->kernel_width > 0 && s->kernel_height <= MAX_TAPS && s->kernel_width <= MAX_TAPS &&
           s->kernel_height * s->kernel_width <= MAX_TAPS &&
           padding_of(padding, dimension(in, 1), dimension(out, 1), s->kernel_height, s->stride_height,
                      s->dilation_height, &s->pad_top) &&
           padding_of(padding, dimension(in, 2), dimension(out, 2), s->kernel_width, s->stride_width, s->dilation_width,
                      &s->pad_left);
}

static bool read_convolution(Context *context, const Node *node, int code, Step *s) {
    const Tensor *in = input_at(context, node, 0), *weights = input_at(context, node, 1);
    const Tensor *out = tensor_at(context, node->outputs->data[0]);
    int bias = node->inputs->size == 3 ? node->inputs->data[2] : TFLITE_OPTIONAL_TENSOR;
    if (node->inputs->size < 2 || !is_constant(weights, 4) || weights->bytes != 4 * (size_t)elements_of(weights))
        return false;
    if ((uintptr_t)weights->data % sizeof(float)) return false;
    int channels = dimension(in, 3), outputs = dimension(out, 3), activation, padding;
    if (outputs < 1) return false;
    Shape *shape = &s->shape;
    shape->kernel_height = dimension(weights, 1), shape->kernel_width = dimension(weights, 2);
    if (code == OP_DEPTHWISE_CONV_2D) {
        const DepthwiseParams *p = node->builtin_data;
        *shape = (Shape){shape->kernel_height, shape->kernel_width, p->stride_height, p->stride_width,
                         p->dilation_height,   p->dilation_width,   0,                0,
                         channels,             true};
        activation = p->activation, padding = p->padding;
        if (dimension(weights, 0) != 1 || dimension(weights, 3) != channels || outputs != channels) return false;
    } else {
        const ConvolutionParams *p = node->builtin_data;
        int of_group = dimension(weights, 3);
        if (of_group < 1 || channels % of_group || dimension(weights, 0) != outputs) return false;
        *shape = (Shape){shape->kernel_height, shape->kernel_width, p->stride_height,    p->stride_width,
                         p->dilation_height,   p->dilation_width,   0,                   0,
                         channels / of_group,  false};
        activation = p->activation, padding = p->padding;
        if (outputs % shape->groups) return false;
    }
    if (bias != TFLITE_OPTIONAL_TENSOR) {
        const Tensor *b = tensor_at(context, bias);
        if (!is_constant(b, 1) || dimension(b, 0) != outputs || b->bytes != 4 * (size_t)outputs) return false;
        s->bias = b->data;
    }
    s->kind = STEP_CONVOLVE;
    s->matrix = (Matrix){weights->data, NULL, (uint32_t)outputs, (uint32_t)(elements_of(weights) / outputs)};
    return limits_of(activation, &s->limits) && place_kernel(shape, padding, in, out);
}

static bool read_pool(Context *context, const Node *node, int code, Step *s) {
    const PoolParams *p = node->builtin_data;
    const Tensor *in = input_at(context, node, 0), *out = tensor_at(context, node->outputs->data[0]);
    s->kind = STEP_POOL;
    s->largest = code == OP_MAX_POOL_2D;
    s->shape = (Shape){p->filter_height, p->filter_width, p->stride_height, p->stride_width, 1, 1, 0, 0, 1, false};
    if (dimension(in, 3) != dimension(out, 3) || !place_kernel(&s->shape, p->padding, in, out)) return false;
    s->means_inside = !s->largest && (s->shape.pad_top || s->shape.pad_left || p->padding == PADDING_SAME);
    return limits_of(p->activation, &s->limits) && (!s->means_inside || p->activation == ACTIVATION_NONE);
}

static bool read_pad(Context *context, const Node *node, Step *s) {
    const Tensor *in = input_at(context, node, 0), *pads = input_at(context, node, 1);
    const Tensor *out = tensor_at(context, node->outputs->data[0]);
    if (node->inputs->size != 2 || pads == NULL || pads->type != TFLITE_INT32 || pads->data == NULL) return false;
    if (pads->allocation_type != TFLITE_MMAP_RO || pads->bytes != 8 * sizeof(int32_t)) return false;
    int32_t by[8];
    memcpy(by, pads->data, sizeof by);
    for (int i = 0; i < 8; i++)
        if (by[i] < 0 || by[i] > 64 || (by[i] && (i < 2 || i > 5))) return false;
    for (int axis = 1; axis < 4; axis++)
        if (dimension(out, axis) != dimension(in, axis) + by[2 * axis] + by[2 * axis + 1]) return false;
    s->kind = STEP_POOL; /* of one pixel each, so far up and left */
    s->pads = true;
    s->shape = (Shape){1, 1, 1, 1, 1, 1, by[2], by[4], 1, false};
    return limits_of(ACTIVATION_NONE, &s->limits);
}

static bool read_add(Context *context, const Node *node, int code, Step *s) {
    const Tensor *a = input_at(context, node, 0), *out = tensor_at(context, node->outputs->data[0]);
    int activation = code == OP_RELU ? ACTIVATION_RELU : ACTIVATION_RELU6, inputs = code == OP_ADD ? 2 : 1;
    s->kind = STEP_ADD;
    if (node->inputs->size != inputs) return false;
    if (code == OP_ADD) activation = ((const AddParams *)node->builtin_data)->activation;
    for (int i = 0; i < inputs; i++) {
        const Tensor *t = input_at(context, node, i);
        if (!is_image(t)) return false;
        for (int axis = 1; axis < 4; axis++)
            if (dimension(t, axis) != dimension(out, axis) || dimension(t, axis) != dimension(a, axis)) return false;
    }
    return limits_of(activation, &s->limits);
}

static bool read_mean(Context *context, const Node *node, const Tensor *out, Step *s) {
    const Tensor *axes = input_at(context, node, 1), *in = input_at(context, node, 0);
    if (node->inputs->size != 2 || axes == NULL || axes->type != TFLITE_INT32 || axes->data == NULL) return false;
    if (axes->allocation_type != TFLITE_MMAP_RO || axes->bytes != 2 * sizeof(int32_t)) return false;
    int32_t at[2];
    memcpy(at, axes->data, sizeof at);
    for (int i = 0; i < 2; i++) at[i] += at[i] < 0 ? 4 : 0;
    if (!((at[0] == 1 && at[1] == 2) || (at[0] == 2 && at[1] == 1))) return false;
    s->kind = STEP_MEAN;
    if (!is_float(out) || elements_of(out) != dimension(in, 3)) return false;
    if (((const ReducerParams *)node->builtin_data)->keep_dims) return is_image(out) && dimension(out, 3) == dimension(in, 3);
    return out->dims->size == 2 && dimension(out, 0) == 1;
}

static bool is_concatenation(Context *context, const Node *node) {
    const ConcatenationParams *p = node->builtin_data;
    const Tensor *out = tensor_at(context, node->outputs->data[0]);
    int channels = 0;
    if ((p->axis != 3 && p->axis != -1) || p->activation != ACTIVATION_NONE) return false;
    for (int i = 0; i < node->inputs->size; i++) {
        const Tensor *t = input_at(context, node, i);
        if (!is_image(t) || dimension(t, 1) != dimension(out, 1) || dimension(t, 2) != dimension(out, 2)) return false;
        channels += dimension(t, 3);
    }
    return channels == dimension(out, 3);
}

/* Equal parts of the channels: inputs are the axis and the image. */
static bool is_split(Context *context, const Node *node) {
    const Tensor *axis = input_at(context, node, 0), *in = input_at(context, node, 1);
    int32_t at;
    if (node->inputs->size != 2 || !is_image(in) || axis == NULL || axis->type != TFLITE_INT32) return false;
    if (axis->data == NULL || axis->allocation_type != TFLITE_MMAP_RO || axis->bytes != sizeof at) return false;
    memcpy(&at, axis->data, sizeof at);
    int channels = 0;
    for (int i = 0; i < node->outputs->size; i++) {
        const Tensor *out = tensor_at(context, node->outputs->data[i]);
        if (!is_image(out) || dimension(out, 1) != dimension(in, 1) || dimension(out, 2) != dimension(in, 2)) return false;
        channels += dimension(out, 3);
    }
    return (at == 3 || at == -1) && channels == dimension(in, 3);
}

static Node *node_at(Context *context, int index, int *code) {
    Node *node;
    Registration *registration;
    if (index < 0 || context->get_node_and_registration(context, index, &node, &registration) != TFLITE_OK) return NULL;
    *code = registration->builtin_code;
    return node->inputs && node->outputs && node->inputs->size && node->outputs->size ? node : NULL;
}

/* Whether a RESHAPE makes the shape that its output has in the file: the runtime goes by what the operator says. */
static bool makes_shape(Context *context, const Node *node, const Tensor *out) {
    const Tensor *shape = input_at(context, node, 1);
    const ReshapeParams *p = node->builtin_data;
    const int rank = out->dims->size;
    int32_t to[8];
    if (rank > 8) return false;
    if (shape != NULL) {
        if (shape->type != TFLITE_INT32 || shape->data == NULL || shape->allocation_type != TFLITE_MMAP_RO) return false;
        if (shape->bytes != sizeof *to * (size_t)rank) return false;
        memcpy(to, shape->data, shape->bytes);
    } else {
        if (p == NULL || p->num_dimensions != rank) return false;
        for (int i = 0; i < rank; i++) to[i] = p->shape[i];
    }
    for (int i = 0; i < rank; i++)
        if (to[i] != -1 && to[i] != dimension(out, i)) return false;
    return true;
}

bool is_shuffle(Context *context, const int *nodes) {
    static const int codes[3] = {OP_RESHAPE, OP_TRANSPOSE, OP_RESHAPE};
    Node *node[3];
    for (int i = 0; i < 3; i++) {
        int code;
        node[i] = node_at(context, nodes[i], &code);
        if (node[i] == NULL || code != codes[i] || node[i]->outputs->size != 1) return false;
        if (i && node[i]->inputs->data[0] != node[i - 1]->outputs->data[0]) return false;
    }
    const Tensor *in = input_at(context, node[0], 0), *apart = input_at(context, node[1], 0);
    const Tensor *order = input_at(context, node[1], 1), *swapped = input_at(context, node[2], 0);
    const Tensor *out = tensor_at(context, node[2]->outputs->data[0]);
    if (!is_image(in) || !is_image(out) || !is_float(apart) || !is_float(swapped) || order == NULL) return false;
    if (!makes_shape(context, node[0], apart) || !makes_shape(context, node[2], out)) return false;
    int rank = apart->dims->size;
    if ((rank != 4 && rank != 5) || swapped->dims->size != rank || order->type != TFLITE_INT32) return false;
    if (order->data == NULL || order->allocation_type != TFLITE_MMAP_RO || order->bytes != 4 * (size_t)rank) return false;
    for (int i = 0; i < rank; i++) {
        int32_t at;
        memcpy(&at, (const char *)order->data + 4 * i, sizeof at);
        if (at != (i < rank - 2 ? i : 2 * rank - 3 - i)) return false;
        if (dimension(swapped, i) != dimension(apart, at)) return false;
    }
    for (int axis = 0; axis < 4; axis++)
        if (dimension(in, axis) != dimension(out, axis)) return false;
    return elements_of(apart) == elements_of(in) &&
           dimension(apart, rank - 1) * dimension(apart, rank - 2) == dimension(in, 3);
}

/* What a node is as a step, its values not filled in; false where a chain cannot hold it. */
static bool read_step(Context *context, const Node *node, int code, Step *s) {
    memset(s, 0, sizeof *s);
    s->in = s->second = s->out = -1;
    if (node->inputs == NULL || node->outputs == NULL || node->inputs->size < 1 || node->outputs->size < 1) return false;
    const Tensor *in = input_at(context, node, 0), *out = tensor_at(context, node->outputs->data[0]);
    bool has_parameters = code != OP_RELU && code != OP_RELU6 && code != OP_PAD && code != OP_RESHAPE;
    if (has_parameters && node->builtin_data == NULL) return false;
    if (code == OP_SPLIT) {
        s->kind = STEP_VIEW;
        return is_split(context, node);
    }
    if (!is_image(in) || node->outputs->size != 1) return false;
    if (code == OP_MEAN) return read_mean(context, node, out, s);
    if (code == OP_RESHAPE) {
        s->kind = STEP_FLATTEN;
        return is_float(out) && out->dims->size == 2 && dimension(out, 0) == 1 && elements_of(out) == elements_of(in) &&
               makes_shape(context, node, out);
    }
    if (!is_image(out)) return false;
    switch (code) {
        case OP_CONV_2D:
        case OP_DEPTHWISE_CONV_2D: return read_convolution(context, node, code, s);
        case OP_MAX_POOL_2D:
        case OP_AVERAGE_POOL_2D: return read_pool(context, node, code, s);
        case OP_PAD: return read_pad(context, node, s);
        case OP_ADD:
        case OP_RELU:
        case OP_RELU6: return read_add(context, node, code, s);
        case OP_CONCATENATION: s->kind = STEP_VIEW; return is_concatenation(context, node);
        default: return false;
    }
}

bool takes_flat(Context *context, const Node *node, int code) {
    Step s;
    return code == OP_CONV_2D && read_step(context, node, code, &s) && s.shape.groups < dimension(input_at(context, node, 0), 3);
}

bool image_operator(Context *context, const Node *node, int code, const Supply *supply, Judged *judged) {
    Step s;
    *judged = (Judged){0, 0, 0};
    if (!read_step(context, node, code, &s)) return false;
    if (s.kind != STEP_CONVOLVE) return true;
    const Tensor *out = tensor_at(context, node->outputs->data[0]);
    double pixels = (double)dimension(out, 1) * dimension(out, 2), whole = ceil(pixels / SHORTEST) * SHORTEST;
    if (code == OP_CONV_2D) s.matrix = matrix_of(supply, input_at(context, node, 1));
    judged->block = chain_block(&s.shape, &s.matrix, whole, &judged->own);
    if (code == OP_DEPTHWISE_CONV_2D) /* the runtime's are as quick */
        judged->own = 0;
    else
        judged->work = pixels * (double)elements_of(input_at(context, node, 1)) / RUNTIME_MULTIPLIED;
    return judged->block > 0;
}

/* ---- the chain of a partition ------------------------------------------------------------------------------------- */

typedef struct {
    Context *context;
    Chain *chain;
    int *value; /* of tensors; -1: none yet */
    const Supply *supply;
} Maker;

/* The value of a tensor; one that comes from outside is loaded. -1 where memory is short. */
static int value_of(Maker *m, int tensor, bool comes_from_outside) {
    if (tensor < 0 || (size_t)tensor >= m->context->tensors_size) return -1;
    if (m->value[tensor] >= 0) return m->value[tensor];
    const Tensor *t = tensor_at(m->context, tensor);
    bool image = t->dims->size == 4 && dimension(t, 0) == 1;
    m->value[tensor] = chain_value(m->chain, image ? dimension(t, 1) : 0, image ? dimension(t, 2) : 0,
                                   image ? dimension(t, 3) : (int)elements_of(t));
    if (comes_from_outside) {
        Step load = {.kind = STEP_LOAD, .in = -1, .second = -1, .out = m->value[tensor], .node = -1, .tensor = tensor};
        if (m->value[tensor] < 0 || chain_step(m->chain, &load) < 0) return -1;
    }
    return m->value[tensor];
}

static bool add_view(Maker *m, const Node *node, int code, int index) {
    int first = 0;
    for (int i = 0; i < (code == OP_SPLIT ? node->outputs->size : 1); i++) {
        int out = value_of(m, node->outputs->data[i], false);
        if (out < 0) return false;
        int channels = m->chain->values[out].channels, c = 0;
        Step s = {.kind = STEP_VIEW, .in = -1, .second = -1, .out = out, .node = i ? -1 : index, .code = code};
        if ((s.view = calloc(2 * (size_t)channels, sizeof(int))) == NULL) return false;
        if (code == OP_SPLIT) {
            int in = value_of(m, node->inputs->data[1], true);
            for (; in >= 0 && c < channels; c++) s.view[2 * c] = in, s.view[2 * c + 1] = first++;
        } else
            for (int k = 0; k < node->inputs->size; k++) {
                int in = value_of(m, node->inputs->data[k], true);
                if (in < 0) break;
                for (int from = 0; from < m->chain->values[in].channels && c < channels; from++, c++)
                    s.view[2 * c] = in, s.view[2 * c + 1] = from;
            }
        if (c < channels || chain_step(m->chain, &s) < 0) {
            free(s.view);
            return false;
        }
    }
    return true;
}

/* One of the three of a shuffle: the channels of its input, of which TRANSPOSE alone changes the order. */
static bool add_shuffled(Maker *m, const Node *node, int code, int index) {
    int in = value_of(m, node->inputs->data[0], true), tensor = node->outputs->data[0];
    const Tensor *apart = tensor_at(m->context, node->inputs->data[0]);
    if (in < 0 || tensor < 0 || (size_t)tensor >= m->context->tensors_size) return false;
    Value v = m->chain->values[in];
    int out = chain_value(m->chain, v.height, v.width, v.channels), inner = dimension(apart, apart->dims->size - 1);
    Step s = {.kind = STEP_VIEW, .in = -1, .second = -1, .out = out, .node = index, .code = code};
    if (out < 0 || !v.height || inner < 1 || (code == OP_TRANSPOSE && v.channels % inner)) return false;
    if ((s.view = calloc(2 * (size_t)v.channels, sizeof(int))) == NULL) return false;
    int groups = v.channels / inner;
    for (int c = 0; c < v.channels; c++) {
        s.view[2 * c] = in;
        s.view[2 * c + 1] = code == OP_TRANSPOSE ? c % groups * inner + c / groups : c;
    }
    m->value[tensor] = out;
    if (chain_step(m->chain, &s) >= 0) return true;
    free(s.view);
    return false;
}

/* The values of an image channels last; -1 where memory is short. */
static int flattened(Maker *m, int image) {
    Value v = m->chain->values[image];
    int flat = chain_value(m->chain, 0, 0, v.height * v.width * v.channels);
    Step s = {.kind = STEP_FLATTEN, .in = image, .second = -1, .out = flat, .node = -1};
    return flat >= 0 && chain_step(m->chain, &s) >= 0 ? flat : -1;
}

bool suits_chain(Context *context, const Node *node) {
    const Tensor *in = input_at(context, node, 0), *weights = input_at(context, node, 1);
    const Tensor *out = tensor_at(context, node->outputs->data[0]);
    const int rows = dimension(weights, 0), columns = dimension(weights, 1);
    int rank = in->dims->size;
    int64_t count = elements_of(in);
    if (!is_fixed(in) || !is_fixed(out) || count < 1 || count % columns) return false;
    if (!((const FullyConnectedParams *)node->builtin_data)->keep_num_dims)
        return out->dims->size == 2 && dimension(out, 0) == count / columns && dimension(out, 1) == rows;
    for (int i = 0; i < rank - 1; i++)
        if (out->dims->size != rank || dimension(in, i) != dimension(out, i)) return false;
    return out->dims->size == rank && dimension(in, rank - 1) == columns && dimension(out, rank - 1) == rows;
}

/* A layer takes rows of values as they are in the runtime: channels last. */
static bool add_layer(Maker *m, const Node *node, Step *s) {
    const FullyConnectedParams *p = node->builtin_data;
    const Tensor *bias = node->inputs->size == 3 ? tensor_at(m->context, node->inputs->data[2]) : NULL;
    if (!suits_chain(m->context, node) || !limits_of(p->activation, &s->limits)) return false;
    s->kind = STEP_COLUMNS;
    s->bias = bias ? bias->data : NULL;
    s->matrix = matrix_of(m->supply, input_at(m->context, node, 1));
    int in = value_of(m, node->inputs->data[0], true), out = value_of(m, node->outputs->data[0], false);
    if (in >= 0 && m->chain->values[in].height) in = flattened(m, in);
    if (in < 0 || out < 0) return false;
    s->in = in, s->out = out;
    if (!m->chain->values[out].height) return chain_step(m->chain, s) >= 0;
    Value v = m->chain->values[out];
    s->out = chain_value(m->chain, 0, 0, v.height * v.width * v.channels);
    if (s->out < 0 || chain_step(m->chain, s) < 0) return false;
    Step back = {.kind = STEP_UNFLATTEN, .in = s->out, .second = -1, .out = out, .node = -1};
    return chain_step(m->chain, &back) >= 0;
}

static bool add_node(Maker *m, int index, uint32_t block) {
    Node *node;
    Registration *registration;
    Step s;
    if (m->context->get_node_and_registration(m->context, index, &node, &registration) != TFLITE_OK) return false;
    int code = registration->builtin_code;
    if (code == OP_TRANSPOSE || (code == OP_RESHAPE && tensor_at(m->context, node->outputs->data[0])->dims->size != 2))
        return add_shuffled(m, node, code, index);
    if (code == OP_FULLY_CONNECTED) {
        s = (Step){.second = -1, .node = index, .code = code, .block = (int)block};
        return add_layer(m, node, &s);
    }
    if (!read_step(m->context, node, code, &s)) return false;
    if (code == OP_CONV_2D) s.matrix = matrix_of(m->supply, input_at(m->context, node, 1));
    if (s.kind == STEP_VIEW) return add_view(m, node, code, index);
    s.node = index, s.code = code;
    s.block = (int)block;
    s.in = value_of(m, node->inputs->data[0], true);
    if (code == OP_ADD) s.second = value_of(m, node->inputs->data[1], true);
    s.out = value_of(m, node->outputs->data[0], false);
    return s.in >= 0 && s.out >= 0 && (code != OP_ADD || s.second >= 0) && chain_step(m->chain, &s) >= 0;
}

Chain *image_chain(Context *context, const IntArray *nodes, const IntArray *outputs, const uint32_t *blocks,
                   const Supply *supply, const PlaneKernels *kernels, int threads) {
    Maker m = {context, calloc(1, sizeof(Chain)), malloc(sizeof(int) * (context->tensors_size + 1)), supply};
    bool whole = m.chain != NULL && m.value != NULL;
    if (whole) m.chain->kernels = kernels;
    for (size_t i = 0; whole && i < context->tensors_size; i++) m.value[i] = -1;
    for (int i = 0; whole && i < nodes->size; i++) whole = add_node(&m, nodes->data[i], blocks[nodes->data[i]]);
    for (int i = 0; whole && i < outputs->size; i++) {
        int tensor = outputs->data[i];
        Step s = {.kind = STEP_STORE, .second = -1, .out = -1, .node = -1, .tensor = tensor};
        whole = tensor >= 0 && (size_t)tensor < context->tensors_size && (s.in = m.value[tensor]) >= 0 &&
                chain_step(m.chain, &s) >= 0;
    }
    whole = whole && chain_finish(m.chain, threads);
    free(m.value);
    if (whole) return m.chain;
    if (m.chain) chain_free(m.chain);
    free(m.chain);
    return NULL;
}
