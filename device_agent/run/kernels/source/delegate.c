/* The TensorFlow Lite delegate: claims what these kernels do better, and leaves everything else to the runtime.
 *
 * A fully connected layer is claimed where its weights are constant floats with zeros enough; operators on images by
 * whole chains (choice.c). Neighbours become one node of the delegate. Weights are packed once, when the node is made;
 * what the runtime itself would have packed of them is saved. Nothing here trusts the graph: shapes are checked again
 * whenever the runtime prepares it.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "images.h"

/* Raised whenever the functions below or what they mean change; delegate.py knows it. */
EXPORT const uint32_t armlet_kernels_version = 3;

/* A node of the delegate: fully connected layers in the order in which they run, or a chain that holds images, too. */
typedef struct Program {
    struct Armlet *owner;
    struct Program *next;
    bool inner; /* of a graph that an operator of the model's runs, such as WHILE */
    Chain *chain;
    uint64_t calls;
    int count;
    Layer *layers;
    float **own;   /* (layers): memory of outputs that no other node sees; NULL for the others */
    size_t *sizes; /* (layers): floats of them */
} Program;

typedef struct Armlet {
    Delegate delegate;
    Program *programs; /* those that live, the newest first */
    Context *graph;    /* the model's: the runtime shows it first */
    Threads *threads;
    int thread_count;
    int timed;
    int everything; /* claims every layer that has a zero, for tests */
    int idle;       /* claims nothing */
    uint32_t *blocks; /* of nodes by their numbers, while the graph is made */
    Supply supply;
} Armlet;

/* ---- a node of the delegate --------------------------------------------------------------------------------------- */

static void free_program(Context *context, void *data) {
    Program *program = data;
    (void)context;
    if (program == NULL) return;
    for (Program **at = &program->owner->programs; *at; at = &(*at)->next)
        if (*at == program) {
            *at = program->next;
            break;
        }
    if (program->chain) chain_free(program->chain);
    free(program->chain);
    for (int i = 0; i < program->count; i++) {
        columns_free(program->layers[i].columns);
        if (program->own) free(program->own[i]);
    }
    free(program->layers);
    free(program->own);
    free(program->sizes);
    free(program);
}

static bool make_layer(Context *context, Armlet *armlet, int index, Layer *layer) {
    Node *node;
    Registration *registration;
    if (context->get_node_and_registration(context, index, &node, &registration) != TFLITE_OK) return false;
    if (!read_layer(context, node, registration->builtin_code, layer)) return false;
    Matrix weights = matrix_of(&armlet->supply, tensor_at(context, node->inputs->data[1]));
    layer->columns = columns_pack(&weights, armlet->blocks[index], (uint32_t)armlet->thread_count);
    if (layer->columns == NULL) return false;
    layer->report.node = index;
    layer->report.block = layer->columns->block;
    layer->report.centroids = layer->columns->centroids;
    layer->report.kept = layer->columns->kept;
    layer->report.bytes = layer->columns->bytes;
    return true;
}

static bool holds_images(Context *context, const IntArray *nodes) {
    for (int i = 0; i < nodes->size; i++) {
        Node *node;
        Registration *registration;
        if (context->get_node_and_registration(context, nodes->data[i], &node, &registration) != TFLITE_OK) return true;
        if (registration->builtin_code != OP_FULLY_CONNECTED) return true;
    }
    return false;
}

static void *init(Context *context, const char *buffer, size_t length) {
    const DelegateParams *params = (const void *)buffer;
    Armlet *armlet = params->delegate->data;
    Program *program = calloc(1, sizeof *program);
    (void)length;
    if (program == NULL) return NULL;
    program->owner = armlet;
    program->inner = context != armlet->graph;
    program->next = armlet->programs;
    armlet->programs = program;
    if (holds_images(context, params->nodes)) {
        program->chain = image_chain(context, params->nodes, params->outputs, armlet->blocks, &armlet->supply,
                                     kernels_here(), armlet->thread_count);
        if (program->chain == NULL) goto fail;
        return program;
    }
    size_t count = (size_t)params->nodes->size;
    program->layers = calloc(count, sizeof *program->layers);
    program->own = calloc(count, sizeof *program->own);
    program->sizes = calloc(count, sizeof *program->sizes);
    if (program->layers == NULL || program->own == NULL || program->sizes == NULL) goto fail;
    for (size_t i = 0; i < count; i++, program->count++)
        if (!make_layer(context, armlet, params->nodes->data[i], &program->layers[i])) {
            program->count++;
            goto fail;
        }
    return program;
fail:
    free_program(context, program);
    return NULL; /* `prepare` says so */
}

static bool is_among(const IntArray *indices, int index) {
    for (int i = 0; i < indices->size; i++)
        if (indices->data[i] == index) return true;
    return false;
}

/* The dimensions of a layer's output, from its input's; NULL where they do not fit the weights. */
static IntArray *dimensions(const Layer *layer, const Tensor *input) {
    int64_t count = elements_of(input), columns = layer->columns->columns;
    int rank = layer->keeps_dimensions ? input->dims->size : 2;
    if (count < 0 || count % columns || rank < 1 || rank > 8) return NULL;
    if (layer->keeps_dimensions && input->dims->data[rank - 1] != columns) return NULL;
    IntArray *result = malloc(sizeof *result + sizeof(int) * (size_t)rank);
    if (result == NULL) return NULL;
    result->size = rank;
    for (int i = 0; i < rank - 1; i++) result->data[i] = layer->keeps_dimensions ? input->dims->data[i] : (int)(count / columns);
    result->data[rank - 1] = (int)layer->columns->rows;
    return result;
}

static bool same_dimensions(const IntArray *a, const IntArray *b) {
    return a && a->size == b->size && memcmp(a->data, b->data, sizeof(int) * (size_t)a->size) == 0;
}

/* Shapes are those for which the chain was laid out. */
static int prepare_chain(Context *context, const Chain *chain) {
    for (int i = 0; i < chain->step_count; i++) {
        const Step *s = &chain->steps[i];
        if (s->kind != STEP_LOAD && s->kind != STEP_STORE) continue;
        const Value *v = &chain->values[s->kind == STEP_LOAD ? s->out : s->in];
        const Tensor *t = tensor_at(context, s->tensor);
        int64_t count = (int64_t)v->channels * (v->height ? (int64_t)v->height * v->width : 1);
        if (t != NULL && t->dims != NULL && elements_of(t) == count) {
            if (!v->height) continue;
            if (t->dims->size == 4 && t->dims->data[1] == v->height && t->dims->data[2] == v->width) continue;
        }
        context->report_error(context, "armlet: tensor %d has another shape than when the graph was made", s->tensor);
        return TFLITE_ERROR;
    }
    return TFLITE_OK;
}

static int invoke_chain(Context *context, Program *program) {
    Chain *chain = program->chain;
    Armlet *armlet = program->owner;
    for (int i = 0; i < chain->step_count; i++) {
        Step *s = &chain->steps[i];
        if (s->kind != STEP_LOAD && s->kind != STEP_STORE) continue;
        s->data = tensor_at(context, s->tensor)->data;
        if (s->data == NULL) return TFLITE_ERROR;
        if (s->kind == STEP_LOAD && !chain->values[s->out].height) chain->values[s->out].flat = s->data;
    }
    chain_run(chain, armlet->threads, armlet->thread_count, armlet->timed);
    program->calls += armlet->timed != 0;
    return TFLITE_OK;
}

static int prepare(Context *context, Node *node) {
    Program *program = node->user_data;
    if (program == NULL) {
        context->report_error(context, "armlet: a node of the delegate could not be made");
        return TFLITE_ERROR;
    }
    if (program->chain) return prepare_chain(context, program->chain);
    for (int i = 0; i < program->count; i++) {
        Layer *layer = &program->layers[i];
        Tensor *output = tensor_at(context, layer->output);
        IntArray *shape = dimensions(layer, tensor_at(context, layer->input));
        if (shape == NULL) {
            context->report_error(context, "armlet: the input of node %d does not fit its weights", layer->report.node);
            return TFLITE_ERROR;
        }
        if (same_dimensions(output->dims, shape))
            free(shape);
        else if (context->resize_tensor(context, output, shape) != TFLITE_OK) /* takes the shape */
            return TFLITE_ERROR;
        output = tensor_at(context, layer->output);
        if (is_among(node->outputs, layer->output)) continue;
        size_t size = (size_t)elements_of(output);
        if (program->own[i] == NULL || program->sizes[i] < size) {
            free(program->own[i]);
            program->own[i] = malloc(4 * (size ? size : 1));
            program->sizes[i] = size;
            if (program->own[i] == NULL) return TFLITE_ERROR;
        }
    }
    return TFLITE_OK;
}

/* Where the values of a tensor are: with an earlier layer of this program, or with the runtime. */
static float *values_of(const Program *program, Context *context, int index, int before) {
    for (int i = 0; i < before; i++)
        if (program->layers[i].output == index && program->own[i]) return program->own[i];
    Tensor *t = tensor_at(context, index);
    return t ? t->data : NULL;
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int invoke(Context *context, Node *node) {
    Program *program = node->user_data;
    Armlet *armlet = program->owner;
    if (program->chain) return invoke_chain(context, program);
    for (int i = 0; i < program->count; i++) {
        Layer *layer = &program->layers[i];
        uint64_t begun = armlet->timed ? now() : 0;
        const float *input = values_of(program, context, layer->input, i);
        const float *bias = layer->bias < 0 ? NULL : tensor_at(context, layer->bias)->data;
        float *output = program->own[i] ? program->own[i] : tensor_at(context, layer->output)->data;
        int64_t count = elements_of(tensor_at(context, layer->input));
        if (count && (input == NULL || output == NULL)) return TFLITE_ERROR;
        columns_run(layer->columns, input, (uint32_t)(count / layer->columns->columns), bias, &layer->limits, output,
                    armlet->threads);
        if (!armlet->timed) continue;
        layer->report.nanoseconds += now() - begun;
        layer->report.calls++;
    }
    return TFLITE_OK;
}

/* ---- the delegate ------------------------------------------------------------------------------------------------- */

static int prepare_delegate(Context *context, Delegate *delegate) {
    Armlet *armlet = delegate->data;
    IntArray *plan;
    if (armlet->idle) return TFLITE_OK;
    if (armlet->graph == NULL) armlet->graph = context;
    if (context->get_execution_plan(context, &plan) != TFLITE_OK) return TFLITE_ERROR;
    free(armlet->blocks);
    supply_begin(&armlet->supply, context, plan);
    IntArray *claimed = choose_nodes(context, plan, &armlet->supply, armlet->everything, &armlet->blocks);
    if (claimed == NULL) return TFLITE_ERROR;
    supply_take(&armlet->supply, context, claimed);
    int status = TFLITE_OK;
    if (claimed->size) {
        int count = context->recommended_num_threads;
        armlet->thread_count = count < 1 ? 1 : count > MAX_PARTS ? MAX_PARTS : count;
        if (armlet->threads == NULL) armlet->threads = threads_start(armlet->thread_count);
        Registration registration = {init, free_program, prepare, invoke, NULL, 0, "ArmletKernels", 1, {0}};
        status = context->replace_nodes(context, registration, claimed, delegate);
    }
    free(claimed);
    return status;
}

/* Why there is no delegate. */
static Delegate *refuse(Armlet *armlet, void (*report_error)(const char *), const char *why) {
    if (report_error) report_error(why);
    free(armlet);
    return NULL;
}

/* The wheels pass `count` as an int, TensorFlow Lite as a size_t: the lower half of it is right in both.
 * Options: armlet_delegate.h tells "kernels"; "claim" with "everything" claims every layer that has a zero. */
EXPORT Delegate *tflite_plugin_create_delegate(char **keys, char **values, int count,
                                               void (*report_error)(const char *)) {
    const char *choice = NULL;
    bool known;
    if (!fits_processor())
        return refuse(NULL, report_error, "armlet: these kernels were built for a processor with more instructions");
    if (!knows_runtime())
        return refuse(NULL, report_error, "armlet: these kernels know TensorFlow Lite 2.14 and 2.22 (LiteRT 2.3) only");
    Armlet *armlet = calloc(1, sizeof *armlet);
    if (armlet == NULL) return NULL;
    for (int i = 0; i < count; i++) {
        if (strcmp(keys[i], "claim") == 0 && strcmp(values[i], "everything") == 0)
            armlet->everything = 1;
        else if (strcmp(keys[i], "kernels") == 0)
            choice = values[i];
        else
            return refuse(armlet, report_error, "armlet: an option is unknown; there is kernels, and claim=everything");
    }
    armlet->idle = !wants_kernels(choice, &known);
    if (!known) return refuse(armlet, report_error, "armlet: kernels are auto, runtime or armlet");
    armlet->delegate.data = armlet;
    armlet->delegate.prepare = prepare_delegate;
    armlet->delegate.flags = TFLITE_ALLOWS_DYNAMIC_TENSORS;
    return &armlet->delegate;
}

EXPORT void tflite_plugin_destroy_delegate(Delegate *delegate) {
    if (delegate == NULL) return;
    Armlet *armlet = delegate->data;
    while (armlet->programs) free_program(NULL, armlet->programs);
    threads_stop(armlet->threads);
    supply_free(&armlet->supply);
    free(armlet->blocks);
    free(armlet);
}

/* Hands over a flat, before the interpreter is made: weights whose floats belong to `where` in the model, memory that can
 * be written to and is all zeros there. False where memory is short; the flat then stays the caller's. */
EXPORT int armlet_supply(Delegate *delegate, float *where, uint64_t bytes, Flat *flat) {
    Armlet *armlet = delegate->data;
    return supply_add(&armlet->supply, where, bytes, flat);
}

/* When the interpreter is made, before it allocates its tensors: writes what was not taken, and what is an output of the
 * graph as well. How many were taken. */
EXPORT int armlet_end_supply(Delegate *delegate, const int32_t *outputs, uint32_t count) {
    Armlet *armlet = delegate->data;
    return supply_end(&armlet->supply, outputs, count);
}

static Report report_of(const Program *program, const Step *s) {
    Report report = {.node = program->inner ? INNER_NODE : s->node, .code = s->code, .nanoseconds = s->nanoseconds, .calls = program->calls};
    if (s->kind == STEP_COLUMNS) {
        report.block = s->columns->block, report.centroids = s->columns->centroids;
        report.weights = (uint64_t)s->columns->rows * s->columns->columns;
        report.kept = s->columns->kept, report.bytes = s->columns->bytes;
    } else if (s->kind == STEP_CONVOLVE) {
        const Shape *shape = &s->shape;
        uint64_t of_group = (uint64_t)(program->chain->values[s->in].channels / shape->groups);
        report.block = (uint32_t)s->sparse.block;
        report.weights = of_group * (uint64_t)program->chain->values[s->out].channels * (uint64_t)shape->kernel_height *
                         (uint64_t)shape->kernel_width;
        report.kept = s->sparse.kept, report.bytes = s->sparse.bytes;
    }
    return report;
}

/* Writes what is known of up to `most` operators that run in the delegate; how many there are. */
EXPORT uint32_t armlet_operators(const Delegate *delegate, Report *reports, uint32_t most) {
    const Armlet *armlet = delegate->data;
    uint32_t count = 0;
    for (const Program *program = armlet->programs; program; program = program->next) {
        for (int i = 0; i < program->count; i++, count++)
            if (count < most) {
                reports[count] = program->layers[i].report;
                if (program->inner) reports[count].node = INNER_NODE;
            }
        for (int i = 0; program->chain && i < program->chain->step_count; i++) {
            const Step *s = &program->chain->steps[i];
            if (s->node < 0) continue;
            if (count < most) reports[count] = report_of(program, s);
            count++;
        }
    }
    return count;
}

/* Begins to time the operators of every inference, from zero; 0 ends it. */
EXPORT void armlet_time_operators(Delegate *delegate, uint32_t on) {
    Armlet *armlet = delegate->data;
    armlet->timed = on != 0;
    for (Program *program = armlet->programs; on && program; program = program->next) {
        for (int i = 0; i < program->count; i++)
            program->layers[i].report.nanoseconds = program->layers[i].report.calls = 0;
        for (int i = 0; program->chain && i < program->chain->step_count; i++) program->chain->steps[i].nanoseconds = 0;
        program->calls = 0;
    }
}
