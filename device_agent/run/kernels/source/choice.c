/* What a graph says, and which of its nodes the delegate claims: those that take less work here than in the runtime.
 *
 * A fully connected layer stands for itself. Operators on images hang together by the values that they hand on: a chain
 * is claimed where what its zeros save is more than what it costs to turn images around at its ends.
 */
#include <math.h>
#include <stdlib.h>

#include "images.h"

/* ---- what a graph says --------------------------------------------------------------------------------------------- */

Tensor *tensor_at(Context *context, int index) {
    return index >= 0 && (size_t)index < context->tensors_size ? &context->tensors[index] : NULL;
}

bool is_float(const Tensor *t) {
    return t != NULL && t->type == TFLITE_FLOAT32 && t->dims != NULL && t->sparsity == NULL;
}

bool is_constant(const Tensor *t, int rank) {
    return is_float(t) && t->allocation_type == TFLITE_MMAP_RO && t->data != NULL && t->dims->size == rank;
}

/* Elements of a tensor by its dimensions; -1 where they are no shape, or too many. */
int64_t elements_of(const Tensor *t) {
    int64_t count = 1;
    for (int i = 0; i < t->dims->size; i++) {
        if (t->dims->data[i] < 0) return -1;
        count *= t->dims->data[i];
        if (count > INT32_MAX) return -1;
    }
    return count;
}

bool limits_of(int activation, Limits *limits) {
    limits->low = activation == ACTIVATION_NONE ? -INFINITY : activation == ACTIVATION_RELU_N1_TO_1 ? -1.0f : 0.0f;
    limits->high = activation == ACTIVATION_RELU6            ? 6.0f
                   : activation == ACTIVATION_RELU_N1_TO_1 ? 1.0f
                                                           : INFINITY;
    return activation >= ACTIVATION_NONE && activation <= ACTIVATION_RELU6;
}

/* What a node is as a layer, without its packed weights; false where it is none that these kernels compute. */
bool read_layer(Context *context, const Node *node, int code, Layer *layer) {
    const FullyConnectedParams *params = node->builtin_data;
    if (code != OP_FULLY_CONNECTED || params == NULL || node->inputs == NULL || node->outputs == NULL) return false;
    if (node->inputs->size < 2 || node->inputs->size > 3 || node->outputs->size != 1) return false;
    const Tensor *input = tensor_at(context, node->inputs->data[0]);
    const Tensor *weights = tensor_at(context, node->inputs->data[1]);
    const Tensor *output = tensor_at(context, node->outputs->data[0]);
    layer->bias = node->inputs->size == 3 ? node->inputs->data[2] : TFLITE_OPTIONAL_TENSOR;
    if (!is_float(input) || !is_float(output) || !is_constant(weights, 2)) return false;
    if (input->allocation_type == TFLITE_MMAP_RO || params->weights_format != 0) return false;
    int64_t count = elements_of(weights);
    if (count < 1 || weights->bytes != 4 * (size_t)count || (uintptr_t)weights->data % sizeof(float)) return false;
    if (layer->bias != TFLITE_OPTIONAL_TENSOR) {
        const Tensor *bias = tensor_at(context, layer->bias);
        if (!is_constant(bias, 1) || bias->bytes != 4 * (size_t)weights->dims->data[0]) return false;
    }
    layer->input = node->inputs->data[0];
    layer->output = node->outputs->data[0];
    layer->keeps_dimensions = params->keep_num_dims;
    layer->report.code = code;
    layer->report.weights = (uint64_t)count;
    return limits_of(params->activation, &layer->limits);
}

bool is_layer(Context *context, const Node *node, int code) {
    Layer layer = {0};
    return read_layer(context, node, code, &layer);
}

/* ---- order --------------------------------------------------------------------------------------------------------- */

/* Whether no node reads what a later one makes: others the runtime cannot take apart. */
static bool is_in_order(Context *context, const IntArray *plan) {
    bool *made = calloc(context->tensors_size + 1, sizeof *made), ordered = made != NULL;
    for (int i = plan->size - 1; ordered && i >= 0; i--) {
        Node *node;
        Registration *registration;
        if (context->get_node_and_registration(context, plan->data[i], &node, &registration) != TFLITE_OK) continue;
        for (int k = 0; node->outputs && k < node->outputs->size; k++)
            if (tensor_at(context, node->outputs->data[k])) made[node->outputs->data[k]] = true;
        for (int k = 0; node->inputs && k < node->inputs->size; k++)
            ordered = ordered && !(tensor_at(context, node->inputs->data[k]) && made[node->inputs->data[k]]);
    }
    free(made);
    return ordered;
}

/* ---- what is worth it ---------------------------------------------------------------------------------------------- */

/* A layer whose weights fit the last cache is quick in the runtime, too; a larger one waits for memory there. */
enum { LARGE_BYTES = 1 << 20 };
/* Instructions that the runtime's dense layer is worth for each weight, waiting for memory included. */
#define DENSE_COST_SMALL 0.6
#define DENSE_COST_LARGE 1.5
/* The least of them, where many rows of inputs share the wait. */
#define DENSE_COST_ROWS (1 / 3.1)
/* Instructions that turn one value of an image around, channels last to first or back. */
#define TURNED 4.0
/* A convolution that takes so much more here than in the runtime, as a share, is left out of its chain. */
#define DEARER 0.1
/* Behind a ReLU about so many inputs are not zero. */
#define ACTIVE_INPUTS 0.6

/* The height of the blocks that a layer is packed in; 0 where it has no zeros, or is left to the runtime. */
static uint32_t block_that_pays(const Matrix *weights, const Tensor *input, bool anyway) {
    uint32_t best = 1;
    uint64_t count = (uint64_t)weights->rows * weights->columns, entries[3];
    if (!columns_count(weights, entries) || entries[0] == count) return 0;
    double dense = 4 * count > LARGE_BYTES ? DENSE_COST_LARGE : DENSE_COST_SMALL;
    int64_t inputs = elements_of(input), columns = weights->columns;
    if (inputs > columns) dense = fmax(DENSE_COST_ROWS, dense * (double)columns / (double)inputs);
    dense *= (double)count;
    double cost = columns_cost(1, entries[0]);
    for (uint32_t block = 2; block <= 4; block *= 2)
        if (columns_cost(block, entries[block / 2]) < cost) cost = columns_cost(best = block, entries[block / 2]);
    return anyway || cost * ACTIVE_INPUTS < dense ? best : 0;
}

typedef struct {
    int index; /* of the node; -1 where the delegate cannot run it */
    int chain; /* the first of those that it hangs together with */
    bool image;
    double gain;
} Candidate;

static int first_of(Candidate *all, int i) {
    while (all[i].chain != i) i = all[i].chain = all[all[i].chain].chain;
    return i;
}

static Candidate judge(Context *context, int index, const Supply *supply, bool anyway, uint32_t *block) {
    Candidate c = {-1, 0, false, 0};
    Node *node;
    Registration *registration;
    Judged judged;
    if (index < 0 || context->get_node_and_registration(context, index, &node, &registration) != TFLITE_OK) return c;
    int code = registration->builtin_code;
    if (is_layer(context, node, code)) {
        Matrix weights = matrix_of(supply, tensor_at(context, node->inputs->data[1]));
        *block = block_that_pays(&weights, tensor_at(context, node->inputs->data[0]), anyway);
        if (*block) c.index = index;
    } else if (image_operator(context, node, code, supply, &judged)) {
        *block = (uint32_t)judged.block;
        double more = judged.own - judged.work - DEARER * judged.work;
        for (int k = 0; k < 2 && judged.work > 0; k++) {
            const IntArray *ends = k ? node->outputs : node->inputs;
            more -= TURNED * (double)elements_of(tensor_at(context, ends->data[0]));
        }
        if (anyway || judged.work == 0 || more <= 0) c = (Candidate){index, 0, true, judged.work - judged.own};
    }
    return c;
}

/* Joins candidates that hand on values, and takes from their gain what turning around the others costs. */
static bool connect(Context *context, const IntArray *plan, Candidate *all) {
    int *producer = malloc(sizeof(int) * (context->tensors_size + 1));
    bool *counted = calloc(context->tensors_size + 1, sizeof(bool));
    if (producer == NULL || counted == NULL) {
        free(producer);
        free(counted);
        return false;
    }
    for (size_t t = 0; t < context->tensors_size; t++) producer[t] = -1;
    for (int i = 0; i < plan->size; i++) {
        Node *node;
        Registration *registration;
        if (context->get_node_and_registration(context, plan->data[i], &node, &registration) != TFLITE_OK) continue;
        for (int k = 0; node->inputs && k < node->inputs->size; k++) {
            int t = node->inputs->data[k];
            const Tensor *tensor = tensor_at(context, t);
            if (tensor == NULL || tensor->dims == NULL || tensor->allocation_type == TFLITE_MMAP_RO) continue;
            int from = producer[t];
            bool here = all[i].index >= 0 && all[i].image, there = from >= 0 && all[from].index >= 0 && all[from].image;
            if (here && there)
                all[first_of(all, i)].chain = first_of(all, from);
            else if ((here || there) && !counted[t]) {
                counted[t] = true;
                all[here ? i : from].gain -= TURNED * (double)elements_of(tensor);
            }
        }
        for (int k = 0; node->outputs && k < node->outputs->size; k++)
            if (tensor_at(context, node->outputs->data[k])) producer[node->outputs->data[k]] = i;
    }
    free(producer);
    free(counted);
    return true;
}

/* A layer may become one node with a chain beside it. */
static bool layer_suits_chain(Context *context, int index) {
    Node *node;
    Registration *registration;
    return context->get_node_and_registration(context, index, &node, &registration) == TFLITE_OK &&
           suits_chain(context, node);
}

IntArray *choose_nodes(Context *context, const IntArray *plan, const Supply *supply, bool anyway, uint32_t **blocks) {
    int most = -1;
    for (int i = 0; i < plan->size; i++) most = plan->data[i] > most ? plan->data[i] : most;
    IntArray *claimed = malloc(sizeof *claimed + sizeof(int) * (size_t)plan->size);
    Candidate *all = calloc((size_t)plan->size + 1, sizeof *all);
    double *gain = calloc((size_t)plan->size + 1, sizeof *gain);
    *blocks = calloc((size_t)most + 2, sizeof **blocks);
    bool whole = claimed && all && gain && *blocks;
    for (int i = 0; whole && i < plan->size; i++) {
        all[i] = judge(context, plan->data[i], supply, anyway, &(*blocks)[plan->data[i] < 0 ? 0 : plan->data[i]]);
        all[i].chain = i;
    }
    for (int i = 0; whole && i + 2 < plan->size; i++)
        if (is_shuffle(context, plan->data + i))
            for (int k = i; k < i + 3; k++) all[k] = (Candidate){plan->data[k], k, true, 0};
    whole = whole && connect(context, plan, all);
    bool ordered = whole && is_in_order(context, plan), images = false;
    for (int i = 0; whole && i < plan->size; i++) gain[first_of(all, i)] += all[i].image ? all[i].gain : 0;
    for (int i = 0; whole && i < plan->size; i++) {
        if (all[i].image && !anyway && gain[first_of(all, i)] <= 0) all[i].index = -1;
        images = images || (all[i].image && all[i].index >= 0);
    }
    if (whole) claimed->size = 0;
    for (int i = 0; ordered && i < plan->size; i++)
        if (all[i].index >= 0 && (all[i].image || !images || layer_suits_chain(context, all[i].index)))
            claimed->data[claimed->size++] = all[i].index;
    free(all);
    free(gain);
    if (whole) return claimed;
    free(claimed);
    return NULL;
}
