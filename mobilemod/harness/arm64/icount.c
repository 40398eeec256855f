/* A QEMU plugin: counts executed A64 instructions by class between two marks of the guest.
 *
 * Each translated block gets one record with its instructions by class and how often it ran, so
 * that running costs one addition per block. The guest marks with a system call that Linux does
 * not have, number MARK: argument 1 sets all counts to zero, 2 writes them to the file given
 * as `out=FILE`, one line per count: seven numbers in the order of `enum a64_class`, then how
 * many threads the guest has had; counts are exact with one.
 *
 * The interface is QEMU's plugin API, version 1 (QEMU 7.2, include/qemu/qemu-plugin.h), declared
 * here as far as it is used: Debian ships no header of it.
 */
#include "classify.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK 0x6d6f6264 /* no Linux system call has this number */

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info; /* begins with the guest architecture's name */
enum inline_op { INLINE_ADD_U64 };

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id,
                                                  void (*)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum inline_op,
                                                     void *, uint64_t);
extern void qemu_plugin_register_vcpu_init_cb(plugin_id, void (*)(plugin_id, unsigned));
extern void qemu_plugin_register_vcpu_syscall_cb(
    plugin_id, void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                        uint64_t, uint64_t, uint64_t, uint64_t));

int qemu_plugin_version = 1;

struct block {
    struct block *next;
    uint64_t runs;
    uint32_t counts[A64_CLASSES];
};

static struct block *blocks;
static unsigned threads;
static FILE *out;

static void translated(plugin_id id, struct qemu_plugin_tb *tb)
{
    struct block *block = calloc(1, sizeof *block);
    size_t n = qemu_plugin_tb_n_insns(tb);

    (void)id;
    if (!block) {
        fputs("icount: out of memory\n", stderr);
        exit(1);
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i)), sizeof word);
        block->counts[a64_classify(word)]++;
    }
    /* QEMU translates under its own lock, one block at a time. */
    block->next = blocks;
    blocks = block;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD_U64, &block->runs, 1);
}

static void write_counts(void)
{
    uint64_t sums[A64_CLASSES] = {0};

    for (struct block *b = blocks; b; b = b->next)
        for (int c = 0; c < A64_CLASSES; c++)
            sums[c] += b->runs * b->counts[c];
    for (int c = 0; c < A64_CLASSES; c++)
        fprintf(out, "%llu ", (unsigned long long)sums[c]);
    fprintf(out, "%u\n", threads);
    fflush(out);
}

static void system_call(plugin_id id, unsigned cpu, int64_t number, uint64_t mark, uint64_t a2,
                        uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7,
                        uint64_t a8)
{
    (void)id, (void)cpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != MARK)
        return;
    if (mark == 1)
        for (struct block *b = blocks; b; b = b->next)
            b->runs = 0;
    else if (mark == 2)
        write_counts();
}

static void thread_started(plugin_id id, unsigned cpu)
{
    (void)id, (void)cpu;
    threads++;
}

int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc, char **argv)
{
    const char *const *target = (const char *const *)info;

    if (strcmp(*target, "aarch64") || argc != 1 || strncmp(argv[0], "out=", 4)) {
        fputs("icount: for aarch64 guests, with out=FILE\n", stderr);
        return 1;
    }
    out = fopen(argv[0] + 4, "w");
    if (!out) {
        perror(argv[0] + 4);
        return 1;
    }
    qemu_plugin_register_vcpu_init_cb(id, thread_started);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, system_call);
    return 0;
}
