/* Classes of A64 instructions, in the order of the counts. */
#ifndef CLASSIFY_H
#define CLASSIFY_H

#include <stdint.h>

enum a64_class {
    FP_MLA,   /* float multiply-accumulate of vectors: FMLA, FMLS, FMLAL, FMLSL */
    INT8_DOT, /* SDOT, UDOT, USDOT, SUDOT, SMMLA, UMMLA, USMMLA */
    INT_MLA,  /* other integer multiply-accumulate of vectors: MLA, SMLAL, SQDMLAL, SQRDMLAH */
    SIMD_FP,  /* every other instruction on vector and float registers */
    LOAD,     /* to any register */
    STORE,    /* from any register */
    OTHER,    /* integer arithmetic, branches, system, prefetches, atomic read-modify-write, SVE */
    A64_CLASSES
};

extern const char *const a64_class_names[A64_CLASSES];

/* The class of one instruction word. */
int a64_classify(uint32_t word);

#endif
