/* A QEMU TCG plugin that counts the guest instructions a process executes.
 *
 *     qemu-aarch64 -plugin libcount_instructions.so,out=PATH -d plugin ...
 *
 * A running total is kept. Whenever the guest makes a system call whose first argument is MARK, the total so far is
 * written to PATH as one decimal number and a line feed; once more when the process ends. Guest code thus brackets
 * what it wants counted: `close(MARK)` fails with EBADF on any kernel, emulated or not, and has no other effect.
 *
 * Instructions are counted a translation block at a time: a block is a straight run of guest code, so all of its
 * instructions execute once it is entered, unless one of them faults (which a numerical kernel's do not).
 *
 * Interface: docs.qemu.org, "QEMU TCG Plugins". Distributions do not package qemu-plugin.h, so the few declarations
 * in use are repeated here; they have stayed the same from API version 0 (QEMU 4.2) to 4 (QEMU 10). QEMU refuses a
 * plugin whose version lies outside the range that it serves, so API_VERSION comes from the command line.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#ifndef API_VERSION
#define API_VERSION 1
#endif

#define MARK UINT64_C(0x41524d4c) /* "ARML"; sdk/deploy/provision/instructions.py closes the same number */

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
extern void qemu_plugin_register_vcpu_tb_trans_cb(
    qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(
    struct qemu_plugin_tb *block, void (*callback)(unsigned int, void *), enum qemu_plugin_cb_flags flags, void *data);
extern void qemu_plugin_register_vcpu_syscall_cb(
    qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t, unsigned int, int64_t, uint64_t, uint64_t, uint64_t,
                                          uint64_t, uint64_t, uint64_t, uint64_t, uint64_t));
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t, void *), void *data);

EXPORT extern int qemu_plugin_version;
int qemu_plugin_version = API_VERSION;

static FILE *output;
static atomic_uint_fast64_t total; /* guest threads run on host threads */

static void on_execute(unsigned int cpu, void *instructions) {
    (void)cpu;
    atomic_fetch_add_explicit(&total, (uintptr_t)instructions, memory_order_relaxed);
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    void *instructions = (void *)(uintptr_t)qemu_plugin_tb_n_insns(block);
    qemu_plugin_register_vcpu_tb_exec_cb(block, on_execute, QEMU_PLUGIN_CB_NO_REGS, instructions);
}

static void write_total(void) {
    fprintf(output, "%" PRIu64 "\n", (uint64_t)atomic_load_explicit(&total, memory_order_relaxed));
    fflush(output);
}

static void on_system_call(qemu_plugin_id_t id, unsigned int cpu, int64_t number, uint64_t a1, uint64_t a2,
                           uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)id, (void)cpu, (void)number, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (a1 == MARK) write_total();
}

static void on_exit_of_guest(qemu_plugin_id_t id, void *data) {
    (void)id, (void)data;
    write_total();
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
    (void)info;
    if (argc != 1 || strncmp(argv[0], "out=", 4) != 0) {
        fprintf(stderr, "count_instructions: expected the one argument out=PATH\n");
        return -1;
    }
    /* Appending, close-on-exec: a child of the guest that runs under QEMU too opens its own. */
    output = fopen(argv[0] + 4, "ae");
    if (output == NULL) {
        perror(argv[0] + 4);
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_vcpu_syscall_cb(id, on_system_call);
    qemu_plugin_register_atexit_cb(id, on_exit_of_guest, NULL);
    return 0;
}
