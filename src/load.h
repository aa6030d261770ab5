/* SPDX-License-Identifier: BSD-3-Clause */
/* One strided run of user memory, of any element type and byte order, into reals.
 *
 * Included once per dtype, after fm_real.h.  Conversions are C's, except float16, which C11 lacks.
 */
#include <string.h>

/* IEEE binary16 -> binary32, exactly: the multiplication by 2^112 re-biases the exponent and also
 * normalises subnormals; infinities and NaN keep an exponent of all ones. */
#ifndef FM_LOAD_ONCE
#define FM_LOAD_ONCE
static inline float fm_half_to_float(uint16_t half)
{
    uint32_t bits = (uint32_t)(half & 0x7fff) << 13;
    float value;
    memcpy(&value, &bits, sizeof value);
    value *= 0x1p112f;
    memcpy(&bits, &value, sizeof bits);
    if ((half & 0x7c00) == 0x7c00)
        bits |= 0x7f800000;
    bits |= (uint32_t)(half & 0x8000) << 16;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline void fm_read(void *to, const char *from, int size, int swapped)
{
    char *bytes = to;
    if (swapped)
        for (int i = 0; i < size; i++)
            bytes[i] = from[size - 1 - i];
    else
        memcpy(to, from, (size_t)size);
}

/* The i-th row of a block. */
static inline const char *block_row(const fm_matrix *x, const fm_block *block, ptrdiff_t i)
{
    return x->data + x->row_stride * (block->rows ? block->rows[i] : block->start + i);
}
#endif

#define FM_LOAD_AS(type, value)                                                                    \
    for (ptrdiff_t i = 0; i < count; i++) {                                                        \
        type element;                                                                              \
        fm_read(&element, from + i * stride, (int)sizeof element, swapped);                        \
        to[i] = (real)(value);                                                                     \
    }                                                                                              \
    break

FM_INLINE void FM_NAME(load_order)(const char *from, ptrdiff_t stride, int type, int swapped,
                                   ptrdiff_t count, real *restrict to)
{
    switch (type) {
    case FM_F64: FM_LOAD_AS(double, element);
    case FM_F32: FM_LOAD_AS(float, element);
    case FM_F16: FM_LOAD_AS(uint16_t, fm_half_to_float(element));
    case FM_LONG_DOUBLE: FM_LOAD_AS(long double, element);
    case FM_I8: FM_LOAD_AS(int8_t, element);
    case FM_U8: FM_LOAD_AS(uint8_t, element);
    case FM_I16: FM_LOAD_AS(int16_t, element);
    case FM_U16: FM_LOAD_AS(uint16_t, element);
    case FM_I32: FM_LOAD_AS(int32_t, element);
    case FM_U32: FM_LOAD_AS(uint32_t, element);
    case FM_I64: FM_LOAD_AS(int64_t, element);
    case FM_U64: FM_LOAD_AS(uint64_t, element);
    default: break;
    }
}
#undef FM_LOAD_AS

/* to[i] = (real)x[i] for count elements, stride bytes apart: in vectors where the compiler is told
 * that they are adjacent. */
static void FM_NAME(load_run)(const char *from, ptrdiff_t stride, int type, int swapped,
                              ptrdiff_t count, real *restrict to)
{
    if (swapped)
        FM_NAME(load_order)(from, stride, type, 1, count, to);
    else if (stride == 4 && type == FM_F32)
        FM_NAME(load_order)(from, 4, FM_F32, 0, count, to);
    else if (stride == 2 && type == FM_F16)
        FM_NAME(load_order)(from, 2, FM_F16, 0, count, to);
    else
        FM_NAME(load_order)(from, stride, type, 0, count, to);
}

/* Whether the elements of x are reals as they lie. */
FM_INLINE int FM_NAME(holds_reals)(const fm_matrix *x)
{
    return x->type == FM_REAL_TYPE && !x->swapped;
}

/* Whether each row of x is reals that lie one after another. */
FM_INLINE int FM_NAME(rows_lie_dense)(const fm_matrix *x)
{
    return FM_NAME(holds_reals)(x) && (x->col_stride == (ptrdiff_t)sizeof(real) || x->d == 1);
}
