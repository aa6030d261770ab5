/* SPDX-License-Identifier: BSD-3-Clause */
/* Rows in one byte a column, and which of them a candidate centre may be nearer to.
 *
 * A framed row x is kept as q = x / s rounded, with |x - s q| <= e for an e given; of the rare row
 * for which that does not hold, or with |q_t| > 127, nothing is proved.  Since
 * x . c <= (s q) . c + e |c|, a candidate c is no nearer than sqrt(closest) where
 *
 *     (s q) . c - |c|^2 / 2 + e |c|  <=  (|x|^2 - closest) / 2.
 *
 * The products s_t c_t are rounded to 16 bits, so that (s q) . c is one integer, exactly, times a
 * unit.  Every rounding is on the side of the survivors: the caller puts those of the left side
 * into bias and those of the right side into unit and factor.  The list steers work and reaches no
 * result.
 *
 * Layout: tiles of 32 rows, [pair of columns][row][2]: a cache line for each pair.
 */
#define FM_SKETCH_ROWS 32

#define FM_SKETCH(suffix, real)                                                                    \
    static void sketch_##suffix(const void *tiles, ptrdiff_t tile_rows, ptrdiff_t count,           \
                                ptrdiff_t d, const double *steps, const double *inverse,           \
                                double error, double unit, int8_t *to, float *half)                \
    {                                                                                              \
        const ptrdiff_t even = (d + 1) / 2 * 2;                                                    \
        const ptrdiff_t rows = tile_rows < FM_SKETCH_ROWS ? tile_rows : FM_SKETCH_ROWS;            \
        const double round = 0x1.8p52;                                                             \
        for (ptrdiff_t i = 0; i < count; i += rows) {                                              \
            const real *x = (const real *)tiles + i / tile_rows * tile_rows * d + i % tile_rows;   \
            double square[FM_SKETCH_ROWS] = {0}, most[FM_SKETCH_ROWS] = {0};                       \
            double wrong[FM_SKETCH_ROWS] = {0};                                                    \
            int8_t *tile =                                                                         \
                to + i / FM_SKETCH_ROWS * FM_SKETCH_ROWS * even + i % FM_SKETCH_ROWS * 2;          \
            for (ptrdiff_t t = 0; t < d; t++) {                                                    \
                int8_t *at = tile + t / 2 * 2 * FM_SKETCH_ROWS + t % 2;                            \
                const double scale = inverse[t], step = steps[t];                                  \
                for (ptrdiff_t r = 0; r < rows; r++) {                                             \
                    const double y = (double)x[t * tile_rows + r];                                 \
                    const double q = (y * scale + round) - round;                                  \
                    const double size = q < 0 ? -q : q;                                            \
                    const double gap = y - q * step;                                               \
                    square[r] += y * y;                                                            \
                    wrong[r] += gap * gap;                                                         \
                    most[r] = size > most[r] ? size : most[r];                                     \
                    at[2 * r] = (int8_t)(int32_t)(size <= 127 ? q : 0.0);                          \
                }                                                                                  \
            }                                                                                      \
            if (d % 2)                                                                             \
                for (ptrdiff_t r = 0; r < rows; r++)                                               \
                    tile[(d - 1) * FM_SKETCH_ROWS + 2 * r + 1] = 0;                                \
            const ptrdiff_t left = count - i < rows ? count - i : rows;                            \
            for (ptrdiff_t r = 0; r < left; r++)                                                   \
                half[i + r] =                                                                      \
                    most[r] <= 127 && wrong[r] <= error ? (float)(square[r] * unit) : -0x1p127f;   \
        }                                                                                          \
    }

FM_SKETCH(f32, float)
FM_SKETCH(f64, double)
#undef FM_SKETCH

/* 16-bit pairs of rows in lanes, and acc += the sum of a pair's products with (c_0, c_1). */
#if defined(__AVX512BW__) && defined(__AVX512DQ__)
#define FM_SKETCH_LANES 16
#define FM_SKETCH_WIDTH 8
typedef __m512i fm_pairs;
#define fm_load_pairs(from) _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(from)))
#define fm_add_pairs(acc, x, c)                                                                    \
    (fm_counts) _mm512_add_epi32((__m512i)(acc), _mm512_madd_epi16(x, _mm512_set1_epi32(c)))
#define fm_signs(mask) ((uint64_t)_mm512_movepi32_mask((__m512i)(mask)))
#elif defined(__AVX2__)
#define FM_SKETCH_LANES 8
#define FM_SKETCH_WIDTH 4
typedef __m256i fm_pairs;
#define fm_load_pairs(from) _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(from)))
#define fm_add_pairs(acc, x, c)                                                                    \
    (fm_counts) _mm256_add_epi32((__m256i)(acc), _mm256_madd_epi16(x, _mm256_set1_epi32(c)))
#define fm_signs(mask) ((uint64_t)(uint32_t)_mm256_movemask_ps((__m256)(mask)))
#else
#define FM_SKETCH_LANES 4
#define FM_SKETCH_WIDTH 4
typedef struct {
    i4 first, second;
} fm_pairs;
FM_INLINE fm_pairs fm_load_pairs(const int8_t *from)
{
    return (fm_pairs){{from[0], from[2], from[4], from[6]}, {from[1], from[3], from[5], from[7]}};
}
FM_INLINE i4 fm_add_pairs(i4 acc, fm_pairs x, int32_t c)
{
    return acc + x.first * (int32_t)(int16_t)c + x.second * (c >> 16);
}
FM_INLINE uint64_t fm_signs(i4 mask)
{
    return (uint64_t)((mask[0] & 1) | (mask[1] & 2) | (mask[2] & 4) | (mask[3] & 8));
}
#endif
typedef int32_t fm_counts __attribute__((vector_size(4 * FM_SKETCH_LANES)));
typedef float fm_floats __attribute__((vector_size(4 * FM_SKETCH_LANES), aligned(4), may_alias));

/* Bytes that are fetched ahead of their use. */
#define FM_SKETCH_AHEAD 2048
/* Bytes of a listed row that are fetched at once: the caller packs it soon. */
#define FM_SKETCH_ROW 512

/* Bits of the rows of two vectors that a candidate may be nearer to; width is a constant. */
FM_INLINE uint64_t sketch_few(const int8_t *rows, ptrdiff_t pairs, const int32_t *panel,
                              ptrdiff_t k, int width, const float *unit, const float *bias,
                              const float *limit)
{
    fm_counts acc[FM_SKETCH_WIDTH][2] = {{{0}}}, near[2] = {{0}};
    for (ptrdiff_t t = 0; t < pairs; t++, rows += 2 * FM_SKETCH_ROWS, panel += k) {
        __builtin_prefetch(rows + FM_SKETCH_AHEAD);
        const fm_pairs low = fm_load_pairs(rows), high = fm_load_pairs(rows + 2 * FM_SKETCH_LANES);
        for (int j = 0; j < width; j++) {
            acc[j][0] = fm_add_pairs(acc[j][0], low, panel[j]);
            acc[j][1] = fm_add_pairs(acc[j][1], high, panel[j]);
        }
    }
    for (int v = 0; v < 2; v++) {
        const fm_floats least = *(const fm_floats *)(limit + v * FM_SKETCH_LANES);
        for (int j = 0; j < width; j++)
            near[v] |= __builtin_convertvector(acc[j][v], fm_floats) * unit[j] + bias[j] > least;
    }
    return fm_signs(near[0]) | fm_signs(near[1]) << FM_SKETCH_LANES;
}

/* Lists, in order, the rows start .. start + count that one of k candidates may be nearer to;
 * returns how many.  panel: [pair][k] two int16 each; limits: half - factor * closest. */
FM_INLINE ptrdiff_t sketch_list(const int8_t *bytes, ptrdiff_t d, const float *limits,
                                const fm_matrix *x, ptrdiff_t start, ptrdiff_t count,
                                const int32_t *panel, ptrdiff_t k, const float *unit,
                                const float *bias, ptrdiff_t *list)
{
    const ptrdiff_t pairs = (d + 1) / 2;
    const ptrdiff_t row_bytes = d * x->col_stride;
    const ptrdiff_t ahead = row_bytes < FM_SKETCH_ROW ? row_bytes : FM_SKETCH_ROW;
    ptrdiff_t found = 0;
    for (ptrdiff_t r = 0; r < FM_SKETCH_ROWS && r < count; r += 2 * FM_SKETCH_LANES) {
        uint64_t near = 0;
        for (ptrdiff_t j = 0; j < k; j += FM_SKETCH_WIDTH) {
#define FM_FEW(width)                                                                              \
    near |= sketch_few(bytes + 2 * r, pairs, panel + j, k, width, unit + j, bias + j, limits + r)
            switch (k - j) {
            case 1: FM_FEW(1); break;
            case 2: FM_FEW(2); break;
            case 3: FM_FEW(3); break;
#if FM_SKETCH_WIDTH == 8
            case 4: FM_FEW(4); break;
            case 5: FM_FEW(5); break;
            case 6: FM_FEW(6); break;
            case 7: FM_FEW(7); break;
#endif
            default: FM_FEW(FM_SKETCH_WIDTH);
            }
#undef FM_FEW
        }
        for (; near; near &= near - 1) {
            const ptrdiff_t row = start + r + __builtin_ctzll(near);
            list[found++] = row;
            if (ahead > 0)
                fetch_row(x->data + row * x->row_stride, ahead);
        }
    }
    return found;
}

#define FM_SKETCH(suffix, real)                                                                    \
    static ptrdiff_t sketch_near_##suffix(                                                         \
        const int8_t *bytes, const float *half, ptrdiff_t d, const void *closests, double factor,  \
        const fm_matrix *x, ptrdiff_t start, ptrdiff_t count, const int32_t *panel, ptrdiff_t k,   \
        const float *unit, const float *bias, ptrdiff_t *list)                                     \
    {                                                                                              \
        const real *closest = closests, scale = (real)factor;                                      \
        ptrdiff_t found = 0;                                                                       \
        for (ptrdiff_t i = 0; i < count; i += FM_SKETCH_ROWS) {                                    \
            float limit[FM_SKETCH_ROWS];                                                           \
            const ptrdiff_t left = count - i < FM_SKETCH_ROWS ? count - i : FM_SKETCH_ROWS;        \
            for (ptrdiff_t r = left; r < FM_SKETCH_ROWS; r++)                                      \
                limit[r] = 0x1.fffffep127f;                                                        \
            for (ptrdiff_t r = 0; r < left; r++)                                                   \
                limit[r] = (float)((real)half[i + r] - closest[i + r] * scale);                    \
            found += sketch_list(bytes + i * ((d + 1) / 2 * 2), d, limit, x, start + i, left,      \
                                 panel, k, unit, bias, list + found);                              \
        }                                                                                          \
        return found;                                                                              \
    }

FM_SKETCH(f32, float)
FM_SKETCH(f64, double)
#undef FM_SKETCH
