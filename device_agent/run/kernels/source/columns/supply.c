/* Weights that the program that loads a model hands over: the package has them without zeros, and their place in the file
 * is left empty. Where a graph does anything else with them than one layer or convolution of this delegate, they are
 * written to their place before anybody reads it. */
#include <stdlib.h>

#include "../images.h"

bool supply_add(Supply *supply, float *where, uint64_t bytes, Flat *flat) {
    Supplied *all = realloc(supply->all, sizeof *all * ((size_t)supply->count + 1));
    if (all == NULL) return false;
    supply->all = all;
    all[supply->count++] = (Supplied){where, bytes, flat, -1};
    return true;
}

static void end_one(Supplied *s, bool writes) {
    if (writes && s->flat) flat_write(s->flat, s->where);
    flat_free(s->flat);
    s->flat = NULL;
}

/* The tensor that has exactly these bytes, of those that have any of them: -1 where none has, -2 where others have. */
static int tensor_of(Context *context, const Supplied *s) {
    int found = -1;
    uintptr_t first = (uintptr_t)s->where, end = first + (uintptr_t)s->bytes;
    for (size_t i = 0; i < context->tensors_size; i++) {
        const Tensor *t = &context->tensors[i];
        uintptr_t at = (uintptr_t)t->data;
        if (t->data == NULL || at >= end || at + t->bytes <= first) continue;
        if (found != -1 || at != first || t->bytes != s->bytes) return -2;
        found = (int)i;
    }
    return found;
}

/* Whether one layer or convolution that can run here, and nothing else, reads a tensor. */
static bool one_layer_reads(Context *context, const IntArray *plan, int tensor) {
    int readers = 0;
    for (int i = 0; i < plan->size; i++) {
        Node *node;
        Registration *registration;
        if (context->get_node_and_registration(context, plan->data[i], &node, &registration) != TFLITE_OK) return false;
        for (int k = 0; node->inputs && k < node->inputs->size; k++) {
            if (node->inputs->data[k] != tensor) continue;
            int code = registration->builtin_code;
            if (k != 1 || !(is_layer(context, node, code) || takes_flat(context, node, code))) return false;
            readers++;
        }
    }
    return readers == 1;
}

void supply_begin(Supply *supply, Context *context, const IntArray *plan) {
    for (int i = 0; i < supply->count; i++) {
        Supplied *s = &supply->all[i];
        int tensor = s->flat ? tensor_of(context, s) : -1;
        if (tensor == -1) continue;
        if (tensor < 0 || s->taken >= 0 || !one_layer_reads(context, plan, tensor)) end_one(s, true);
    }
}

void supply_take(Supply *supply, Context *context, const IntArray *claimed) {
    for (int i = 0; i < supply->count; i++) {
        Supplied *s = &supply->all[i];
        int tensor = s->flat && s->taken < 0 ? tensor_of(context, s) : -1;
        if (tensor < 0) continue;
        if (one_layer_reads(context, claimed, tensor))
            s->taken = tensor;
        else
            end_one(s, true);
    }
}

int supply_end(Supply *supply, const int32_t *outputs, uint32_t count) {
    int taken = 0;
    for (int i = 0; i < supply->count; i++) {
        Supplied *s = &supply->all[i];
        bool writes = s->taken < 0;
        for (uint32_t k = 0; k < count; k++) writes = writes || outputs[k] == s->taken;
        taken += s->taken >= 0;
        end_one(s, writes);
    }
    return taken;
}

void supply_free(Supply *supply) {
    for (int i = 0; i < supply->count; i++) end_one(&supply->all[i], false);
    free(supply->all);
    *supply = (Supply){NULL, 0};
}

Matrix matrix_of(const Supply *supply, const Tensor *weights) {
    uint32_t rows = (uint32_t)weights->dims->data[0];
    Matrix m = {weights->data, NULL, rows, rows ? (uint32_t)(elements_of(weights) / rows) : 0};
    for (int i = 0; i < supply->count; i++) {
        const Supplied *s = &supply->all[i];
        if (s->flat == NULL || weights->data != s->where || weights->bytes != s->bytes) continue;
        m.weights = NULL, m.flat = s->flat;
    }
    return m;
}
