/* SPDX-License-Identifier: BSD-3-Clause */
/* The bounds of bounds.inc.h as whole numbers. */

/* Covers the roundings of a few float operations, relative to the largest number that enters. */
#define FM_BOUND_ROUNDING 0x1p-20f

/* What covers the roundings of an upper bound beside moves of centres. */
FM_INLINE float bound_slack(const fm_bounds *b)
{
    return FM_BOUND_ROUNDING * b->reach;
}

/* Codes are below 2^15; an upper bound, and how far centres have moved, below half of it. */
#define FM_CODE_NONE ((int16_t)32767)
#define FM_CODE_MOST 32766
#define FM_CODE_HALF 16383

/* The least code that proves a label whose centre is at most `high` away; rows beyond the range of
 * the codes get one that no group reaches. */
FM_INLINE int16_t code_needed(const fm_bounds *b, float high, float inverse)
{
    const float quotient = b->proof / (2 * high), margin = quotient < b->root ? quotient : b->root;
    const float code = (high + margin) * (1 + FM_BOUND_ROUNDING) * inverse;
    return code < FM_CODE_HALF - 1 ? (int16_t)((int)code + 1) : FM_CODE_HALF;
}

/* Code of a lower bound; of what overflowed nothing is known. */
FM_INLINE int16_t code_of(float low, float moved, float inverse)
{
    const float code = (low + moved) * (1 - FM_BOUND_ROUNDING) * inverse;
    const float finite = code <= FLT_MAX ? code : 0;
    return finite < FM_CODE_MOST ? (int16_t)finite : FM_CODE_MOST;
}
