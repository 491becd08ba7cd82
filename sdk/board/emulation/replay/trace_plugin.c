/* A QEMU TCG plugin that replays what the guest executes between two marks through the cores of boards (replay.c).
 *
 *     qemu-aarch64 -plugin libtrace_plugin.so,machine=PATH,out=PATH,warm=M,first=N,last=N ...
 *
 * A mark is a system call whose first argument is MARK, as in count_instructions.c; marks are counted from 0. Between
 * the marks `warm` and `last` all blocks and accesses to memory of the thread that made the mark are replayed; at
 * `first` the clocks are set to nought. At `last` one line of JSON is written to `out`. Before `warm` nothing is
 * instrumented, so that a program starts at full speed. A look at the clock, as profilers take it before and after an
 * operator, is one line "c NANOSECONDS INSTRUCTIONS CYCLES..." with the host's clock and the running totals; a system
 * call with OPERATOR_MARK is one line "o INSTRUCTIONS CYCLES...". At the end the busiest blocks: "b ADDRESS INSTRUCTIONS CYCLES".
 *
 * Memory is bounded: blocks are kept by their address and content, and no trace is.
 */
#include "replay.c"

#include <time.h>

#ifndef API_VERSION
#define API_VERSION 1
#endif
#define MARK UINT64_C(0x41524d4c)
#define OPERATOR_MARK UINT64_C(0x41524d4d)
enum { CLOCK_GETTIME = 113, GETTIMEOFDAY = 169 }; /* of 64-bit ARM; under QEMU both are system calls */
#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_R = 1, QEMU_PLUGIN_MEM_W, QEMU_PLUGIN_MEM_RW };

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t place);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *instruction);
#if API_VERSION < 3
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *instruction);
#else
extern size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *instruction, void *to, size_t size);
#endif
extern void qemu_plugin_register_vcpu_tb_trans_cb(
    qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(
    struct qemu_plugin_tb *block, void (*callback)(unsigned int, void *), enum qemu_plugin_cb_flags flags, void *data);
extern void qemu_plugin_register_vcpu_mem_cb(
    struct qemu_plugin_insn *instruction, void (*callback)(unsigned int, qemu_plugin_meminfo_t, uint64_t, void *),
    enum qemu_plugin_cb_flags flags, enum qemu_plugin_mem_rw which, void *data);
extern unsigned int qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t info);
extern void qemu_plugin_register_vcpu_syscall_cb(
    qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t, unsigned int, int64_t, uint64_t, uint64_t, uint64_t,
                                          uint64_t, uint64_t, uint64_t, uint64_t, uint64_t));
extern void qemu_plugin_reset(qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t));

EXPORT extern int qemu_plugin_version;
int qemu_plugin_version = API_VERSION;

enum { MAX_ACCESSES = 1 << 16, MAX_BLOCKS = 1 << 18, SLOTS = 1 << 19, MAX_LOOKS = 100000, SHOWN_BLOCKS = 400 };

typedef struct {
    uint64_t address;
    uint32_t count;
    Instruction *made;
    uint64_t executed, cycles;
} Block;

static Machine *machine;
static FILE *output;
static Block *slots[SLOTS];
static uint32_t n_blocks;
static Access accesses[MAX_ACCESSES];
static size_t n_accesses;
static Block *pending;
static long marks, warm, first, last, looks;
static int replaying;
static unsigned int replayed_cpu;

static void finish(uint64_t next) {
    Block *block = pending;
    pending = NULL;
    if (!block) return;
    uint64_t before = machine_cycles(machine, 0);
    machine_replay(machine, block->made, block->count, block->address, next, accesses, n_accesses);
    block->executed += block->count;
    block->cycles += machine_cycles(machine, 0) - before;
    n_accesses = 0;
}

static void on_execute(unsigned int cpu, void *data) {
    if (!replaying || cpu != replayed_cpu) return;
    Block *block = data;
    finish(block->address);
    pending = block;
    n_accesses = 0;
}

static void on_access(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t address, void *data) {
    if (!replaying || cpu != replayed_cpu || !pending || n_accesses == MAX_ACCESSES) return;
    uint32_t place = (uint32_t)(uintptr_t)data, bytes = 1u << (qemu_plugin_mem_size_shift(info) & 15);
    Access *before = n_accesses ? &accesses[n_accesses - 1] : NULL;
    if (before && before->place == place && before->address + before->bytes == address)
        before->bytes += bytes; /* element by element, or two halves */
    else
        accesses[n_accesses++] = (Access){address, place, bytes};
}

static uint32_t opcode_of(const struct qemu_plugin_insn *instruction) {
    uint32_t opcode = 0;
#if API_VERSION < 3
    memcpy(&opcode, qemu_plugin_insn_data(instruction), sizeof opcode);
#else
    qemu_plugin_insn_data(instruction, &opcode, sizeof opcode);
#endif
    return opcode;
}

/* The block of that address and content, made where it is new. */
static Block *block_of(const struct qemu_plugin_tb *translated) {
    size_t count = qemu_plugin_tb_n_insns(translated);
    uint64_t address = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(translated, 0)), hash = address * UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i < count; i++) hash = (hash ^ opcode_of(qemu_plugin_tb_get_insn(translated, i))) * UINT64_C(0x100000001b3);
    for (uint64_t slot = hash >> 40;; slot++) {
        Block **at = &slots[slot % SLOTS];
        if (!*at) {
            if (++n_blocks > MAX_BLOCKS) return NULL;
            Block *block = *at = calloc(1, sizeof(Block));
            block->address = address, block->count = (uint32_t)count;
            block->made = malloc(count * sizeof(Instruction));
            for (size_t i = 0; i < count; i++)
                block->made[i] = machine_decode(machine, opcode_of(qemu_plugin_tb_get_insn(translated, i)));
            machine_find_prefetches(block->made, count);
            return block;
        }
        if ((*at)->address != address || (*at)->count != count) continue;
        size_t same = 0;
        while (same < count && (*at)->made[same].opcode == opcode_of(qemu_plugin_tb_get_insn(translated, same))) same++;
        if (same == count) return *at;
    }
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *translated) {
    (void)id;
    Block *block = block_of(translated);
    if (!block) {
        fprintf(stderr, "trace_plugin: the program has more than %d blocks\n", MAX_BLOCKS);
        exit(3);
    }
    qemu_plugin_register_vcpu_tb_exec_cb(translated, on_execute, QEMU_PLUGIN_CB_NO_REGS, block);
    for (size_t i = 0; i < block->count; i++)
        if (block->made[i].kind & (LOAD | STORE | UNKNOWN))
            qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(translated, i), on_access, QEMU_PLUGIN_CB_NO_REGS,
                                             QEMU_PLUGIN_MEM_RW, (void *)(uintptr_t)i);
}

static int busier(const void *a, const void *b) {
    uint64_t left = (*(Block *const *)a)->cycles, right = (*(Block *const *)b)->cycles;
    return left < right ? 1 : left > right ? -1 : 0;
}

static void write_result(void) {
    machine_write(machine, output);
    Block **busy = calloc(n_blocks + 1, sizeof *busy);
    size_t n = 0;
    for (size_t s = 0; s < SLOTS; s++)
        if (slots[s] && slots[s]->executed) busy[n++] = slots[s];
    qsort(busy, n, sizeof *busy, busier);
    for (size_t i = 0; i < n && i < SHOWN_BLOCKS; i++)
        fprintf(output, "b %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", busy[i]->address, busy[i]->executed, busy[i]->cycles);
    fprintf(output, "end\n");
    fflush(output);
    free(busy);
}

static void write_totals(void) {
    fprintf(output, " %" PRIu64, machine_instructions(machine));
    for (int b = 0; b < machine_boards(machine); b++) fprintf(output, " %" PRIu64, machine_cycles(machine, b));
    fprintf(output, "\n");
}

static void on_look(int is_mark) {
    if (!replaying || marks <= first || ++looks > MAX_LOOKS) return;
    finish(0);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (is_mark) fprintf(output, "o");
    else fprintf(output, "c %lld", (long long)now.tv_sec * 1000000000 + now.tv_nsec);
    write_totals();
}

static void on_system_call(qemu_plugin_id_t id, unsigned int cpu, int64_t number, uint64_t a1, uint64_t a2,
                           uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8);

static void instrument(qemu_plugin_id_t id) {
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_vcpu_syscall_cb(id, on_system_call);
}

static void on_system_call(qemu_plugin_id_t id, unsigned int cpu, int64_t number, uint64_t a1, uint64_t a2,
                           uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (a1 == OPERATOR_MARK) on_look(1);
    else if (cpu == replayed_cpu && (number == CLOCK_GETTIME || number == GETTIMEOFDAY)) on_look(0);
    if (a1 != MARK) return;
    long mark = marks++;
    if (mark == warm) {
        replaying = 1, replayed_cpu = cpu;
        machine_warm(machine);
        qemu_plugin_reset(id, instrument); /* all blocks are translated anew */
    }
    if (!replaying) return;
    finish(0);
    if (mark == first) {
        machine_restart(machine);
        for (size_t s = 0; s < SLOTS; s++)
            if (slots[s]) slots[s]->executed = slots[s]->cycles = 0;
    }
    if (mark == last) {
        replaying = 0;
        write_result();
    }
}

static char *read_text(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) return NULL;
    size_t size = 0, room = 1 << 16;
    char *text = malloc(room);
    for (size_t n; text && (n = fread(text + size, 1, room - size - 1, file));) {
        size += n;
        if (size + 1 == room) text = realloc(text, room *= 2);
    }
    if (text) text[size] = 0;
    fclose(file);
    return text;
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
    (void)info;
    char *text = NULL, message[200] = "expected machine=PATH,out=PATH,warm=N,first=N,last=N";
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "machine=", 8)) text = read_text(argv[i] + 8);
        else if (!strncmp(argv[i], "out=", 4)) output = fopen(argv[i] + 4, "we");
        else if (!strncmp(argv[i], "warm=", 5)) warm = atol(argv[i] + 5);
        else if (!strncmp(argv[i], "first=", 6)) first = atol(argv[i] + 6);
        else if (!strncmp(argv[i], "last=", 5)) last = atol(argv[i] + 5);
    }
    if (text && output && warm >= 0 && warm <= first && first < last) machine = machine_read(text, message, sizeof message);
    free(text);
    if (!machine) {
        fprintf(stderr, "trace_plugin: %s\n", message);
        return -1;
    }
    qemu_plugin_register_vcpu_syscall_cb(id, on_system_call);
    return 0;
}
