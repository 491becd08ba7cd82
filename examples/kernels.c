/* Runs an .armlet package with kernels for its zeros: kernels PACKAGE [auto | runtime | armlet]
 *
 * Without a choice ARMLET_KERNELS says, else "auto", which times the model with and without, and keeps the faster. Inputs
 * are 0, 0.1, ... 0.9, 0, ...; the first output is printed.
 *
 *     sdk native -o armlet-sdk
 *     export PKG_CONFIG_PATH=armlet-sdk/$(uname -m)/lib/pkgconfig
 *     cc -o kernels examples/kernels.c $(pkg-config --cflags --libs armlet) -ltensorflowlite_c -ldl
 *     ARMLET_DELEGATE=$(pkg-config --variable=delegate armlet) ./kernels model.armlet
 */
#define _POSIX_C_SOURCE 200809L
#include <armlet.h>
#include <armlet_delegate.h>
#include <tensorflow/lite/c/c_api.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 15 };

typedef struct {
    TfLiteInterpreter *interpreter;
    struct TfLiteDelegate *delegate;
    unsigned operators; /* in kernels of Armlet */
} Runner;

static void *library; /* libarmlet_delegate.so */

static void complain(const char *why) { fprintf(stderr, "%s\n", why); }

/* The model in a package, to be freed; NULL where it is none, which is said. */
static void *unpack(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    size_t room = 0, packed = 0, scratch_size;
    char *package = NULL, *grown;
    void *model = NULL, *scratch;
    int status;
    if (!file) {
        perror(path);
        return NULL;
    }
    do {
        room += 1 << 20;
        if (!(grown = realloc(package, room))) break;
        package = grown;
        packed += fread(package + packed, 1, room - packed, file);
    } while (packed == room);
    fclose(file);
    status = armlet_unpacked_size(package, packed, size, &scratch_size);
    if (status == ARMLET_OK) {
        model = malloc(*size + 1);
        scratch = malloc(scratch_size);
        status = model && scratch ? armlet_unpack(package, packed, model, *size, scratch, scratch_size) : ARMLET_LIMIT_EXCEEDED;
        free(scratch);
    }
    free(package);
    if (status == ARMLET_OK) return model;
    fprintf(stderr, "%s: %s: %s\n", path, armlet_error_name(status), armlet_strerror(status));
    free(model);
    return NULL;
}

/* The delegate; NULL where there is none, which is said. */
static struct TfLiteDelegate *make_delegate(void) {
    const char *path = getenv("ARMLET_DELEGATE");
    const char *const keys[] = {"kernels"}, *const values[] = {"armlet"};
    armlet_create_delegate *create;
    if (!library && !(library = dlopen(path ? path : "libarmlet_delegate.so", RTLD_NOW | RTLD_LOCAL))) {
        complain(dlerror());
        return NULL;
    }
    *(void **)&create = dlsym(library, ARMLET_CREATE_DELEGATE);
    return create ? create(keys, values, 1, complain) : NULL;
}

static void end(Runner *runner) {
    armlet_destroy_delegate *destroy;
    if (runner->interpreter) TfLiteInterpreterDelete(runner->interpreter);
    if (runner->delegate) {
        *(void **)&destroy = dlsym(library, ARMLET_DESTROY_DELEGATE);
        destroy(runner->delegate);
    }
    memset(runner, 0, sizeof *runner);
}

/* An interpreter with its inputs filled; whether it is ready. */
static int begin(Runner *runner, const TfLiteModel *model, int kernels) {
    TfLiteInterpreterOptions *options = TfLiteInterpreterOptionsCreate();
    armlet_operators_function *operators;
    memset(runner, 0, sizeof *runner);
    if (kernels && !(runner->delegate = make_delegate())) {
        TfLiteInterpreterOptionsDelete(options);
        return 0;
    }
    if (kernels) TfLiteInterpreterOptionsAddDelegate(options, runner->delegate);
    runner->interpreter = TfLiteInterpreterCreate(model, options);
    TfLiteInterpreterOptionsDelete(options);
    if (!runner->interpreter || TfLiteInterpreterAllocateTensors(runner->interpreter) != kTfLiteOk) return 0;
    for (int i = 0; i < TfLiteInterpreterGetInputTensorCount(runner->interpreter); i++) {
        TfLiteTensor *input = TfLiteInterpreterGetInputTensor(runner->interpreter, i);
        float *values = TfLiteTensorData(input);
        if (TfLiteTensorType(input) != kTfLiteFloat32) return 0;
        for (size_t k = 0; k < TfLiteTensorByteSize(input) / sizeof *values; k++) values[k] = (float)(k % 10) / 10.0f;
    }
    if (kernels) {
        *(void **)&operators = dlsym(library, ARMLET_OPERATORS);
        runner->operators = operators(runner->delegate, NULL, 0);
    }
    return 1;
}

static double seconds(const Runner *runner) {
    struct timespec begun, ended;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    if (TfLiteInterpreterInvoke(runner->interpreter) != kTfLiteOk) return 1e9;
    clock_gettime(CLOCK_MONOTONIC, &ended);
    return (double)(ended.tv_sec - begun.tv_sec) + 1e-9 * (double)(ended.tv_nsec - begun.tv_nsec);
}

/* Whether the second is faster by 5 %: each round times both, and the quickest of each counts. */
static int is_faster(const Runner *plain, const Runner *ours) {
    double least[2] = {1e9, 1e9};
    for (int i = 0; i < ROUNDS; i++)
        for (int k = 0; k < 2; k++) {
            double taken = seconds(k ? ours : plain);
            if (taken < least[k]) least[k] = taken;
        }
    printf("runtime %.3f ms, armlet %.3f ms\n", 1e3 * least[0], 1e3 * least[1]);
    return least[1] < 0.95 * least[0];
}

static int show(const Runner *runner) {
    const TfLiteTensor *output = TfLiteInterpreterGetOutputTensor(runner->interpreter, 0);
    const float *values = TfLiteTensorData(output);
    if (TfLiteInterpreterInvoke(runner->interpreter) != kTfLiteOk) return 1;
    printf("%u operators in kernels of Armlet\n", runner->operators);
    for (size_t k = 0; k < TfLiteTensorByteSize(output) / sizeof *values; k++) printf("%g\n", values[k]);
    return 0;
}

int main(int argc, char **argv) {
    const char *choice = argc > 2 ? argv[2] : getenv("ARMLET_KERNELS");
    Runner plain = {0}, ours = {0};
    size_t size;
    if (!choice) choice = "auto";
    if (argc < 2 || (strcmp(choice, "auto") && strcmp(choice, "runtime") && strcmp(choice, "armlet"))) {
        fprintf(stderr, "usage: kernels PACKAGE [auto | runtime | armlet]\n");
        return 2;
    }
    void *bytes = unpack(argv[1], &size);
    TfLiteModel *model = bytes ? TfLiteModelCreate(bytes, size) : NULL;
    if (!model) return 1;
    int kernels = strcmp(choice, "runtime") != 0, status = 1;
    if (kernels && !begin(&ours, model, 1)) {
        end(&ours);
        if (strcmp(choice, "armlet") == 0) goto done;
        kernels = 0;
    }
    if ((!kernels || strcmp(choice, "auto") == 0) && !begin(&plain, model, 0)) goto done;
    if (kernels && plain.interpreter) kernels = ours.operators && is_faster(&plain, &ours);
    status = show(kernels ? &ours : &plain);
done:
    end(&ours);
    end(&plain);
    TfLiteModelDelete(model);
    free(bytes);
    return status;
}
