/* A stand-in for TensorFlow Lite's C library, which no wheel has: a fake beside the real runtime of the wheels, so that the
 * example of native programs can be built and run. It knows one model, a fully connected layer with a ReLU: the numbers of
 * rows and columns (uint32), then weights (rows, columns) float32. It gives a delegate what the real one gives it, by the
 * delegate's own declarations: whether these are right, the tests on the wheels tell.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/lite/c/c_api.h"
#include "tflite.h"

enum { INPUT, WEIGHTS, OUTPUT, TENSORS };

typedef struct {
    int size, data[2];
} Pair;

struct TfLiteModel {
    uint32_t rows, columns;
    float *weights;
};

struct TfLiteInterpreterOptions {
    Delegate *delegate;
};

struct TfLiteTensor {
    Tensor tensor;
};

struct TfLiteInterpreter {
    Context context;
    struct TfLiteTensor tensors[TENSORS];
    Pair shapes[TENSORS], inputs, outputs, plan, claimed;
    FullyConnectedParams params;
    Node nodes[2]; /* the layer, and the delegate's */
    Registration registrations[2];
};

const char *TfLiteVersion(void) {
    const char *version = getenv("STANDIN_VERSION");
    return version ? version : "2.14.0";
}

TfLiteModel *TfLiteModelCreate(const void *data, size_t size) {
    TfLiteModel *model = calloc(1, sizeof *model);
    memcpy(model, data, 8);
    if (size != 8 + 4 * (size_t)model->rows * model->columns) return NULL;
    model->weights = malloc(size);
    memcpy(model->weights, (const char *)data + 8, size - 8);
    return model;
}

void TfLiteModelDelete(TfLiteModel *model) {
    free(model->weights);
    free(model);
}

TfLiteInterpreterOptions *TfLiteInterpreterOptionsCreate(void) { return calloc(1, sizeof(TfLiteInterpreterOptions)); }
void TfLiteInterpreterOptionsDelete(TfLiteInterpreterOptions *options) { free(options); }
void TfLiteInterpreterOptionsAddDelegate(TfLiteInterpreterOptions *options, TfLiteDelegate *delegate) {
    options->delegate = (Delegate *)delegate;
}

static int get_plan(Context *context, IntArray **plan) {
    *plan = (IntArray *)&((TfLiteInterpreter *)context->impl)->plan;
    return TFLITE_OK;
}

static int get_node(Context *context, int index, Node **node, Registration **registration) {
    TfLiteInterpreter *i = context->impl;
    if (index < 0 || index > 1) return TFLITE_ERROR;
    *node = &i->nodes[index], *registration = &i->registrations[index];
    return TFLITE_OK;
}

static void report(Context *context, const char *format, ...) {
    va_list arguments;
    (void)context;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
}

static int resize(Context *context, Tensor *tensor, IntArray *shape) {
    (void)context;
    if (shape->size == 2) memcpy(tensor->dims->data, shape->data, 2 * sizeof(int));
    free(shape);
    return TFLITE_OK;
}

static int replace(Context *context, Registration registration, const IntArray *nodes, Delegate *delegate) {
    TfLiteInterpreter *i = context->impl;
    DelegateParams params = {delegate, (IntArray *)&i->claimed, (IntArray *)&i->inputs, (IntArray *)&i->outputs};
    if (nodes->size != 1 || nodes->data[0] != 0) return TFLITE_ERROR;
    i->plan.data[0] = 1;
    i->registrations[1] = registration;
    i->nodes[1] = i->nodes[0];
    i->nodes[1].user_data = registration.init(context, (const char *)&params, 0);
    return TFLITE_OK;
}

static int prepare_layer(Context *context, Node *node) {
    (void)context, (void)node;
    return TFLITE_OK;
}

static int run_layer(Context *context, Node *node) {
    const Tensor *t = context->tensors;
    int rows = t[WEIGHTS].dims->data[0], columns = t[WEIGHTS].dims->data[1];
    (void)node;
    for (int r = 0; r < rows; r++) {
        float sum = 0.0f;
        for (int c = 0; c < columns; c++)
            sum += ((const float *)t[WEIGHTS].data)[r * columns + c] * ((const float *)t[INPUT].data)[c];
        ((float *)t[OUTPUT].data)[r] = sum > 0.0f ? sum : 0.0f;
    }
    return TFLITE_OK;
}

static void make_tensor(TfLiteInterpreter *i, int number, int rows, int columns, float *data) {
    Tensor *t = &i->tensors[number].tensor;
    i->shapes[number] = (Pair){2, {rows, columns}};
    t->type = TFLITE_FLOAT32, t->dims = (IntArray *)&i->shapes[number];
    t->bytes = 4 * (size_t)rows * (size_t)columns;
    t->data = data ? data : calloc(1, t->bytes);
    t->allocation_type = data ? TFLITE_MMAP_RO : 2;
}

TfLiteInterpreter *TfLiteInterpreterCreate(const TfLiteModel *model, const TfLiteInterpreterOptions *options) {
    TfLiteInterpreter *i = calloc(1, sizeof *i);
    int rows = (int)model->rows, columns = (int)model->columns;
    make_tensor(i, INPUT, 1, columns, NULL);
    make_tensor(i, WEIGHTS, rows, columns, model->weights);
    make_tensor(i, OUTPUT, 1, rows, NULL);
    i->inputs = (Pair){2, {INPUT, WEIGHTS}}, i->outputs = (Pair){1, {OUTPUT, 0}};
    i->plan = i->claimed = (Pair){1, {0, 0}};
    i->params.activation = ACTIVATION_RELU;
    i->nodes[0].inputs = (IntArray *)&i->inputs, i->nodes[0].outputs = (IntArray *)&i->outputs;
    i->nodes[0].builtin_data = &i->params;
    i->registrations[0].prepare = prepare_layer, i->registrations[0].invoke = run_layer;
    i->registrations[0].builtin_code = OP_FULLY_CONNECTED;
    i->context = (Context){.tensors_size = TENSORS, .get_execution_plan = get_plan, .tensors = &i->tensors[0].tensor,
                           .impl = i, .resize_tensor = resize, .report_error = report,
                           .get_node_and_registration = get_node, .replace_nodes = replace, .recommended_num_threads = 1};
    if (options->delegate && options->delegate->prepare(&i->context, options->delegate) != TFLITE_OK) return NULL;
    return i;
}

void TfLiteInterpreterDelete(TfLiteInterpreter *i) {
    if (i->plan.data[0] == 1) i->registrations[1].free(&i->context, i->nodes[1].user_data);
    free(i->tensors[INPUT].tensor.data);
    free(i->tensors[OUTPUT].tensor.data);
    free(i);
}

static int current(const TfLiteInterpreter *i) { return i->plan.data[0]; }

TfLiteStatus TfLiteInterpreterAllocateTensors(TfLiteInterpreter *i) {
    return (TfLiteStatus)i->registrations[current(i)].prepare(&i->context, &i->nodes[current(i)]);
}

TfLiteStatus TfLiteInterpreterInvoke(TfLiteInterpreter *i) {
    return (TfLiteStatus)i->registrations[current(i)].invoke(&i->context, &i->nodes[current(i)]);
}

int32_t TfLiteInterpreterGetInputTensorCount(const TfLiteInterpreter *i) { return i != NULL; }
TfLiteTensor *TfLiteInterpreterGetInputTensor(const TfLiteInterpreter *i, int32_t index) {
    return (TfLiteTensor *)&i->tensors[INPUT + index];
}
const TfLiteTensor *TfLiteInterpreterGetOutputTensor(const TfLiteInterpreter *i, int32_t index) {
    return &i->tensors[OUTPUT + index];
}
TfLiteType TfLiteTensorType(const TfLiteTensor *tensor) { return (TfLiteType)tensor->tensor.type; }
void *TfLiteTensorData(const TfLiteTensor *tensor) { return tensor->tensor.data; }
size_t TfLiteTensorByteSize(const TfLiteTensor *tensor) { return tensor->tensor.bytes; }
