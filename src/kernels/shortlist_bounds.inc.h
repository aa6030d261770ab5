/* SPDX-License-Identifier: BSD-3-Clause */
/* What shortlist.inc.h leaves for the bounds of bounds.inc.h, which begin with its labels. */

/* Bounds of one tile's rows, the first of which is row number `row`, from the greatest scores of the
 * groups.  A score is s U times what it is here, so that
 *
 *     |x - c|^2  =  s^2 (|x / s|^2 - 2 f score),
 *
 * and the score of the label is at least `top` less what rounding may add. */
static void FM_NAME(short_bounds)(const FM_NAME(short_tile) * tile, ptrdiff_t rows, ptrdiff_t d,
                                  const fm_short_bounds *to, ptrdiff_t row, const int32_t *labels,
                                  const fm_short_floats *greatest)
{
    enum {
        ROWS = FM_TILE_ROWS
    };
    const fm_bounds *const b = to->bounds;
    const float inverse = 1 / b->step, tiny = FM_BOUND_ROUNDING;
    /* A sum of d squares of what is rounded twice. */
    const float rounding = (float)(d + 8) * 0x1p-23f + tiny;
    const float *const factor = (const float *)tile->factor, *const top = (const float *)tile->top;
    const float *const base = (const float *)tile->base;
    int16_t *const codes = b->codes + row * b->stride;
    float unit[ROWS];
    for (int r = 0; r < ROWS; r++)
        unit[r] = (float)(1 / tile->inverse[r]) * (1 - tiny);
    for (ptrdiff_t g = 0; g < to->groups; g++) {
        const float *const score = (const float *)(greatest + g * FM_SHORT_VECTORS);
        int16_t code[ROWS];
        for (int r = 0; r < ROWS; r++) {
            const float product = 2 * factor[r] * score[r];
            const float size = product < 0 ? -product : product;
            const float square =
                tile->square[r] - product - rounding * tile->square[r] - tiny * size;
            code[r] = code_of(__builtin_sqrtf(square > 0 ? square : 0) * unit[r], 0, inverse);
        }
        for (ptrdiff_t r = 0; r < rows; r++)
            codes[r * b->stride + g] = code[r];
    }
    for (ptrdiff_t r = 0; r < rows; r++) {
        const float product = 2 * factor[r] * (top[r] - base[r]);
        const float size = product < 0 ? -product : product;
        const float square = tile->square[r] - product + rounding * tile->square[r] + tiny * size;
        /* Of rows out of range, whose top is infinite, nothing is known. */
        const int known = labels[r] >= 0 && top[r] < INFINITY;
        b->upper[row + r] =
            known ? __builtin_sqrtf(square > 0 ? square : 0) * unit[r] * (1 + 8 * tiny) + FLT_MIN
                  : FM_UPPER_NONE;
        if (known)
            codes[r * b->stride + b->group_of[labels[r]]] = 0;
        else
            for (ptrdiff_t g = 0; g < to->groups; g++)
                codes[r * b->stride + g] = 0;
    }
}
