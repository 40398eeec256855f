/* The class of an A64 instruction, from its 32-bit word.
 *
 * Encodings: Arm Architecture Reference Manual for A-profile, "A64 instruction set encoding".
 */
#include "classify.h"

#include <stddef.h>

const char *const a64_class_names[A64_CLASSES] = {
    "fp_mla", "int8_dot", "int_mla", "simd_fp", "load", "store", "other",
};

/* Vector multiply-accumulates: a word is one where the bits of `mask` equal `value`. Free bits
 * are the registers, Q (64 or 128 bits), add or subtract, and signed or unsigned. */
static const struct {
    uint32_t mask, value;
    enum a64_class kind;
} accumulates[] = {
    /* three vectors of one type */
    {0xbf20fc00, 0x0e20cc00, FP_MLA},   /* FMLA, FMLS */
    {0xbf60fc00, 0x0e400c00, FP_MLA},   /* FMLA, FMLS, half precision */
    {0xbf60fc00, 0x0e20ec00, FP_MLA},   /* FMLAL, FMLSL */
    {0xbf60fc00, 0x2e20cc00, FP_MLA},   /* FMLAL2, FMLSL2 */
    {0x9f20fc00, 0x0e209400, INT_MLA},  /* MLA, MLS */
    {0x9fe0fc00, 0x0e809400, INT8_DOT}, /* SDOT, UDOT */
    {0xbfe0fc00, 0x0e809c00, INT8_DOT}, /* USDOT */
    {0xdfe0fc00, 0x4e80a400, INT8_DOT}, /* SMMLA, UMMLA */
    {0xffe0fc00, 0x4e80ac00, INT8_DOT}, /* USMMLA */
    {0xbf20f400, 0x2e008400, INT_MLA},  /* SQRDMLAH, SQRDMLSH */
    /* a wide vector and two narrow ones */
    {0x9f20dc00, 0x0e208000, INT_MLA}, /* SMLAL, UMLAL, SMLSL, UMLSL */
    {0xbf20dc00, 0x0e209000, INT_MLA}, /* SQDMLAL, SQDMLSL */
    /* two vectors and one element of a third */
    {0xbf00b400, 0x0f001000, FP_MLA},   /* FMLA, FMLS */
    {0xbfc0b400, 0x0f800000, FP_MLA},   /* FMLAL, FMLSL */
    {0xbfc0b400, 0x2f808000, FP_MLA},   /* FMLAL2, FMLSL2 */
    {0xbf00b400, 0x2f000000, INT_MLA},  /* MLA, MLS */
    {0x9f00b400, 0x0f002000, INT_MLA},  /* SMLAL, UMLAL, SMLSL, UMLSL */
    {0xbf00b400, 0x0f003000, INT_MLA},  /* SQDMLAL, SQDMLSL */
    {0xbf00d400, 0x2f00d000, INT_MLA},  /* SQRDMLAH, SQRDMLSH */
    {0x9fc0f400, 0x0f80e000, INT8_DOT}, /* SDOT, UDOT */
    {0xbf40f400, 0x0f00f000, INT8_DOT}, /* SUDOT, USDOT */
};

static uint32_t bits(uint32_t word, int high, int low)
{
    return (word >> low) & ((1u << (high - low + 1)) - 1);
}

static enum a64_class simd_or_fp(uint32_t word)
{
    for (size_t i = 0; i < sizeof accumulates / sizeof *accumulates; i++)
        if ((word & accumulates[i].mask) == accumulates[i].value)
            return accumulates[i].kind;
    return SIMD_FP;
}

static enum a64_class load_or_store(uint32_t word)
{
    uint32_t size = bits(word, 31, 30), simd = bits(word, 26, 26), opc = bits(word, 23, 22);
    enum a64_class by_bit_22 = bits(word, 22, 22) ? LOAD : STORE;

    switch (bits(word, 29, 28)) {
    case 0: /* exclusive and ordered access; of vector registers the structures LD1 to ST4 */
        if (!simd && bits(word, 21, 21) && (bits(word, 23, 23) || size < 2))
            return OTHER; /* compare and swap */
        return by_bit_22;
    case 1:
        if (!bits(word, 24, 24)) /* relative to the program counter */
            return !simd && size == 3 ? OTHER : LOAD;
        if (size == 3 && bits(word, 21, 21))
            return OTHER; /* memory tags */
        return opc ? LOAD : STORE;
    case 2: /* pairs */
        return by_bit_22;
    }
    if (!bits(word, 24, 24) && bits(word, 21, 21)) {
        if (bits(word, 11, 10) == 0) /* atomic read-modify-write; LDAPR is a load */
            return bits(word, 15, 12) == 12 ? LOAD : OTHER;
        if (bits(word, 10, 10)) /* LDRAA, LDRAB */
            return LOAD;
    }
    if (simd)
        return by_bit_22;
    if (size == 3 && opc == 2)
        return OTHER; /* prefetch */
    return opc ? LOAD : STORE;
}

int a64_classify(uint32_t word)
{
    switch (bits(word, 28, 25)) {
    case 7:
    case 15:
        return simd_or_fp(word);
    case 4:
    case 6:
    case 12:
    case 14:
        return load_or_store(word);
    }
    return OTHER;
}
