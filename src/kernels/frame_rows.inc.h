/* SPDX-License-Identifier: BSD-3-Clause */
/* Rows for the moments: y = x * scale - offset in float64, whatever the type of x, from the user's
 * memory.  scale is a power of two, so that y is rounded once. */

typedef float user_f32 __attribute__((aligned(1), may_alias));
typedef double user_f64 __attribute__((aligned(1), may_alias));

/* One row of the block into y, d entries. */
FM_INLINE void frame_row(const fm_matrix *x, const char *from, ptrdiff_t d,
                         const double *restrict offset, double scale, double *restrict y)
{
    const ptrdiff_t step = x->col_stride;
    if (x->type == FM_F64 && !x->swapped && step == 8) {
        ptrdiff_t t = 0;
        for (; t + 4 <= d; t += 4) {
            const quad row = fm_user_quad(from + 8 * t);
            *(quad *)(y + t) = row * scale - fm_user_quad(offset + t);
        }
        for (; t < d; t++)
            y[t] = ((const user_f64 *)from)[t] * scale - offset[t];
    } else if (x->type == FM_F32 && !x->swapped && step == 4)
        for (ptrdiff_t t = 0; t < d; t++)
            y[t] = (double)((const user_f32 *)from)[t] * scale - offset[t];
    else {
        load_run_f64(from, step, x->type, x->swapped, d, y);
        for (ptrdiff_t t = 0; t < d; t++)
            y[t] = y[t] * scale - offset[t];
    }
}

/* y[i * stride + t], stride = FM_MOMENT_STRIDE(d), zero from d on. */
static void frame_rows(const fm_matrix *x, const fm_block *block, const double *offset,
                       double scale, double *y)
{
    const ptrdiff_t d = x->d, stride = FM_MOMENT_STRIDE(d);
    for (ptrdiff_t i = 0; i < block->count; i++, y += stride) {
        frame_row(x, block_row(x, block, i), d, offset, scale, y);
        for (ptrdiff_t t = d; t < stride; t++)
            y[t] = 0;
    }
}

/* y[t * stride + i] for d <= 4, zero from count to a multiple of 16. */
FM_INLINE void frame_few(const fm_matrix *x, const fm_block *block, ptrdiff_t d,
                         const double *restrict offset, double scale, double *restrict y,
                         ptrdiff_t stride)
{
    const ptrdiff_t count = block->count, end = (count + 15) / 16 * 16;
    const char *first = x->data + x->row_stride * block->start;
    if (x->type == FM_F64 && !x->swapped && !block->rows)
        for (ptrdiff_t t = 0; t < d; t++)
            for (ptrdiff_t i = 0; i < count; i++)
                y[t * stride + i] =
                    *(const user_f64 *)(first + i * x->row_stride + t * x->col_stride) * scale -
                    offset[t];
    else if (x->type == FM_F32 && !x->swapped && !block->rows)
        for (ptrdiff_t t = 0; t < d; t++)
            for (ptrdiff_t i = 0; i < count; i++)
                y[t * stride + i] =
                    (double)*(const user_f32 *)(first + i * x->row_stride + t * x->col_stride) *
                        scale -
                    offset[t];
    else
        for (ptrdiff_t i = 0; i < count; i++) {
            double row[4];
            frame_row(x, block_row(x, block, i), d, offset, scale, row);
            for (ptrdiff_t t = 0; t < d; t++)
                y[t * stride + i] = row[t];
        }
    for (ptrdiff_t t = 0; t < d; t++)
        for (ptrdiff_t i = count; i < end; i++)
            y[t * stride + i] = 0;
}

static void frame_columns(const fm_matrix *x, const fm_block *block, const double *offset,
                          double scale, double *y, ptrdiff_t stride)
{
    switch (x->d) {
    case 1: frame_few(x, block, 1, offset, scale, y, stride); break;
    case 2: frame_few(x, block, 2, offset, scale, y, stride); break;
    case 3: frame_few(x, block, 3, offset, scale, y, stride); break;
    default: frame_few(x, block, 4, offset, scale, y, stride);
    }
}
