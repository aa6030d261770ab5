/* SPDX-License-Identifier: BSD-3-Clause */
/* Packing: y = x * scale - offset, from the user's memory into tiles [d][tile_rows].
 *
 * scale is a power of two, so that the product is exact and y is rounded once, with or without
 * fused multiply-add.  Lanes beyond the last row repeat it: finite, and their results unused.
 */

/* Four columns of FM_STRIP rows, transposed in registers: to[t][r] = row[r][t]. */
#if defined(__AVX__) && !defined(FM_DOUBLE)
/* Rows r and r + 4 share a register of two four-lane halves, so that the in-lane shuffles of a
 * 4 x 4 transpose serve eight rows: 24 instead of 40 instructions for 32 values. */
#define FM_STRIP 8
FM_INLINE void FM_NAME(pack_strip)(const char *const *row, ptrdiff_t at, quad shift, real scale,
                                   real *restrict to)
{
    const __m256 scales = _mm256_set1_ps(scale), shifts = _mm256_set_m128(shift, shift);
    __m256 v[4];
    for (int r = 0; r < 4; r++) {
        const __m128 low = fm_user_quad(row[r] + at), high = fm_user_quad(row[r + 4] + at);
        v[r] = _mm256_set_m128(high, low) * scales - shifts;
    }
    const __m256 ab0 = _mm256_unpacklo_ps(v[0], v[1]), ab1 = _mm256_unpackhi_ps(v[0], v[1]);
    const __m256 cd0 = _mm256_unpacklo_ps(v[2], v[3]), cd1 = _mm256_unpackhi_ps(v[2], v[3]);
    _mm256_storeu_ps(to, _mm256_shuffle_ps(ab0, cd0, 0x44));
    _mm256_storeu_ps(to + FM_TILE_ROWS, _mm256_shuffle_ps(ab0, cd0, 0xee));
    _mm256_storeu_ps(to + 2 * FM_TILE_ROWS, _mm256_shuffle_ps(ab1, cd1, 0x44));
    _mm256_storeu_ps(to + 3 * FM_TILE_ROWS, _mm256_shuffle_ps(ab1, cd1, 0xee));
}
#else
#define FM_STRIP 4
FM_INLINE void FM_NAME(pack_strip)(const char *const *row, ptrdiff_t at, quad shift, real scale,
                                   real *restrict to)
{
    const quad a = fm_user_quad(row[0] + at) * scale - shift;
    const quad b = fm_user_quad(row[1] + at) * scale - shift;
    const quad c = fm_user_quad(row[2] + at) * scale - shift;
    const quad d = fm_user_quad(row[3] + at) * scale - shift;
#ifdef FM_DOUBLE
    /* Pairs from equal halves of a and b: one instruction each where a quad is two halves. */
    const quad ab0 = fm_shuffle(a, b, 0, 4, 2, 6), ab1 = fm_shuffle(a, b, 1, 5, 3, 7);
    const quad cd0 = fm_shuffle(c, d, 0, 4, 2, 6), cd1 = fm_shuffle(c, d, 1, 5, 3, 7);
    *(quad *)to = fm_shuffle(ab0, cd0, 0, 1, 4, 5);
    *(quad *)(to + FM_TILE_ROWS) = fm_shuffle(ab1, cd1, 0, 1, 4, 5);
    *(quad *)(to + 2 * FM_TILE_ROWS) = fm_shuffle(ab0, cd0, 2, 3, 6, 7);
    *(quad *)(to + 3 * FM_TILE_ROWS) = fm_shuffle(ab1, cd1, 2, 3, 6, 7);
#else
    const quad ab0 = fm_shuffle(a, b, 0, 4, 1, 5), ab1 = fm_shuffle(a, b, 2, 6, 3, 7);
    const quad cd0 = fm_shuffle(c, d, 0, 4, 1, 5), cd1 = fm_shuffle(c, d, 2, 6, 3, 7);
    *(quad *)to = fm_shuffle(ab0, cd0, 0, 1, 4, 5);
    *(quad *)(to + FM_TILE_ROWS) = fm_shuffle(ab0, cd0, 2, 3, 6, 7);
    *(quad *)(to + 2 * FM_TILE_ROWS) = fm_shuffle(ab1, cd1, 0, 1, 4, 5);
    *(quad *)(to + 3 * FM_TILE_ROWS) = fm_shuffle(ab1, cd1, 2, 3, 6, 7);
#endif
}
#endif

/* One tile from rows whose columns are adjacent reals. */
FM_INLINE void FM_NAME(pack_rows)(const char *const *row, ptrdiff_t d, const real *restrict offset,
                                  real scale, real *restrict tile)
{
    ptrdiff_t t = 0;
    for (; t + 4 <= d; t += 4) {
        const quad shift = *(const quad *)(offset + t);
        for (int r = 0; r < FM_TILE_ROWS; r += FM_STRIP)
            FM_NAME(pack_strip)(row + r, t * (ptrdiff_t)sizeof(real), shift, scale,
                                tile + t * FM_TILE_ROWS + r);
    }
    for (; t < d; t++)
        for (int r = 0; r < FM_TILE_ROWS; r++) {
            real value;
            memcpy(&value, row[r] + t * (ptrdiff_t)sizeof(real), sizeof value);
            tile[t * FM_TILE_ROWS + r] = value * scale - offset[t];
        }
}

/* One full tile of adjacent rows with few columns; d is a constant. */
FM_INLINE void FM_NAME(pack_few)(const char *from, ptrdiff_t d, const real *restrict offset,
                                 real scale, real *restrict tile)
{
    const FM_NAME(user_real) *rows = (const FM_NAME(user_real) *)from;
    for (ptrdiff_t t = 0; t < d; t++)
        for (int r = 0; r < FM_TILE_ROWS; r++)
            tile[t * FM_TILE_ROWS + r] = rows[r * d + t] * scale - offset[t];
}

static void FM_NAME(pack)(const fm_matrix *x, const fm_block *block, const void *offsets,
                          double scale_, void *tiles, fm_memory memory, void *scratch)
{
    const real *offset = offsets, scale = (real)scale_;
    const ptrdiff_t d = x->d, size = (ptrdiff_t)sizeof(real);
    const int by_row = FM_NAME(rows_lie_dense)(x);
    const int dense = by_row && x->row_stride == d * size && !block->rows;
    const int by_column = FM_NAME(holds_reals)(x) && x->row_stride == size && !block->rows;
    real *tile = tiles, *converted = scratch;
    fetch next = start_fetch(memory, (block->count + FM_TILE_ROWS - 1) / FM_TILE_ROWS);

    for (ptrdiff_t i = 0; i < block->count; i += FM_TILE_ROWS, tile += d * FM_TILE_ROWS) {
        const ptrdiff_t left = block->count - i;
        fetch_some(&next);
        const int full = left >= FM_TILE_ROWS;
        const char *first = x->data + x->row_stride * (block->start + i);
        if (dense && d <= 4 && full) {
            switch (d) {
            case 1: FM_NAME(pack_few)(first, 1, offset, scale, tile); break;
            case 2: FM_NAME(pack_few)(first, 2, offset, scale, tile); break;
            case 3: FM_NAME(pack_few)(first, 3, offset, scale, tile); break;
            default: FM_NAME(pack_few)(first, 4, offset, scale, tile);
            }
            continue;
        }
        if (by_column && full) {
            for (ptrdiff_t t = 0; t < d; t++)
                for (int r = 0; r < FM_TILE_ROWS; r += 4)
                    *(quad *)(tile + t * FM_TILE_ROWS + r) =
                        fm_user_quad(first + r * size + t * x->col_stride) * scale - offset[t];
            continue;
        }
        const char *row[FM_TILE_ROWS];
        for (int r = 0; r < FM_TILE_ROWS; r++)
            row[r] = block_row(x, block, i + (r < left ? r : left - 1));
        if (!by_row)
            for (int r = 0; r < FM_TILE_ROWS; r++) {
                FM_NAME(load_run)(row[r], x->col_stride, x->type, x->swapped, d, converted + r * d);
                row[r] = (const char *)(converted + r * d);
            }
        FM_NAME(pack_rows)(row, d, offset, scale, tile);
    }
}

/* One centre's place in a panel in groups of width, and its bias -|panel centre|^2 / 2 where bias is
 * not NULL. */
static void FM_NAME(pack_center)(const double *c, ptrdiff_t j, ptrdiff_t d, ptrdiff_t width,
                                 void *panel, void *bias)
{
    real *to = (real *)panel + j / width * d * width + j % width;
    double square = 0;
    for (ptrdiff_t t = 0; t < d; t++) {
        const real value = (real)c[t];
        to[t * width] = value;
        /* Exact for floats; in float64 the compiler must not choose whether to fuse it. */
#ifdef FM_DOUBLE
        square += fm_opaque(value * value);
#else
        square += (double)value * value;
#endif
    }
    if (bias)
        ((real *)bias)[j] = (real)(-0.5 * square);
}

/* Centres for the tiles: panel[g][t][j] = (real)c[width g + j][t] and, where bias is not NULL, their
 * biases.  Missing centres of the last group are zero with a bias of -inf: no row chooses them. */
static void FM_NAME(pack_centers)(const double *c, ptrdiff_t k, ptrdiff_t d, ptrdiff_t width,
                                  void *panel, void *bias)
{
    for (ptrdiff_t j = 0; j < k; j++)
        FM_NAME(pack_center)(c + j * d, j, d, width, panel, bias);
    for (ptrdiff_t j = k; j < (k + width - 1) / width * width; j++) {
        real *to = (real *)panel + j / width * d * width + j % width;
        for (ptrdiff_t t = 0; t < d; t++)
            to[t * width] = 0;
        if (bias)
            ((real *)bias)[j] = -(real)INFINITY;
    }
}

/* Minima and maxima of packed rows by column and lane, merged into low and high (d, tile_rows);
 * returns 0 if a value is not finite. */
static int FM_NAME(extremes)(const void *tiles, ptrdiff_t count, ptrdiff_t d, void *lows,
                             void *highs)
{
    const real *x = tiles;
    real *low = lows, *high = highs;
    ivec finite = ~(ivec){0};
    for (ptrdiff_t i = 0; i < count; i += FM_TILE_ROWS, x += d * FM_TILE_ROWS)
        for (ptrdiff_t t = 0; t < d * FM_TILE_ROWS; t += FM_LANES) {
            const vec value = fm_load(x + t);
            finite &= value - value == 0;
            fm_store(low + t, -fm_max(-value, -fm_load(low + t)));
            fm_store(high + t, fm_max(value, fm_load(high + t)));
        }
    for (int lane = 0; lane < FM_LANES; lane++)
        if (!finite[lane])
            return 0;
    return 1;
}
#undef FM_STRIP
